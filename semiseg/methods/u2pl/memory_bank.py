"""U2PL's memory bank: for each class the last few thousand representations of pixels that are not of that class."""

from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, Tensor, ops

from semiseg.common.host_array import HostArray

AT_ONCE = 2**14  # most rows that are written together, so that little memory is needed beside the bank


class MemoryBank:
    """A first-in first-out queue of rows (D,) for each class; explicit state for the checkpoint.

    The rows stay on the device, in one matrix; the host keeps which of them belong to whom. Each queue is a ring:
    ``first`` is the place of its oldest row, ``count`` the number of rows it holds.

    Args:
        sizes: the most rows that each class keeps. planes: D.
    """

    def __init__(self, sizes: Sequence[int], planes: int):
        self._sizes = tuple(sizes)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        zeros = np.zeros((sum(self._sizes), planes), np.float32)
        self.rows = Parameter(Tensor(zeros), name="bank.rows", requires_grad=False)  # of all classes: R x D
        self.rows.per_device = True  # as in ``HostArray``
        self._first = HostArray("bank.first", np.zeros(len(self._sizes), np.int32), per_device=True)
        self._count = HostArray("bank.count", np.zeros(len(self._sizes), np.int32), per_device=True)
        self._update = ops.ScatterUpdate()

    def count(self, class_id: int) -> int:
        """How many rows the class holds now."""
        return int(self._count.array[class_id])

    def enqueue(self, rows: Tensor, indices: Sequence[np.ndarray]) -> None:
        """Adds to each class those of M x D rows that its ``indices`` name, oldest first; what exceeds a class's size
        falls out at the old end.
        """
        kept = [index[-size:] for index, size in zip(indices, self._sizes, strict=True)]
        places = [self._make_room(class_id, len(index)) for class_id, index in enumerate(kept)]
        source, target = (np.concatenate(parts).astype(np.int32) for parts in (kept, places))
        for first in range(0, len(source), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            self._write(rows, _filled(source[part]), _filled(target[part]))

    def places(self, class_id: int, positions: np.ndarray) -> np.ndarray:
        """Which of ``rows`` are at ``positions`` (any shape, 0 = oldest) of a class: int32 of the same shape."""
        ring = (int(self._first.array[class_id]) + positions) % self._sizes[class_id]
        return (self._starts[class_id] + ring).astype(np.int32)

    def state(self) -> dict[str, Parameter | HostArray]:
        """Everything that is kept, by name."""
        return {item.name: item for item in (self.rows, self._first, self._count)}

    def _make_room(self, class_id: int, added: int) -> np.ndarray:
        """The places of so many new rows of a class, at most its size."""
        size, count = self._sizes[class_id], self.count(class_id)
        places = self.places(class_id, count + np.arange(added))
        lost = max(0, count + added - size)
        self._first.array[class_id] = (self._first.array[class_id] + lost) % size
        self._count.array[class_id] = count + added - lost
        return places

    def _write(self, rows: Tensor, source: np.ndarray, target: np.ndarray) -> None:
        """Copies rows at ``source`` to the bank's at ``target``."""
        self._update(self.rows, Tensor(target), ops.gather(rows, Tensor(source), 0))


def _filled(indices: np.ndarray) -> np.ndarray:
    """As many indices as the next power of two, so that a device meets few shapes; the last one is repeated."""
    return np.pad(indices, (0, 2 ** (len(indices) - 1).bit_length() - len(indices)), mode="edge")
