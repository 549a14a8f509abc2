"""Streams of samples: for training an endless one, each batch a function of its step; for evaluation one pass.

Worker threads only read ahead (OpenCV, Pillow and numpy release the interpreter lock): what a batch holds does not
depend on them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from semiseg.common.errors import DataError
from semiseg.common.rng import generator
from semiseg.data.dataset import SegmentationDataset, first_readable
from semiseg.data.transforms import TrainTransform

_BATCHES_AHEAD = 2


class Batch(NamedTuple):
    """images: float32 B x 3 x H x W. labels: int32 B x H x W, None where the data set is read without masks."""

    step: int
    ids: list[str]
    images: np.ndarray
    labels: np.ndarray | None

    def part(self, number: int, of: int) -> "Batch":
        """Micro-batch ``number`` of ``of`` equal ones."""
        if of == 1:
            return self
        size = len(self.images) // of
        rows = slice(number * size, (number + 1) * size)
        return Batch(self.step, self.ids[rows], self.images[rows], None if self.labels is None else self.labels[rows])


class Sharing(NamedTuple):
    """How the whole batch of a step is shared out: to ``world`` devices, on each in ``accumulate`` micro-batches."""

    rank: int = 0
    world: int = 1
    accumulate: int = 1


_ALONE = Sharing()


class TrainStream:
    """Endless batches of augmented samples for one device from ``start_step`` on; any batch by ``stream.batch(step)``.

    Position p of the stream belongs to pass p // N over the N samples, which has a permutation of its own keyed by
    (seed, purpose, pass); its augmentation is keyed by (seed, purpose, p). With B = ``batch_size``, micro-batch m of
    step s takes on rank r the positions ((s*accumulate + m)*world + r)*B + (0..B-1), and a batch holds the step's
    micro-batches one after the other: no position is shared or left out, all devices see together what one with the
    whole batch sees, and a resumed run sees what it would have seen.

    ``workers`` threads read a few batches ahead; 0 reads in the calling thread. An error of a sample is raised by
    ``next`` with its own type and closes the stream; with ``skip`` the sample is replaced by the next one of its pass,
    and ``taken_skips`` tells. Close it when done (``with`` does).
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        transform: TrainTransform,
        batch_size: int,
        *,
        seed: int,
        purpose: str,
        sharing: Sharing = _ALONE,
        workers: int = 2,
        start_step: int = 0,
        skip: bool = False,
    ) -> None:
        possible = 0 <= sharing.rank < sharing.world and sharing.accumulate >= 1
        if batch_size < 1 or not possible or workers < 0 or start_step < 0:
            raise ValueError(f"impossible stream: {batch_size=} {sharing=} {workers=} {start_step=}")
        self.dataset = dataset
        self.transform = transform
        self.batch_size = batch_size
        self.step = start_step  # of the batch that next() gives
        self._seed, self._purpose = seed, purpose
        self._sharing, self._skip = sharing, skip
        self._skips: list[str] = []
        self._orders: dict[int, np.ndarray] = {}
        self._pool = _pool(workers)
        self._ahead: deque[list[Future]] = deque()
        self._closed = False

    def __iter__(self) -> "TrainStream":
        return self

    def __next__(self) -> Batch:
        if self._closed:
            raise RuntimeError("the stream is closed")
        try:
            samples = self._read_now(self.step) if self._pool is None else self._read_ahead(self._pool)
        except BaseException:  # also Ctrl-C: threads that go on reading would only delay the end
            self.close()
            raise
        self._skips += [message for sample in samples for message in sample.skipped]
        self.step += 1
        return self._collate(self.step - 1, samples)

    def _read_now(self, step: int) -> list["_Sample"]:
        return [self._sample(position) for position in self._positions(step)]

    def _read_ahead(self, pool: ThreadPoolExecutor) -> list["_Sample"]:
        while len(self._ahead) <= _BATCHES_AHEAD:
            positions = self._positions(self.step + len(self._ahead))
            self._ahead.append([pool.submit(self._sample, position) for position in positions])
        return [future.result() for future in self._ahead.popleft()]

    def batch(self, step: int) -> Batch:
        """The batch of any step, read here and now; does not move the stream."""
        return self._collate(step, self._read_now(step))

    def taken_skips(self) -> list[str]:
        """One message, naming the file, for each sample replaced since the last call."""
        taken, self._skips = self._skips, []
        return taken

    def close(self) -> None:
        """Stop reading ahead. May be called twice."""
        self._closed = True
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "TrainStream":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _positions(self, step: int) -> list[int]:
        """The position in the stream of each image of the step's batch."""
        rank, world, accumulate = self._sharing
        starts = [((step * accumulate + part) * world + rank) * self.batch_size for part in range(accumulate)]
        return [position for start in starts for position in range(start, start + self.batch_size)]

    def _order(self, turn: int) -> np.ndarray:
        """The permutation of a pass. Called from several threads: what one drops another computes again."""
        order = self._orders.get(turn)
        if order is None:
            if len(self._orders) > 8:
                self._orders.clear()
            order = generator(self._seed, f"{self._purpose}.order", turn).permutation(len(self.dataset))
            self._orders[turn] = order
        return order

    def _sample(self, position: int) -> "_Sample":
        turn, place = divmod(position, len(self.dataset))
        candidates = np.roll(self._order(turn), -place)
        found = first_readable(self.dataset, candidates if self._skip else candidates[:1])
        rng = generator(self._seed, f"{self._purpose}.augment", position)
        image, label = self.transform(found.image, found.mask, rng)
        return _Sample(self.dataset.ids[found.index], image, label, found.skipped)

    @staticmethod
    def _collate(step: int, samples: list["_Sample"]) -> Batch:
        ids, images, labels, _ = zip(*samples, strict=True)
        return Batch(step, list(ids), np.stack(images), None if labels[0] is None else np.stack(labels))


class _Sample(NamedTuple):
    id: str
    image: np.ndarray
    label: np.ndarray | None
    skipped: tuple[str, ...]  # why samples before this one were left out


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

    def read(index: int) -> tuple[str, np.ndarray, np.ndarray | None] | DataError:
        try:
            return dataset.ids[index], *dataset.read(index)
        except DataError as error:
            if on_error is None:
                raise
            return error

    for found in _in_order(read, range(len(dataset)) if indices is None else indices, workers):
        if isinstance(found, DataError):
            on_error(found)
        else:
            yield found


def _in_order(read: Callable, items: Iterable, workers: int) -> Iterator:
    pool = _pool(workers)
    if pool is None:
        yield from map(read, items)
        return
    ahead: deque[Future] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(read, item))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(workers: int) -> ThreadPoolExecutor | None:
    if workers == 0:
        return None
    cv2.setNumThreads(0)  # one level of threads: OpenCV's own beside these would fight for the cores
    return ThreadPoolExecutor(workers, thread_name_prefix="semiseg-read")
