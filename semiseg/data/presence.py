"""Which files are there, and where links lead: one look at a file, by many threads at once.

On a network drive a look takes a millisecond and more, nearly all of it waiting: threads wait side by side.
"""

import contextlib
import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from semiseg.data.ids import Ids
from semiseg.data.read_ahead import read_ahead

LOOKED_AT = 20_000  # unlabelled images that are looked at before training: all of every published list
_THREADS, _PIECE = 32, 64  # of waiting threads; paths that a thread takes at once
_MANY = 1000  # files of one folder from which on listing it is cheaper than looking at each
_NONE = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP)  # as pathlib has it


class Presence(NamedTuple):
    """What a look at some samples of a part showed.

    ``looked_at``: how many samples; ``missing``: files that are not there; ``incomplete``: the samples that lack one;
    ``links``: index of an image that is a link -> the file it leads to.
    """

    looked_at: int
    missing: list[str]
    incomplete: set[int]
    links: dict[int, str]


def sampled(count: int, most: int = LOOKED_AT) -> np.ndarray:
    """Indices of about ``most`` of ``count`` samples, spread over them without a period; all if there are no more.

    The same for the same count.
    """
    if count <= most:
        return np.arange(count)
    return np.unique((np.arange(most) * 0.6180339887 % 1 * count).astype(np.int64))


def real_files(paths: Iterable[str], count: int, title: str | None = None) -> Iterator[str | None]:
    """For each of ``count`` paths, in order: the path, where it leads if it is a link, None if no file is there.

    With ``title`` under a progress bar. Raises: OSError where one may not look.
    """
    return _in_threads(_real_file, paths, count, title)


def file_states(paths: Iterable[str], count: int) -> Iterator[str | None]:
    """For each of ``count`` paths, in order, its size and time of change as one text; None where it cannot be seen."""
    return _in_threads(_file_state, paths, count)


def _file_state(path: str) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        found = Path(path).stat()
        return f"{found.st_size} {found.st_mtime_ns}"
    return None


def _in_threads(
    work: Callable[[str], str | None], paths: Iterable[str], count: int, title: str | None = None
) -> Iterator[str | None]:
    def look(piece: list[str]) -> list[str | None]:
        return [work(path) for path in piece]

    rest = iter(paths)
    pieces = iter(lambda: list(islice(rest, _PIECE)), [])
    bar = tqdm(total=count, desc=title, unit="file", dynamic_ncols=True, disable=None if title else True)
    with bar, closing(read_ahead(look, pieces, _THREADS if count > _PIECE else 0)) as looks:
        for piece in looks:
            yield from piece
            bar.update(len(piece))


def _real_file(path: str) -> str | None:
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return os.path.realpath(path) if Path(path).is_file() else None
    except UnicodeEncodeError:  # the locale knows no such name: the command line says what to set
        raise
    except ValueError:  # a null byte
        return None
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return None
    return path if stat.S_ISREG(mode) else None


def are_files(root: str, names: Sequence[str]) -> np.ndarray:
    """bool for each path below ``root``: whether a file is there. Folders with many of them are listed once."""
    listed = {}
    for folder, count in Counter(name.rpartition("/")[0] for name in names).items():
        if count > _MANY:
            listed[folder] = _files_in(f"{root}/{folder}")
    listed = {folder: files for folder, files in listed.items() if files is not None}

    def listing_tells(name: str) -> bool | None:
        folder, _, file = name.rpartition("/")
        return file in listed[folder] if folder in listed else None

    told = [listing_tells(name) for name in names]
    others = [f"{root}/{name}" for name, there in zip(names, told, strict=True) if there is None]
    looks = real_files(others, len(others))
    return np.array([next(looks) is not None if there is None else there for there in told], bool)


def _files_in(folder: str) -> set[str] | None:
    """Names of the files in a folder; None where it may not be listed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError:
        return None


class RealFiles:
    """The real paths of files below ``root``, made when they are asked for: ``template`` with each of ``ids`` in it.

    Linked folders are followed (of more than ``most`` folders, those of a sample), linked files as ``links`` says.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        ids: Ids,
        template: str,
        links: Mapping[int, str],
        most: int | None = None,
    ) -> None:
        self._ids, self._template, self._links = ids, template, links
        folder = template.rpartition("/")[0]
        self._in_one = "{id}" not in folder and not ids.contains("/")
        folders = {folder} if self._in_one else {self._split(sample)[0] for sample in ids}
        self._folders = _real_folders(os.path.realpath(root), folders, most)

    def __iter__(self) -> Iterator[str]:
        if self._in_one and not self._links:  # a million of them in a fraction of a second
            folder, name = self._split("{id}")
            before, after = name.split("{id}")  # not of the whole path: a folder of the root may be called {id}
            place = self._folders[folder]
            return (f"{place}/{before}{sample}{after}" for sample in self._ids)
        return (self._path(index, sample) for index, sample in enumerate(self._ids))

    @cached_property
    def hashes(self) -> np.ndarray:
        """int64 of each path, see ``Ids.hashes``."""
        return np.fromiter(map(hash, self), np.int64, len(self._ids))

    def take(self, chosen: np.ndarray) -> list[str]:
        """Those where a mask is true."""
        return [self._path(index, self._ids[index]) for index in np.flatnonzero(chosen).tolist()]

    def _path(self, index: int, sample: str) -> str:
        if index in self._links:
            return self._links[index]
        folder, name = self._split(sample)
        return f"{self._folders[folder]}/{name}"

    def _split(self, sample: str) -> tuple[str, str]:
        folder, _, name = self._template.replace("{id}", sample).rpartition("/")
        return folder, name


def _real_folders(root: str, folders: Iterable[str], most: int | None) -> dict[str, str]:
    """Each of the folders below ``root``, by their path there -> its path without links."""
    real = {"": root}
    levels: dict[int, set[str]] = {}
    for folder in folders:
        while folder and folder not in levels.setdefault(folder.count("/"), set()):
            levels[folder.count("/")].add(folder)
            folder = folder.rpartition("/")[0]
    for _, level in sorted(levels.items()):
        names = sorted(level)
        paths = []
        for name in names:
            above, _, last = name.rpartition("/")
            paths.append(f"{real[above]}/{last}")
        real.update(zip(names, paths, strict=True))
        chosen = sampled(len(names), len(names) if most is None else most).tolist()
        looks = _in_threads(_real_folder, [paths[index] for index in chosen], len(chosen))
        real.update(zip([names[index] for index in chosen], looks, strict=True))
    return real


def _real_folder(path: str) -> str:
    plain = path.rpartition("/")[2] not in ("", ".", "..") and not Path(path).is_symlink()
    return path if plain else os.path.realpath(path)
