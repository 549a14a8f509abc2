"""One network out of a checkpoint of any kind: ours, the authors', U2PL's, a bare state dict, an ImageNet encoder.

Nothing is dropped in silence: what a file holds beside the wanted network stays in the result and is refused when the
names are compared. The exception is our own last.ckpt, whose other parts (optimizer and the like) are known to be ours.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mindspore import Parameter, Tensor

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.identity import Identity, identity_in
from semiseg.checkpoints.match import MatchReport, require_match, shapes_of
from semiseg.common.errors import CheckpointError
from semiseg.common.files import open_file
from semiseg.interop.averaged import State, Which, prefixes_in, select_by_prefix
from semiseg.interop.safetensors_file import read_safetensors
from semiseg.interop.torch_checkpoint import read_torch
from semiseg.interop.torch_names import check_stem, from_torch, place_backbone, strip_common, strip_prefix

_TORCH_SUFFIXES = {".pth", ".pt", ".tar"}
_CKPT_BEGINS = re.compile(rb"\n[\x80-\xff]*[\x00-\x7f]\n")  # protobuf: the first entry, its length, its name
_LONGEST_HEADER = 100_000_000  # bytes, of .safetensors
_NETWORKS = ("teacher.", "student.")  # before the names in our last.ckpt
_SAYS_NOTHING = "an earlier version wrote it: what it was trained as is not compared"
_TEACHER_TO_COME = "the student: of the supervised phase, before its teacher begins"
# The authors' MindSpore auxiliary head has no bias in its first convolution, U2PL's has one: absent means zero.
_ABSENT_MEANS_ZERO = {"auxor.aux.0.bias": "auxor.aux.0.weight"}


class NetworkFile(NamedTuple):
    """What a file says of one network. ``state``: arrays under our parameter names; ``note``: which weights of several,
    "" where there is nothing to say; ``identity``: what it was trained as, see ``checkpoints.identity``.
    """

    state: State
    note: str = ""
    identity: Identity | None = None


def read_network(path: Path, which: Which | None = None) -> State:
    """The arrays of one network by our names (a bare encoder's begin with ``encoder.``), see ``read_network_file``."""
    return read_network_file(path, which).state


def read_network_file(path: Path, which: Which | None = None) -> NetworkFile:
    """One network of a checkpoint and what the file says of it.

    Args:
        path: .safetensors, .ckpt of MindSpore or .pth of PyTorch, told apart by content.
        which: of trained and averaged weights (student and teacher); None takes the averaged ones, and a file's only
            network where there is one.

    Raises:
        CheckpointError: unreadable, or the wanted network is not in it.
    """
    read_foreign = {"torch": read_torch, "safetensors": read_safetensors}.get(_format(path))
    if read_foreign:
        selected = from_torch(read_foreign(path), str(path), which)
        return NetworkFile(selected.state, selected.note)
    arrays, record = checkpoint_io.read(path)
    arrays = strip_prefix(arrays if record is None else _networks(arrays), str(path))
    early = ""
    if record is not None and not which:
        held = prefixes_in(arrays).keys()
        if held == {"student"}:
            which = "student"  # a supervised run of ours: its only network is the one that it scored
        elif "teacher" in held and record.get("scored") == "student":
            which, early = "student", _TEACHER_TO_COME
    selected = select_by_prefix(arrays, which, str(path))
    identity = identity_in(record)
    silent = record is not None and "step" in record and identity is None
    note = ", ".join(filter(None, (selected.note, early, _SAYS_NOTHING if silent else "")))
    state = strip_common(strip_prefix(selected.state, str(path)))
    return NetworkFile(place_backbone(state), note, identity)


def _networks(arrays: State) -> State:
    """Of a run of ours the networks alone: what else is in it, the optimizer and the like, is known."""
    return {name: array for name, array in arrays.items() if name.startswith(_NETWORKS)} or arrays


def _format(path: Path) -> str:
    """torch, safetensors or mindspore: by content, so that a renamed file is what it is; else by the name's ending."""
    head = b""
    if path.is_file():
        with open_file(path) as file:
            head = file.read(9)
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:  # JSON after its length
        return "safetensors"
    if head[:4] == b"PK\3\4" or (head[:1] == b"\x80" and head[1:2] <= b"\5"):  # a zip archive; a pickle, its protocol
        return "torch"
    by_name = {".safetensors": "safetensors", **dict.fromkeys(_TORCH_SUFFIXES, "torch")}
    return "mindspore" if _CKPT_BEGINS.match(head) else by_name.get(path.suffix, "mindspore")


def fill(parameters: Mapping[str, Parameter], arrays: State, path: Path, ignorable: Iterable[str] = ()) -> MatchReport:
    """Puts arrays into the parameters of the same names, all or nothing; returns how they matched.

    Raises:
        CheckpointError: a name or shape differs (beyond the patterns in ``ignorable``), or values are whole numbers or
            not finite.
    """
    check_stem(arrays, parameters, str(path))
    arrays = with_zero_bias(arrays, parameters)
    report = require_match(shapes_of(arrays), shapes_of(parameters), str(path), ignorable)
    check_values(arrays, report, path)
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


def check_values(arrays: State, report: MatchReport, path: Path) -> None:
    """Raises CheckpointError at the first matched array of whole numbers (quantised weights, whose scale is unknown),
    or with a NaN or an infinity: a file without a checksum may be damaged where nothing else shows it.
    """
    for name in report.matched:
        if arrays[name].dtype.kind in "iub":
            raise CheckpointError(
                f"{path}: {name} holds whole numbers ({arrays[name].dtype}), as quantised weights do; expected float32 "
                "or float16; save the network before it is quantised"
            )
        if not np.isfinite(arrays[name]).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite; fetch or convert the file again")
