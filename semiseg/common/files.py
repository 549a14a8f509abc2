"""Writing files so that neither a crash nor a full disk leaves half of one."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from semiseg.common.errors import UserError

_ELSEWHERE = "name another place"


def replace_file(
    path: Path, content: bytes | str, advice: str = _ELSEWHERE, error_type: type[UserError] = UserError
) -> None:
    """Writes ``content`` beside ``path`` and moves it into place; text as UTF-8. Missing folders are made.

    Raises:
        UserError: it cannot be written (permission, full disk, a file where a folder should be); see ``replacing``.
    """
    with replacing(path, advice, error_type) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(
    path: Path,
    advice: str = _ELSEWHERE,
    error_type: type[UserError] = UserError,
    synced: bool = False,
    before: Callable[[], None] = lambda: None,
) -> Iterator[Path]:
    """The name of a file beside ``path``, for writers that want a name; it takes the place of ``path`` at the end.

    It ends as ``path`` does, so that writers that look at the suffix are content. What was there stays until the new
    file is whole, and stays if anything goes wrong inside; then the new file goes. Missing folders are made.

    Args:
        advice: how to mend it, the end of the error's line.
        error_type: what an OSError becomes.
        synced: the new file survives a power cut as soon as it is in place, at the cost of waiting for the disk.
        before: called when the new file is whole (and synced) and about to take the place of the old one.

    Raises:
        UserError: ``error_type`` that names ``path`` and the reason.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
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
        raise cannot_write(path, error, advice, error_type) from error


def cannot_write(
    path: Path, error: OSError, advice: str = _ELSEWHERE, error_type: type[UserError] = UserError
) -> UserError:
    """The error to raise where ``path`` cannot be written: one line of file, reason and what to do."""
    reason = error.strerror or next(iter(str(error).strip().splitlines()), type(error).__name__)
    return error_type(f"{path}: cannot be written ({reason}); {advice}")


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
