"""Streams of samples: for training an endless one, each batch a function of its step; for evaluation one pass.

Worker threads only read ahead: what a batch holds does not depend on them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import count, islice
from typing import NamedTuple

import numpy as np

from semiseg.common.errors import DataError
from semiseg.common.rng import generator
from semiseg.data.dataset import SegmentationDataset, first_readable, from_index
from semiseg.data.read_ahead import or_error, read_ahead
from semiseg.data.transforms import Crop, TrainTransform

_BATCHES_AHEAD = 2


class Batch(NamedTuple):
    """The images of a step on one device."""

    step: int
    ids: list[str]
    images: np.ndarray  # float32 B x 3 x H x W
    labels: np.ndarray | None  # int32 B x H x W, None where the data set is read without masks
    inside: np.ndarray | None = None  # bool B x H x W, False in the padding; None where padding counts as image
    strong: np.ndarray | None = None  # float32 B x V x 3 x H x W, strong views of the images; None where there are none
    again: "Batch | None" = None  # the same images under another augmentation, for methods that mix these

    def part(self, number: int, of: int) -> "Batch":
        """Micro-batch ``number`` of ``of`` equal ones."""
        if of == 1:
            return self
        size = len(self.images) // of
        rows = slice(number * size, (number + 1) * size)
        *arrays, again = self[2:]
        arrays = (None if array is None else array[rows] for array in arrays)
        return Batch(self.step, self.ids[rows], *arrays, again and again.part(number, of))


class Shard(NamedTuple):
    """Which part of a step's whole batch a device reads: that of ``rank``, in ``accumulate`` micro-batches.

    The whole batch is shared out to ``world`` devices, on each in as many micro-batches.
    """

    rank: int = 0
    world: int = 1
    accumulate: int = 1


_ALL = Shard()


class TrainStream:
    """Endless batches of augmented samples for one device from ``start_step`` on; any batch by ``stream.batch(step)``.

    Position p of the stream belongs to pass p // N over the N samples, which has a permutation of its own keyed by
    (seed, purpose, pass); its augmentation is keyed by (seed, purpose, p). With B = ``batch_size``, micro-batch m of
    step s takes on rank r the positions ((s*accumulate + m)*world + r)*B + (0..B-1), and a batch holds the step's
    micro-batches one after the other: no position is shared or left out, all devices see together what one with the
    whole batch sees, and a resumed run sees what it would have seen.

    ``workers`` threads read a few batches ahead; 0 reads in the calling thread. An error of a sample is raised by
    ``next`` with its own type and closes the stream; with ``skip`` the sample is replaced by the next one of its pass,
    and ``taken_skips`` tells. Close it when done (``with`` does). With ``again`` each sample is augmented twice, the
    second time with draws of its own.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        transform: TrainTransform,
        batch_size: int,
        *,
        seed: int,
        purpose: str,
        shard: Shard = _ALL,
        workers: int = 2,
        start_step: int = 0,
        skip: bool = False,
        again: bool = False,
    ) -> None:
        possible = 0 <= shard.rank < shard.world and shard.accumulate >= 1
        if batch_size < 1 or not possible or workers < 0 or start_step < 0:
            raise ValueError(f"impossible stream: {batch_size=} {shard=} {workers=} {start_step=}")
        self.dataset = dataset
        self.transform = transform
        self.batch_size = batch_size
        self.step = start_step  # of the batch that next() gives
        self._seed, self._purpose = seed, purpose
        self._shard, self._skip, self._again = shard, skip, again
        self._skips: list[str] = []
        self._orders: dict[int, np.ndarray] = {}
        positions = (position for step in count(start_step) for position in self._positions(step))
        batch = batch_size * shard.accumulate
        self._samples = read_ahead(self._sample, positions, workers, _BATCHES_AHEAD * batch)
        self._closed = False

    def __iter__(self) -> "TrainStream":
        return self

    def __next__(self) -> Batch:
        if self._closed:
            raise RuntimeError("the stream is closed")
        try:
            samples = list(islice(self._samples, len(self._positions(self.step))))
        except BaseException:  # also Ctrl-C: threads that go on reading would only delay the end
            self.close()
            raise
        self._skips += [message for sample in samples for message in sample.skipped]
        self.step += 1
        return self._collate(self.step - 1, samples)

    def batch(self, step: int) -> Batch:
        """The batch of any step, read here and now; does not move the stream."""
        return self._collate(step, [self._sample(position) for position in self._positions(step)])

    def taken_skips(self) -> list[str]:
        """One message, naming the file, for each sample replaced since the last call."""
        taken, self._skips = self._skips, []
        return taken

    def close(self) -> None:
        """Stop reading ahead. May be called twice."""
        self._closed = True
        self._samples.close()

    def __enter__(self) -> "TrainStream":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _positions(self, step: int) -> list[int]:
        """The position in the stream of each image of the step's batch."""
        rank, world, accumulate = self._shard
        starts = [((step * accumulate + part) * world + rank) * self.batch_size for part in range(accumulate)]
        return [position for start in starts for position in range(start, start + self.batch_size)]

    def _order(self, turn: int) -> np.ndarray:
        """The permutation of a pass. Called from several threads: what one drops another computes again."""
        order = self._orders.get(turn)
        if order is None:
            if len(self._orders) > 1:  # one pass is read, the next begun; of a million images an order is 4 MB
                self._orders.clear()
            size = len(self.dataset)
            order = generator(self._seed, f"{self._purpose}.order", turn).permutation(size)
            order = order.astype(np.uint32 if size <= 2**32 else np.int64)
            self._orders[turn] = order
        return order

    def _sample(self, position: int) -> "_Sample":
        turn, index = divmod(position, len(self.dataset))
        order = self._order(turn)
        sample = first_readable(self.dataset, from_index(order, index) if self._skip else order[index : index + 1])
        purposes = [f"{self._purpose}.augment", f"{self._purpose}.again"][: 2 if self._again else 1]
        draws = [generator(self._seed, purpose, position) for purpose in purposes]
        crops = tuple(self.transform(sample.image, sample.mask, rng) for rng in draws)
        return _Sample(self.dataset.ids[sample.index], crops, sample.skipped)

    @staticmethod
    def _collate(step: int, samples: list["_Sample"]) -> Batch:
        ids = [sample.id for sample in samples]
        first, *others = zip(*(sample.crops for sample in samples), strict=True)
        batch = Batch(step, ids, *_stacked(first))
        return batch._replace(again=Batch(step, ids, *_stacked(others[0]))) if others else batch


class _Sample(NamedTuple):
    id: str
    crops: tuple[Crop, ...]  # one for each time that it is augmented
    skipped: tuple[str, ...]  # why samples before this one were left out


def _stacked(crops: Iterable[Crop]) -> Iterator[np.ndarray | None]:
    """The fields of several crops, each as one array."""
    return (None if items[0] is None else np.stack(items) for items in zip(*crops, strict=True))


def eval_samples(
    dataset: SegmentationDataset,
    workers: int = 2,
    indices: Iterable[int] | None = None,
    on_error: Callable[[DataError], None] | None = None,
) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """(id, uint8 H x W x 3 image, uint8 H x W mask or None) in the order of ``indices``, by default of the data set.

    Errors of a sample arrive in its turn with their own type, or are given to ``on_error`` and the sample is left out.
    Leaving the loop early stops the threads.
    """

    def read(index: int) -> tuple[str, np.ndarray, np.ndarray | None]:
        return dataset.ids[index], *dataset.read(index)

    indices = range(len(dataset)) if indices is None else indices
    with closing(read_ahead(read if on_error is None else or_error(read), indices, workers)) as samples:
        for sample in samples:
            if isinstance(sample, DataError):
                on_error(sample)
            else:
                yield sample
