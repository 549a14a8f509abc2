"""What the operating system refuses, for people: the file, the system's reason and what can be done about it."""

import errno
import os
import stat
from pathlib import Path

_RIGHTS = "mend the rights of the file or of a folder above it (ls -l, chmod, chown), or name another place"
_DRIVE = "the disk or network drive fails: see dmesg, mount it again, or take a copy from elsewhere"
_SPACE = "free some space, or name another place"
_MEND = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), _RIGHTS),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _SPACE),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EREMOTEIO), _DRIVE),
    **dict.fromkeys((errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH), _DRIVE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files (ulimit -n), or use fewer workers"),
    **dict.fromkeys((errno.EBUSY, errno.ETXTBSY), "another program uses it: wait, or name another place"),
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of this path is a file where a folder is expected; check the path",
    errno.EISDIR: "a folder is there where a file is expected; check the path",
    errno.EEXIST: "something of this name is in the way; move it, or name another place",
    errno.ENOTEMPTY: "something of this name is in the way; move it, or name another place",
    errno.ENAMETOOLONG: "choose a shorter name (most file systems hold 255 bytes)",
    errno.ELOOP: "links in this path lead to each other; see ls -l",
    errno.EROFS: "it can only be read there; name another place",
    errno.EFBIG: "the limit on the size of files is reached (ulimit -f, or the file system's own)",
    errno.ENOMEM: "free some memory",
    errno.EINVAL: "check the path and the file system",
}


def reason(error: OSError) -> str:
    """The system's words ("Permission denied"), or the first line of the error's own."""
    return error.strerror or next(iter(str(error).strip().splitlines()), type(error).__name__)


def how_to_mend(error: OSError) -> str:
    """What can be done about it."""
    if isinstance(error, SpecialFile):
        return "name an ordinary file; copy into one what you want to read"
    return _MEND.get(error.errno or 0, "look whether other programs can use it")


def file_of(error: OSError) -> str:
    """The file that the error names, "" where it names none."""
    names = (name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike))
    return os.fsdecode(next(names, ""))


def one_line(error: OSError) -> str:
    """The file, the reason and what to do."""
    place = file_of(error) or "what this prints to, or a file"
    return " ".join(f"{place}: {reason(error)}; {how_to_mend(error)}".split("\n"))


class SpecialFile(OSError):
    """A pipe or a device where a file is expected: reading it may never end."""


def refuse_special(path: str | os.PathLike) -> None:
    """Raises: SpecialFile for a pipe or a device. What the shell makes of <(command) may be read; OSError where the
    path cannot be looked at.
    """
    path = Path(path)
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode) and path.parts[1:3] != ("dev", "fd"):
        raise SpecialFile(errno.EINVAL, f"is {_kind(mode)}, a file is expected", str(path))


def _kind(mode: int) -> str:
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
