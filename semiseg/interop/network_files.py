"""One network out of a checkpoint of any kind: ours, the authors', U2PL's, a bare state dict, an ImageNet ResNet.

Nothing is dropped in silence: what a file holds beside the wanted network stays in the result and is refused when the
names are compared. The exception is our own last.ckpt, whose other parts (optimizer and the like) are known to be ours.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from mindspore import Parameter, Tensor

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.match import MatchReport, require_match, shapes_of
from semiseg.common.errors import CheckpointError
from semiseg.interop.torch_checkpoint import read_torch
from semiseg.interop.torch_names import State, from_torch, place_backbone, strip_prefix

Which = Literal["teacher", "student"]
_TORCH_SUFFIXES = {".pth", ".pt", ".tar"}
# The authors' MindSpore auxiliary head has no bias in its first convolution, U2PL's has one: absent means zero.
_ABSENT_MEANS_ZERO = {"auxor.aux.0.bias": "auxor.aux.0.weight"}


def read_network(path: Path, which: Which | None = None) -> State:
    """The arrays of one network under our parameter names (a bare ResNet's under ``encoder.``).

    Args:
        path: .ckpt of MindSpore or .pth of PyTorch, told apart by content where the suffix says neither.
        which: of a student and a teacher; None takes the teacher, and a file's only network where there is one.

    Raises:
        CheckpointError: unreadable, the wanted network is not in it, or a ResNet with a 7x7 stem.
    """
    _refuse_safetensors(path)
    if _is_torch(path):
        return from_torch(read_torch(path), str(path), which)
    arrays, record = checkpoint_io.read(path)
    arrays = _part_of_run(arrays, path, which, ours=record is not None)
    return place_backbone(strip_prefix(arrays, str(path)), str(path))


def _is_torch(path: Path) -> bool:
    if path.suffix in _TORCH_SUFFIXES or not path.is_file():
        return path.suffix in _TORCH_SUFFIXES
    with path.open("rb") as file:
        head = file.read(2)
    return head == b"PK" or head[:1] == b"\x80"


def _refuse_safetensors(path: Path) -> None:
    """Raises: CheckpointError for a .safetensors file: JSON after its length in eight bytes."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        raise CheckpointError(
            f"{path}: a .safetensors file, which is not read here; save it as .pth first: "
            "torch.save(safetensors.torch.load_file(IN), OUT)"
        )


def _part_of_run(arrays: State, path: Path, which: Which | None, ours: bool) -> State:
    """teacher.* or student.* without the prefix, where there are such names; else everything."""
    held = [part for part in ("teacher", "student") if any(name.startswith(f"{part}.") for name in arrays)]
    if not held:
        if which:
            raise CheckpointError(f"{path}: holds one network, no {which} to choose; leave the choice out")
        return arrays
    wanted = which or "teacher"
    if wanted not in held:
        raise CheckpointError(f"{path}: expected a {wanted}, found only a {held[0]}; ask for the {held[0]} by name")
    known = ("teacher.", "student.")
    left = {} if ours else {name: array for name, array in arrays.items() if not name.startswith(known)}
    prefix = f"{wanted}."
    return left | {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def fill(parameters: Mapping[str, Parameter], arrays: State, path: Path, ignorable: Iterable[str] = ()) -> MatchReport:
    """Puts arrays into the parameters of the same names, all or nothing; returns how they matched.

    Raises:
        CheckpointError: a name or shape differs (beyond the patterns in ``ignorable``), or a value is not finite.
    """
    arrays = with_zero_bias(arrays, parameters)
    report = require_match(shapes_of(arrays), shapes_of(parameters), str(path), ignorable)
    check_finite(arrays, report, path)
    for name in report.matched:
        parameters[name].set_data(Tensor(np.asarray(arrays[name], np.float32)))
    return report


def with_zero_bias(arrays: State, names: Iterable[str]) -> State:
    """The arrays with zeros for the biases that published networks do without, where ``names`` holds them."""
    added = {}
    for bias, weight in _ABSENT_MEANS_ZERO.items():
        if bias in names and bias not in arrays and weight in arrays:
            added[bias] = np.zeros(arrays[weight].shape[0], np.float32)
    return arrays | added


def check_finite(arrays: State, report: MatchReport, path: Path) -> None:
    """Raises CheckpointError at the first matched array with a NaN or an infinity: a file without a checksum may be
    damaged where nothing else shows it.
    """
    for name in report.matched:
        if not np.isfinite(arrays[name]).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite; fetch or convert the file again")
