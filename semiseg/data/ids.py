"""Ids of samples, held compactly: one text and the ends of the ids in it, a third of what as many strings take."""

import operator
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice, pairwise
from typing import Protocol

import numpy as np

_CHUNK = 16_384  # ids that are strings at once, where all are gone through
_ERRORS = "surrogateescape"  # as Python has the bytes of file names that are no UTF-8


class Ids(Sequence[str]):
    """Strings that do not change, by index; equal to a list or tuple of the same strings. Names of files of any bytes.

    A million names of 17 letters are 25 MB; as many strings in a list 74 MB, in a dict or set twice that.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        text, lengths = bytearray(), array("I")
        rest = iter(ids)
        while chunk := [sample.encode(errors=_ERRORS) for sample in islice(rest, _CHUNK)]:
            text += b"".join(chunk)
            lengths.extend(map(len, chunk))
        self._text = bytes(text)
        ends = np.cumsum(np.frombuffer(lengths, np.uint32), dtype=np.int64)
        self._bounds = np.concatenate([[0], ends]).astype(np.uint32 if len(text) < 2**32 else np.int64)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index):  # int -> str, slice -> Ids
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError("no such id")
        start, end = self._bounds[index % len(self) :][:2].tolist()
        return self._text[start:end].decode(errors=_ERRORS)

    def __iter__(self) -> Iterator[str]:
        return (sample.decode(errors=_ERRORS) for sample in self._encoded())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return self._text == other._text and np.array_equal(self._bounds, other._bounds)
        if isinstance(other, list | tuple):
            return len(self) == len(other) and all(map(operator.eq, self, other))
        return NotImplemented

    __hash__ = None

    def __add__(self, other: Iterable[str]) -> "Ids":
        return Ids(chain(self, other))

    def __repr__(self) -> str:
        more = f" and {len(self) - 3} more" if len(self) > 3 else ""
        return f"Ids({[self[index] for index in range(min(3, len(self)))]}{more})"

    def take(self, chosen: np.ndarray) -> "Ids":
        """Those at some indices (integers, in their order) or where a mask is true."""
        indices = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return Ids(self[index] for index in indices)

    def contains(self, character: str) -> bool:
        """Whether any id holds an ASCII character."""
        return character.encode() in self._text

    def lines(self) -> bytes:
        """One id a line, as lists are written."""
        return b"".join(sample + b"\n" for sample in self._encoded())

    def positions(self, ids: Iterable[str]) -> list[int]:
        """The index of each of ``ids``. Raises: KeyError for one that is not here."""
        order, in_order = self._by_hash
        indices = []
        for sample in ids:
            first, end = (np.searchsorted(in_order, hash(sample), side) for side in ("left", "right"))
            same = [index for index in order[first:end].tolist() if self[index] == sample]
            if not same:
                raise KeyError(sample)
            indices.append(same[0])
        return indices

    def twice(self) -> dict[str, list[int]]:
        """The ids that occur more than once, each with its indices; in the order of the first ones."""
        in_order = np.sort(self.hashes)
        places: dict[str, list[int]] = {}
        for index in np.flatnonzero(np.isin(self.hashes, in_order[1:][in_order[1:] == in_order[:-1]])).tolist():
            places.setdefault(self[index], []).append(index)
        return {sample: indices for sample, indices in places.items() if len(indices) > 1}

    @cached_property
    def hashes(self) -> np.ndarray:
        """int64 of each id. Equal ids have equal ones, others nearly never; of this process alone."""
        return np.fromiter(map(hash, self), np.int64, len(self))

    @cached_property
    def _by_hash(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.hashes, kind="stable")
        return order, self.hashes[order]

    def _encoded(self) -> Iterator[bytes]:
        for first in range(0, len(self), _CHUNK):
            bounds = self._bounds[first : first + _CHUNK + 1].tolist()
            yield from (self._text[start:end] for start, end in pairwise(bounds))


def compact(ids: Iterable[str]) -> Ids:
    """``ids`` itself, or the same ones held compactly."""
    return ids if isinstance(ids, Ids) else Ids(ids)


class Hashed(Protocol):
    """Strings with a number for each that equal ones share; ``take`` gives those where a mask is true."""

    @property
    def hashes(self) -> np.ndarray: ...

    def take(self, chosen: np.ndarray) -> Iterable[str]: ...


def shared(first: Hashed, second: Hashed) -> list[str]:
    """The strings that are in both, sorted."""
    codes = np.intersect1d(first.hashes, second.hashes)
    if not codes.size:
        return []
    here, there = (set(some.take(np.isin(some.hashes, codes))) for some in (first, second))
    return sorted(here & there)
