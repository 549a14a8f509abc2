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

from semiseg.data.dataset import SegmentationDataset
from semiseg.data.transforms import TrainTransform
from semiseg.rng import generator

_BATCHES_AHEAD = 2


class Batch(NamedTuple):
    """images: float32 B x 3 x H x W. labels: int32 B x H x W, None where the data set is read without masks."""

    step: int
    ids: list[str]
    images: np.ndarray
    labels: np.ndarray | None


class TrainStream:
    """Endless batches of augmented samples for one rank from ``start_step`` on; any batch by ``stream.batch(step)``.

    Position p of the stream belongs to pass p // N over the N samples, which has a permutation of its own keyed by
    (seed, purpose, pass); its augmentation is keyed by (seed, purpose, p). Step s of rank r takes the positions
    s*B*world + r*B + (0..B-1): ranks never share a position, two ranks of batch B see together what one process of
    batch 2B sees, and a resumed run sees what it would have seen.

    ``workers`` threads read a few batches ahead; 0 reads in the calling thread. An error of a sample is raised by
    ``next`` with its own type and closes the stream. Close it when done (``with`` does).
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        transform: TrainTransform,
        batch_size: int,
        *,
        seed: int,
        purpose: str,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
        start_step: int = 0,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world or workers < 0 or start_step < 0:
            raise ValueError(f"impossible stream: {batch_size=} {rank=} {world=} {workers=} {start_step=}")
        self.dataset = dataset
        self.transform = transform
        self.batch_size = batch_size
        self.step = start_step  # of the batch that next() gives
        self._seed, self._purpose = seed, purpose
        self._rank, self._world = rank, world
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
            batch = self.batch(self.step) if self._pool is None else self._next_read_ahead(self._pool)
        except BaseException:  # also Ctrl-C: threads that go on reading would only delay the end
            self.close()
            raise
        self.step += 1
        return batch

    def _next_read_ahead(self, pool: ThreadPoolExecutor) -> Batch:
        while len(self._ahead) <= _BATCHES_AHEAD:
            places = self._places(self.step + len(self._ahead))
            self._ahead.append([pool.submit(self._sample, *place) for place in places])
        return self._collate(self.step, [future.result() for future in self._ahead.popleft()])

    def batch(self, step: int) -> Batch:
        """The batch of any step, read here and now; does not move the stream."""
        return self._collate(step, [self._sample(*place) for place in self._places(step)])

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

    def _places(self, step: int) -> list[tuple[int, int]]:
        """(position in the stream, index of the sample) for each image of the step's batch."""
        first = (step * self._world + self._rank) * self.batch_size
        return [(p, self._index(p)) for p in range(first, first + self.batch_size)]

    def _index(self, position: int) -> int:
        turn, place = divmod(position, len(self.dataset))
        if turn not in self._orders:
            if len(self._orders) > 8:
                self._orders.clear()
            self._orders[turn] = generator(self._seed, f"{self._purpose}.order", turn).permutation(len(self.dataset))
        return int(self._orders[turn][place])

    def _sample(self, position: int, index: int) -> tuple[str, np.ndarray, np.ndarray | None]:
        image, mask = self.dataset.read(index)
        rng = generator(self._seed, f"{self._purpose}.augment", position)
        return self.dataset.ids[index], *self.transform(image, mask, rng)

    @staticmethod
    def _collate(step: int, samples: list[tuple[str, np.ndarray, np.ndarray | None]]) -> Batch:
        ids, images, labels = zip(*samples, strict=True)
        return Batch(step, list(ids), np.stack(images), None if labels[0] is None else np.stack(labels))


def eval_samples(
    dataset: SegmentationDataset, workers: int = 2, indices: Iterable[int] | None = None
) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """(id, uint8 H x W x 3 image, uint8 H x W mask or None) in the order of ``indices``, by default of the data set.

    Errors of a sample arrive in its turn with their own type. Leaving the loop early stops the threads.
    """

    def read(index: int) -> tuple[str, np.ndarray, np.ndarray | None]:
        return dataset.ids[index], *dataset.read(index)

    return _in_order(read, range(len(dataset)) if indices is None else indices, workers)


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
