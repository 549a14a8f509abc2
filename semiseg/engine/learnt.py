"""Whether scored images are ones that the run behind a checkpoint learnt from."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from semiseg.common.errors import UserError
from semiseg.common.run_files import RunFiles
from semiseg.common.text import counted
from semiseg.config import load
from semiseg.data.build import complete, open_part
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.ids import Ids, shared
from semiseg.data.presence import LOOKED_AT, sampled
from semiseg.data.splits import read_list
from semiseg.methods import get_method


def learnt_notes(scored: SegmentationDataset, checkpoint: Path) -> list[str]:
    """A sentence where images that are scored are among those of the run whose folder holds ``checkpoint``.

    Files are compared, as before training: ids of another data set may be the same. Nothing is said where the run's
    configuration, its lists or its images are not there.
    """
    above = checkpoint.absolute().parents[:2]  # saver.snapshot_dir lies in the run's folder
    folder = next((path for path in above if RunFiles(path).resolved.is_file()), None)
    if folder is None:
        return []
    with contextlib.suppress(UserError, OSError):  # scoring does not need them
        found = {name: _count_shared(scored, part) for name, part in _training_parts(folder, scored).items()}
        if any(found.values()):
            return [_sentence(found, len(scored), folder)]
    return []


def _training_parts(folder: Path, scored: SegmentationDataset) -> dict[str, SegmentationDataset]:
    """The images that a run learnt from, by the lists in its folder. Where the one folder of all its data is gone, they
    are looked for in that of the same data set that is scored.

    Raises:
        UserError: its configuration, lists or images are not there.
    """
    files = RunFiles(folder)
    config, spec = complete(load(files.resolved))
    data = config.dataset
    lists: dict[str, Ids] = {"labeled": read_list(files.list_of("labeled"))}
    if get_method(config.method, config.net.proto_head is not None).uses_unlabeled:
        lists["unlabeled"] = read_list(files.list_of("unlabeled"))
    in_one = data.data_root and not (data.train.data_root or data.train.unlabeled_dir or data.val.data_root)
    if in_one and not data.data_root.is_dir() and spec.name == scored.spec.name:
        return {name: SegmentationDataset(spec, scored.root, ids, with_mask=False) for name, ids in lists.items()}
    return {name: open_part(config, spec, ids, "train", name == "labeled") for name, ids in lists.items()}


def _count_shared(scored: SegmentationDataset, part: SegmentationDataset) -> int:
    first, second = (some.real_images(some.presence(sampled(len(some))), most=LOOKED_AT) for some in (scored, part))
    return len(shared(first, second))


def _sentence(found: Mapping[str, int], scored: int, folder: Path) -> str:
    words = {"labeled": "labelled", "unlabeled": "unlabelled"}
    kinds = ", ".join(f"{count} {words[name]}" for name, count in found.items() if count)
    return (
        f"the run learnt from {sum(found.values())} of the {counted(scored, 'image')} that are scored ({kinds}; "
        f"{folder / 'lists'}): the scores do not tell how well it does on new ones"
    )
