"""Finding the published best.ckpt, and loading any checkpoint into one network for scoring."""

import os
from pathlib import Path

from semiseg.common.errors import CheckpointError
from semiseg.interop.averaged import State
from semiseg.interop.network_files import fill, read_network
from semiseg.interop.torch_names import IGNORABLE_U2PL
from semiseg.models import SegmentationNetwork

# The authors' README shows city/183 where the split is 186.
_OTHER_FOLDERS = {("city", "186"): "183"}
_U2PL_BEST = "ckpt_best.pth"


def find_best(path: Path) -> tuple[Path, str]:
    """``path``, or the file that a published release has in its place; and a remark if it is another one.

    ``path`` is .../<data set>/<split>/<name>/checkpoints/best.ckpt. Beside it U2PL keeps ckpt_best.pth.

    Raises:
        CheckpointError: none is there; says where to put it.
    """
    if path.is_file():
        return path, ""
    whole = Path(os.path.normpath(path.absolute()))  # "." and ".." have no names; links keep theirs
    split = Path(os.path.normpath(whole / "../../.."))
    other = _OTHER_FOLDERS.get((split.parent.name, split.name))
    if other:
        alternative = split.parent / other / whole.relative_to(split)
        if alternative.is_file():
            return alternative, f" (from folder {other}, where the authors' release keeps split {split.name})"
    if (path.parent / _U2PL_BEST).is_file():
        return path.parent / _U2PL_BEST, f" (U2PL's, as there is no {path.name})"
    raise CheckpointError(
        f"{path}: no such checkpoint; train first, put a published best.ckpt there, or name --checkpoint"
    )


def load_evaluated(network: SegmentationNetwork, path: Path, state: State | None = None) -> None:
    """Fills ``network`` from a checkpoint of any kind, strictly; of trained and averaged weights it takes the averaged.

    ``state``: what was read from ``path`` before. What the checkpoint was trained as is not compared here.

    Raises:
        CheckpointError: unreadable, or names or shapes differ.
    """
    state = read_network(path) if state is None else state
    fill(dict(network.parameters_and_names()), state, path, IGNORABLE_U2PL)
