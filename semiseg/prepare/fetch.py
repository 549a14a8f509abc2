"""Bringing published lists into place: from a folder or a server, every byte checked before a file is written."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semiseg.common.errors import DataError
from semiseg.prepare.published_splits import PublishedList

GITHUB = "https://raw.githubusercontent.com"
AGENT = {"User-Agent": "semiseg-fetch"}  # some mirrors refuse urllib's own
# What an interrupted, refused or silent connection raises. (HTTPError, a subclass of OSError, is looked at first.)
BROKEN_CONNECTION = (OSError, http.client.HTTPException)

# The bytes of a list, or None where the source has no such list.
Source = Callable[[PublishedList], bytes | None]


def from_folder(folder: Path) -> Source:
    """A folder that holds pascal/ and cityscapes/ as published, or a checkout with them in data/splits.

    Raises: DataError if neither is there.
    """
    for candidate in (folder, folder / "data" / "splits", folder / "splits"):
        if (candidate / "pascal").is_dir() or (candidate / "cityscapes").is_dir():
            root = candidate
            break
    else:
        raise DataError(f"{folder}: expected a folder that holds pascal/ or cityscapes/ (data/splits of a checkout)")

    def read(wanted: PublishedList) -> bytes | None:
        path = root / wanted.target
        if not path.is_file():
            return None
        content = path.read_bytes()
        check(content, wanted, str(path))
        return content

    return read


@dataclass(frozen=True)
class Server:
    """Lists from ``base``, which stands for https://raw.githubusercontent.com or holds pascal/ and cityscapes/ itself.

    A connection that breaks or gives wrong bytes is tried ``tries`` times, after ``wait``, 2 ``wait``, ... seconds;
    ``say`` is told of each.
    """

    base: str = GITHUB
    tries: int = 3
    wait: float = 1.0
    timeout: float = 30.0
    say: Callable[[str], None] = field(default=print, repr=False)

    def __call__(self, wanted: PublishedList) -> bytes | None:
        base = self.base.rstrip("/")
        urls = [f"{base}/{wanted.repo}/{wanted.commit}/{wanted.path}"]
        if self.base != GITHUB:
            urls.append(f"{base}/{wanted.target}")
        for url in urls:
            content = self._get(url, wanted)
            if content is not None:
                return content
        raise DataError(f"{urls[-1]}: not there (HTTP 404); check --mirror, or use --from-dir with a checkout")

    def _get(self, url: str, wanted: PublishedList) -> bytes | None:
        """The bytes, None on 404. Raises: DataError when the last try failed."""
        for number in range(1, self.tries + 1):
            try:
                request = urllib.request.Request(url, headers=AGENT)
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    content = response.read(wanted.size + 1)  # one more shows a longer file; never a whole wrong one
                check(content, wanted, url)
                return content
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 404:
                    return None
                problem = f"HTTP {error.code} {error.reason}"
            except DataError as error:
                problem = str(error).removeprefix(f"{url}: ")
            except BROKEN_CONNECTION as error:
                problem = str(getattr(error, "reason", error)) or type(error).__name__
            if number < self.tries:
                pause = self.wait * 2 ** (number - 1)
                self.say(f"{url}: {problem}; try {number + 1} of {self.tries} in {pause:g} s")
                time.sleep(pause)
        raise DataError(
            f"{url}: {problem} ({self.tries} tries); without network use --from-dir with a checkout, or --mirror URL"
        )


def check(content: bytes, wanted: PublishedList, where: str) -> None:
    """Raises DataError if these are not the published bytes, and says what differs."""
    if hashlib.sha256(content).hexdigest() == wanted.sha256:
        return
    if len(content) < wanted.size:
        problem = f"{len(content)} of {wanted.size} bytes, cut off or another list"
    else:
        problem = f"SHA-256 differs from the published list of {wanted.ids} ids ({wanted.size} bytes)"
    plain = content.replace(b"\r\n", b"\n").rstrip(b"\n")
    if any(hashlib.sha256(plain + end).hexdigest() == wanted.sha256 for end in (b"", b"\n")):
        problem = "the published ids with other line ends (git's core.autocrlf?); check out with core.autocrlf=false"
    raise DataError(f"{where}: {problem}; nothing was written")


@dataclass
class Outcome:
    """Targets by what happened to them."""

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)  # the source has no such list


def install(lists: Sequence[PublishedList], source: Source, out: Path, overwrite: bool = False) -> Outcome:
    """Brings ``lists`` into ``out``. All are fetched and checked before the first is written.

    A file that already holds the published bytes is kept and not fetched.

    Raises: DataError if a file there differs and ``overwrite`` is not asked for, or the source gives other bytes, or
        half of a split. Nothing is written then.
    """
    outcome, wanted = Outcome(), []
    for entry in lists:
        path = out / entry.target
        if path.exists() or path.is_symlink():
            there = path.read_bytes() if path.is_file() else b""
            if hashlib.sha256(there).hexdigest() == entry.sha256:
                outcome.kept.append(entry.target)
                continue
            if not overwrite:
                raise DataError(
                    f"{path}: there is another file of this name; move it away, or --overwrite replaces it. Nothing "
                    "was written"
                )
        wanted.append(entry)
    contents = [(entry, source(entry)) for entry in wanted]
    outcome.absent = [entry.target for entry, content in contents if content is None]
    got = {entry.split for entry, content in contents if content is not None}
    for target in outcome.absent:
        if target.rpartition("/")[0] in got and not target.endswith("val.txt"):
            raise DataError(f"{target}: the source holds only half of this split; nothing was written")
    for entry, content in contents:
        if content is not None:
            _write(out / entry.target, content)
            outcome.written.append(entry.target)
    return outcome


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_bytes(content)
    beside.replace(path)
