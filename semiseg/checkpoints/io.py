"""Checkpoints that a crash cannot spoil: written beside, synced, moved into place; read strictly and with a checksum.

``last.ckpt`` holds a run (every ``Parameter`` of its state, and a small JSON record). ``best.ckpt`` holds one network
alone under the published names (``module.`` prefix). MindSpore's format is protobuf: reading it never executes code.
"""

import json
import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from semiseg.checkpoints.match import require_match, shapes_of
from semiseg.checkpoints.reader import DamagedFile, read_ckpt
from semiseg.common.errors import CheckpointError
from semiseg.common.files import remove_leftovers, replacing
from semiseg.common.os_errors import how_to_mend, reason
from semiseg.common.platform import numpy_of

_RECORD = "semiseg.record"
PREFIX = "module."  # before every name in a published best.ckpt, and in ours


class Saved(Protocol):
    """A Tensor, a Parameter, or what a method keeps in main memory."""

    shape: tuple[int, ...]

    def asnumpy(self) -> np.ndarray: ...


def save(
    path: Path,
    arrays: Mapping[str, Saved],
    record: Mapping[str, Any],
    before: Callable[[], None] = lambda: None,
) -> None:
    """Writes tensors and a JSON-able record to ``path``; the file that was there stays until the new one is whole.

    ``before`` is called when the new file is whole and about to take the place of the old one.

    Raises:
        CheckpointError: the file cannot be written (full disk, no permission); what was there is untouched.
    """
    parameters = [{"name": name, "data": _tensor(value)} for name, value in arrays.items()]
    advice = "the last good checkpoint is untouched"
    with replacing(path, advice, CheckpointError, synced=True, before=before) as partial:
        remove_leftovers(path)
        try:
            ms.save_checkpoint(parameters, str(partial), append_dict={_RECORD: json.dumps(record)}, crc_check=True)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        finally:
            partial.with_suffix(".tmp").unlink(missing_ok=True)  # MindSpore's own way of writing beside
        partial.chmod(0o644)  # MindSpore writes 0400


def network_arrays(network: nn.Cell) -> dict[str, Parameter]:
    """A network's parameters under the published names, ready to be saved as best.ckpt."""
    return {PREFIX + name: parameter for name, parameter in network.parameters_and_names()}


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """All arrays of a MindSpore checkpoint by name, and our record (None in a file that is not ours).

    Raises:
        CheckpointError: missing, truncated, damaged or no checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        content = read_ckpt(path)
        record = json.loads(content.texts[_RECORD]) if _RECORD in content.texts else None
        if record is not None and not content.checked:  # published files have no checksum, ours always
            raise DamagedFile("its checksum is gone")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}); {how_to_mend(error)}") from error
    except (DamagedFile, ValueError) as error:
        problem = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{path}: damaged, cut off or no MindSpore checkpoint (.ckpt): {problem}; fetch or train it again"
        ) from error
    return content.arrays, record


def is_ours(path: Path) -> bool:
    """Whether ``save`` wrote this file (a published one has no record); looks for the record's name alone."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.rfind(_RECORD.encode()) >= 0


def restore(path: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Saved]) -> None:
    """Puts the arrays into the parameters of the same names, all or nothing.

    Raises:
        CheckpointError: names or shapes differ; says how many, the first of each kind, and a table of what differs.
    """
    require_match(shapes_of(arrays), shapes_of(state), str(path))
    for name, parameter in state.items():
        parameter.set_data(Tensor(arrays[name].astype(_numpy_type(parameter))))


def _tensor(value: Saved) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(numpy_of(value))


def _numpy_type(value: Saved) -> type:
    return np.int32 if value.dtype in (ms.int32, np.int32) else np.float32
