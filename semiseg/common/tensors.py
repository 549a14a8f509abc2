"""Many tensors as one."""

from collections.abc import Iterable, Sequence

from mindspore import Tensor, ops

MOST = 96  # that one concatenation takes; Ascend documents a limit of 192 inputs


def concatenated(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """ops.concat of one or more tensors, however many."""
    while len(tensors) > 1:
        tensors = [ops.concat(tensors[first : first + MOST], axis) for first in range(0, len(tensors), MOST)]
    return tensors[0]


def joined(tensors: Iterable[Tensor]) -> Tensor:
    """The numbers of one or more tensors of one type in a row, whatever their shapes."""
    return concatenated([tensor.reshape(-1) for tensor in tensors])
