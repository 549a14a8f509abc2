"""The inputs of a step's micro-batches, kept between two passes: all are counted before the first is learnt from."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mindspore import Tensor

from semiseg.common.platform import numpy_of


class MicroBatches(Sequence[NamedTuple]):
    """A method's inputs, micro-batch by micro-batch.

    Where there are several they wait in main memory, and taking one brings it to the device: whatever
    ``trainer.accumulate`` is, the device holds the inputs of one.

    Args:
        several: whether there will be more than one.
    """

    def __init__(self, several: bool):
        self._several, self._parts = several, []

    def append(self, inputs: NamedTuple) -> None:
        """Takes in the next one, nested tuples of tensors."""
        self._parts.append(_each(numpy_of, inputs) if self._several else inputs)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> NamedTuple:
        inputs = self._parts[index]
        return _each(Tensor, inputs) if self._several else inputs


def _each(function: Callable, value: Any) -> Any:
    """``function`` of every tensor or array in nested tuples."""
    if not isinstance(value, tuple):
        return function(value)
    items = [_each(function, item) for item in value]
    return value._make(items) if hasattr(value, "_make") else tuple(items)
