"""Work over many files: threads, a progress bar, errors of single files kept beside the results of the others."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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


def over_files(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, title: str
) -> Iterator[tuple[Item, Result | DataError]]:
    """(item, ``work(item)`` or the DataError it raised), in the order of ``items``, under a progress bar.

    Decoding releases the interpreter lock, so threads are enough. Leaving early or Ctrl-C stops what has not begun.
    """

    def attempt(item: Item) -> Result | DataError:
        try:
            return work(item)
        except DataError as error:
            return error

    cv2.setNumThreads(0)  # one level of threads
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="semiseg-files")
    ahead: deque[tuple[Item, Future]] = deque()
    try:
        with tqdm(total=len(items), desc=title, unit="file", dynamic_ncols=True, disable=None) as bar:
            for item in items:
                ahead.append((item, pool.submit(attempt, item)))
                if len(ahead) > 4 * workers:
                    yield _first(ahead)
                    bar.update()
            while ahead:
                yield _first(ahead)
                bar.update()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _first(ahead: deque) -> tuple:
    item, future = ahead.popleft()
    return item, future.result()
