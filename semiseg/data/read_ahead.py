"""Work over many items by threads that read ahead; results come in the order of the items, whatever the threads do.

Decoding releases the interpreter lock (OpenCV, Pillow, numpy), so threads are enough.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2
from tqdm import tqdm

from semiseg.common.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_workers() -> int:
    """As many threads as this process has cores, at most 16: beyond that the disk decides."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)


def read_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int | None = None
) -> Iterator[Result]:
    """``work(item)`` of each item, in order, made by ``workers`` threads; with 0 in the calling thread, one by one.

    An error arrives in its item's turn, with its own type, and is the end. Closing the iterator, an error and Ctrl-C
    stop what has not begun and wait for what has.

    Args:
        items: may be endless.
        ahead: how many items beyond the one that is waited for may be at work or done; by default two a thread.
    """
    if workers == 0:
        yield from map(work, items)
        return
    cv2.setNumThreads(0)  # one level of threads: OpenCV's own beside these would fight for the cores
    pool = ThreadPoolExecutor(workers, thread_name_prefix="semiseg-read")
    limit = 2 * workers if ahead is None else ahead
    futures: deque[Future] = deque()
    try:
        for item in items:
            futures.append(pool.submit(work, item))
            if len(futures) > limit:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def or_error(work: Callable[[Item], Result]) -> Callable[[Item], Result | DataError]:
    """``work`` that returns a DataError instead of raising it, so that one bad file does not end the others."""

    def attempt(item: Item) -> Result | DataError:
        try:
            return work(item)
        except DataError as error:
            return error

    return attempt


def over_files(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, title: str
) -> Iterator[tuple[Item, Result | DataError]]:
    """(item, ``work(item)`` or the DataError it raised), in the order of ``items``, under a progress bar.

    Leaving early stops the threads.
    """
    with (
        tqdm(total=len(items), desc=title, unit="file", dynamic_ncols=True, disable=None) as bar,
        contextlib.closing(read_ahead(or_error(work), items, workers)) as results,
    ):
        for item, result in zip(items, results, strict=True):
            yield item, result
            bar.update()
