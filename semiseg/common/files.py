"""Reading files, and writing them so that neither a crash nor a full disk leaves half of one."""

import contextlib
import errno
import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from semiseg.common.errors import UserError
from semiseg.common.os_errors import SpecialFile, file_of, how_to_mend, reason, refuse_special

_LONGEST = 255  # bytes of a name, on nearly every file system


def open_file(path: str | os.PathLike) -> BinaryIO:
    """A file to read bytes from. Raises: OSError, also for a pipe or a device, which may have no end."""
    refuse_special(path)
    return Path(path).open("rb")


def read_file(path: str | os.PathLike) -> bytes:
    """A file's content; see ``open_file``."""
    with open_file(path) as file:
        return file.read()


def matching(folder: Path, pattern: str) -> list[Path]:
    """What lies in a folder under names that fit ("*.png"), sorted; nothing where there is no such folder.

    Raises: OSError where the folder may not be listed (``Path.glob`` says nothing then).
    """
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in paths if fnmatch.fnmatchcase(path.name, pattern)]


def real_path(path: str | os.PathLike) -> Path:
    """Absolute and without links, as far as they lead anywhere (``Path.resolve`` ends at links that form a circle)."""
    return Path(os.path.realpath(path))


def replace_file(
    path: Path, content: bytes | str, advice: str | None = None, error_type: type[UserError] = UserError
) -> None:
    """Writes ``content`` beside ``path`` and moves it into place; text as UTF-8, what is none as escapes (names of
    files). Missing folders are made.

    Raises:
        UserError: it cannot be written (permission, full disk, a file where a folder should be); see ``replacing``.
    """
    with replacing(path, advice, error_type) as partial:
        partial.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(
    path: Path,
    advice: str | None = None,
    error_type: type[UserError] = UserError,
    synced: bool = False,
    before: Callable[[], None] = lambda: None,
) -> Iterator[Path]:
    """The name of a file beside ``path``, for writers that want a name; it takes the place of ``path`` at the end.

    It ends as ``path`` does, so that writers that look at the suffix are content. What was there stays until the new
    file is whole, and stays if anything goes wrong inside; then the new file goes. Missing folders are made.

    Args:
        advice: how to mend it, the end of the error's line; None: what the system's reason suggests.
        error_type: what an OSError becomes.
        synced: the new file survives a power cut as soon as it is in place, at the cost of waiting for the disk.
        before: called when the new file is whole (and synced) and about to take the place of the old one.

    Raises:
        UserError: ``error_type`` that names ``path`` and the reason; also where a device or pipe is there, which is
            never replaced.
        OSError: of another file, which the writer read.
    """
    partial = _beside(path)
    try:
        _refuse_to_replace(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if synced:
                _sync(partial)
            before()
            partial.replace(path)
            if synced:
                _sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if not _is_about(error, path):
            raise
        raise cannot_write(path, error, advice, error_type) from error


def remove_leftovers(path: Path) -> None:
    """What killed processes left of a file that only one run writes."""
    for left in path.parent.glob(f".{path.stem}.*partial.*"):
        left.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    name = f".{path.stem}.{os.getpid()}.partial{path.suffix}"
    if len(os.fsencode(name)) > _LONGEST:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.{os.getpid()}.partial{path.suffix[:20]}"
    return path.with_name(name)


def _refuse_to_replace(path: Path) -> None:
    """A device that a file would take the place of (/dev/null) is lost to every other program."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # the second shows where it is written
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise SpecialFile(errno.EINVAL, "is a device or a pipe, no file", str(path))


def _is_about(error: OSError, path: Path) -> bool:
    """Whether an error while ``path`` is written names it, what lies beside it, a folder above it, or nothing."""
    named = Path(file_of(error))
    return not file_of(error) or named.parent == path.parent or named in path.parents


def cannot_write(
    path: Path, error: OSError, advice: str | None = None, error_type: type[UserError] = UserError
) -> UserError:
    """The error to raise where ``path`` cannot be written: one line of file, reason and what to do (``advice``, else
    what the reason suggests).
    """
    advice = advice or (how_to_mend(error) if error.errno else "name another place")
    return error_type(f"{path}: cannot be written ({reason(error)}); {advice}")


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
