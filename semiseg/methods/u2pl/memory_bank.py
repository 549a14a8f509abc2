"""U2PL's memory bank: for each class the last few thousand representations of pixels that are not of that class."""

from collections.abc import Sequence

import numpy as np

from semiseg.common.host_array import HostArray


class MemoryBank:
    """A first-in first-out queue of rows (D,) for each class, in main memory; explicit state for the checkpoint.

    Each queue is a ring: ``first`` is the place of its oldest row, ``count`` the number of rows it holds.

    Args:
        sizes: the most rows that each class keeps. planes: D.
    """

    def __init__(self, sizes: Sequence[int], planes: int):
        self._sizes = tuple(sizes)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self._rows = HostArray("bank.rows", np.zeros((sum(self._sizes), planes), np.float32), per_device=True)
        self._first = HostArray("bank.first", np.zeros(len(self._sizes), np.int32), per_device=True)
        self._count = HostArray("bank.count", np.zeros(len(self._sizes), np.int32), per_device=True)

    def count(self, class_id: int) -> int:
        """How many rows the class holds now."""
        return int(self._count.array[class_id])

    def enqueue(self, class_id: int, rows: np.ndarray) -> None:
        """Adds N x D rows, oldest first; what exceeds the class's size falls out at the old end."""
        size = self._sizes[class_id]
        rows = rows[-size:]
        first, count = int(self._first.array[class_id]), self.count(class_id)
        slots = (first + count + np.arange(len(rows))) % size
        self._rows.array[self._starts[class_id] + slots] = rows
        lost = max(0, count + len(rows) - size)
        self._first.array[class_id] = (first + lost) % size
        self._count.array[class_id] = count + len(rows) - lost

    def take(self, class_id: int, positions: np.ndarray) -> np.ndarray:
        """The rows at ``positions`` (any shape, 0 = oldest) of a class: positions.shape + (D,), a copy."""
        slots = (int(self._first.array[class_id]) + positions) % self._sizes[class_id]
        return self._rows.array[self._starts[class_id] + slots]

    def state(self) -> dict[str, HostArray]:
        """Everything that is kept, by name."""
        return {item.name: item for item in (self._rows, self._first, self._count)}
