"""Whether the masks of a run are still those that it began with: ids say nothing of what was drawn anew since."""

import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from semiseg.common.files import remove_leftovers, replace_file
from semiseg.common.run_files import RunFiles
from semiseg.common.text import counted
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.read_ahead import read_ahead

Fingerprints = Mapping[str, Sequence[int]]
_THREADS = 16  # that wait for a disk, or a network drive
_GOING_ON = {
    "labeled": "what was learnt before is of the old ones; trainer.resume=never starts anew",
    "val": "scores before and after are of different masks, and best.ckpt is chosen anew (best_of_old_masks.ckpt)",
}


def fingerprints(parts: Mapping[str, SegmentationDataset]) -> dict[str, list[int]]:
    """Of each part the CRC-32 of each mask file in the order of its ids; -1 of one that cannot be read."""
    paths = {name: map(part.mask_path, range(len(part))) for name, part in parts.items()}
    return {name: list(read_ahead(_crc, masks, _THREADS)) for name, masks in paths.items()}


def changed(folder: Path, now: Fingerprints) -> dict[str, str]:
    """Part -> how many of its masks are others than when the run in ``folder`` began, or went on last, in words.
    Nothing is said of runs of earlier versions, which kept no fingerprints.
    """
    before = None
    with suppress(OSError, ValueError):
        before = json.loads(RunFiles(folder).mask_prints.read_text(encoding="utf-8"))
    if not isinstance(before, dict):
        return {}
    said = {}
    for name, values in now.items():
        count = sum(was != value for was, value in zip(before.get(name, ()), values, strict=False))
        if count:
            masks = counted(len(values), f"{name} mask")
            said[name] = f"{count} of {masks} changed since this run began"
    return said


def going_on(changed: Mapping[str, str]) -> list[str]:
    """What ``changed`` means for a run that goes on with other masks, a sentence a part."""
    return [f"{count}: {_GOING_ON[name]}" for name, count in changed.items()]


def save(folder: Path, now: Fingerprints) -> None:
    """Keeps the fingerprints of a run. Raises: UserError if they cannot be written."""
    kept = RunFiles(folder).mask_prints
    remove_leftovers(kept)
    replace_file(kept, json.dumps(now) + "\n")


def _crc(path: Path) -> int:
    try:
        return zlib.crc32(path.read_bytes())
    except OSError:
        return -1
