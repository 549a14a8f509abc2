"""best.ckpt in the names of the published checkpoints, and loading of any checkpoint into one network for scoring."""

from pathlib import Path

import numpy as np

from semiseg import checkpoint
from semiseg.errors import CheckpointError
from semiseg.models import SegmentationNetwork

# The authors' MindSpore auxiliary head has no bias in its first convolution, U2PL's has one: absent means zero.
_MAY_BE_ABSENT = ("auxor.aux.0.bias",)

# The authors' README shows city/183 where the split is 186.
_OTHER_FOLDERS = {("city", "186"): "183"}


def find_best(path: Path) -> tuple[Path, str]:
    """``path``, or the folder that the authors' release uses for it; and a remark if it is the other one.

    ``path`` is .../<data set>/<split>/<name>/checkpoints/best.ckpt.

    Raises:
        CheckpointError: neither is there; says where to put it.
    """
    if path.is_file():
        return path, ""
    split = path.parents[2]
    other = _OTHER_FOLDERS.get((split.parent.name, split.name))
    if other:
        alternative = split.parent / other / path.relative_to(split)
        if alternative.is_file():
            return alternative, f" (from folder {other}, where the authors' release keeps split {split.name})"
    raise CheckpointError(
        f"{path}: no such checkpoint; train first, put a published best.ckpt there, or name --checkpoint"
    )


def load_evaluated(network: SegmentationNetwork, path: Path) -> None:
    """Fills ``network`` from a checkpoint of any kind, strictly; of student and teacher it takes the teacher.

    Raises:
        CheckpointError: unreadable, or names or shapes differ.
    """
    arrays, _ = checkpoint.read(path)
    names = [name for name, _ in network.parameters_and_names()]
    arrays = evaluated_arrays(arrays)
    for name in _MAY_BE_ABSENT:
        if name in names and name not in arrays and name.replace("bias", "weight") in arrays:
            arrays[name] = np.zeros(arrays[name.replace("bias", "weight")].shape[0], np.float32)
    checkpoint.restore(path, arrays, dict(network.parameters_and_names()))


def evaluated_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the network that is scored, by its own names: teacher.* of a run, or what follows module."""
    for prefix in ("teacher.", checkpoint.PREFIX):
        found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        if found:
            return found
    return arrays
