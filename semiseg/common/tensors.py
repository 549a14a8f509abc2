"""Many tensors as one."""

from collections.abc import Iterable

from mindspore import Tensor, ops

MOST = 96  # that one concatenation takes; Ascend documents a limit of 192 inputs


def joined(tensors: Iterable[Tensor]) -> Tensor:
    """The numbers of one or more tensors of one type in a row, whatever their shapes."""
    rows = [tensor.reshape(-1) for tensor in tensors]
    while len(rows) > 1:
        rows = [ops.concat(rows[first : first + MOST]) for first in range(0, len(rows), MOST)]
    return rows[0]
