"""Data parallelism: the processes that msrun started, as one group. On one device everything here is the identity.

Every process runs the same program on its own images. What they must agree on goes through a ``Group``: sums, the
values of rank 0, and yes or no. All processes must make the same calls in the same order, or they wait for each other.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mindspore import Tensor, ops
from mindspore.communication import GlobalComm, get_group_size, get_rank, init

from semiseg.common.platform import numpy_of
from semiseg.common.tensors import MOST, joined

# How long a process waits for the others inside one operation, in seconds; CPU only, where the default is 60. Rank 0
# computes prototypes and writes checkpoints while the others wait. A process that dies ends the job at once all the
# same: msrun sees it.
_PATIENCE = "7200"
_BUCKET = 8 * 2**20  # numbers that are sent together, of at most MOST tensors


class Value(Protocol):
    """A Parameter, or what a method keeps in main memory."""

    def asnumpy(self) -> np.ndarray: ...

    def set_data(self, value: Tensor) -> None: ...


@dataclass(frozen=True)
class Group:
    """This process's place among ``world`` processes; rank 0 writes and speaks for all."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum over the processes of a small array, added up in the order of the ranks: the same bits everywhere."""
        return values if self.world == 1 else self.gather(values).sum(0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set anywhere. Also a place where all wait until the last one has come."""
        return bool(self.total(np.array([flag], np.int64))[0])

    def tensors(self, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Sum over the processes of each float32 tensor, sent many at a time."""
        if self.world == 1:
            return values
        send, summed = ops.AllReduce(), []
        for bucket in _buckets(values):
            flat = send(joined(bucket))
            rows = ops.split(flat, [value.size for value in bucket])
            summed += [row.reshape(value.shape) for row, value in zip(rows, bucket, strict=True)]
        return tuple(summed)

    def wait(self) -> None:
        """Until all processes are here. The first one to end ends the job: none may before rank 0 has written."""
        self.any(False)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """The arrays of all processes, all of one shape and of a type of 4 or 8 bytes: ... -> world x ..."""
        if self.world == 1:
            return values[None]
        # As int32, which every backend can send, whatever the numbers mean.
        sent = np.ascontiguousarray(values).reshape(1, -1).view(np.int32)
        return numpy_of(ops.AllGather()(Tensor(sent))).view(values.dtype).reshape(self.world, *values.shape)

    def broadcast(self, values: Iterable[Value]) -> None:
        """Gives each value (float32 or int32) what it is on rank 0."""
        if self.world == 1:
            return
        send = ops.Broadcast(0)
        for value in values:
            value.set_data(send((Tensor(numpy_of(value)),))[0])

    def texts(self, text: str) -> list[str]:
        """The texts of all processes, by rank."""
        if self.world == 1:
            return [text]
        content = np.frombuffer(text.encode(errors="surrogatepass"), np.uint8).astype(np.int32)
        lengths = self.gather(np.array([len(content)], np.int32))[:, 0]
        padded = np.zeros(max(1, lengths.max()), np.int32)
        padded[: len(content)] = content
        rows = self.gather(padded)
        return [
            bytes(row[:length].astype(np.uint8)).decode(errors="surrogatepass")
            for row, length in zip(rows, lengths, strict=True)
        ]


ALONE = Group()


def _buckets(values: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, as many together as fit ``_BUCKET`` and may be concatenated, at least one."""
    bucket: list[Tensor] = []
    for value in values:
        full = len(bucket) == MOST or sum(item.size for item in bucket) + value.size > _BUCKET
        if bucket and full:
            yield bucket
            bucket = []
        bucket.append(value)
    if bucket:
        yield bucket


def processes() -> int:
    """How many processes msrun starts for this run; 1 without it."""
    return max(1, int(os.environ.get("MS_WORKER_NUM", "1"))) if "MS_ROLE" in os.environ else 1


def is_scheduler() -> bool:
    """Whether this is no worker but the process that msrun starts beside them, of the same program."""
    return processes() > 1 and os.environ["MS_ROLE"] != "MS_WORKER"


def connect() -> None:
    """Waits for all other processes, where msrun started this one; does nothing where it did not, or a second time.

    To be called when the device is set and before the first tensor or primitive is made: on Ascend it would have no
    effect later. The scheduler stays in here until the job has ended, and then exits.
    """
    if processes() == 1 or GlobalComm.INITED:
        return
    os.environ.setdefault("MS_CPU_COMM_OP_TIMEOUT", _PATIENCE)
    init()
    if is_scheduler():
        sys.exit(0)


def join() -> Group:
    """The group of this process, connected to all others; ``ALONE`` without msrun."""
    connect()
    return ALONE if processes() == 1 else Group(get_rank(), get_group_size())
