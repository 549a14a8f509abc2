"""Writing files so that neither a crash nor a full disk leaves half of one."""

import os
from pathlib import Path

from semiseg.common.errors import UserError


def replace_file(path: Path, content: bytes | str) -> None:
    """Writes ``content`` beside ``path`` and moves it into place; text as UTF-8. Missing folders are made.

    Raises:
        UserError: it cannot be written (permission, full disk, a file where a folder should be).
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another place") from error
