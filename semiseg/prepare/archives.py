"""Downloading the official archives of a data set and unpacking them without touching a file that is there.

By hand, not by ``fetch``: gigabytes that broke off must go on where they ended, which pooch does not do.
"""

import contextlib
import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from semiseg.common.errors import DataError
from semiseg.common.files import cannot_write, open_file, real_path, replacing
from semiseg.common.os_errors import how_to_mend
from semiseg.prepare.fetch import AGENT

_BLOCK = 1 << 20
# What an interrupted, refused or silent connection raises. (HTTPError, a subclass of OSError, is looked at first.)
_BROKEN_CONNECTION = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Archive:
    """An official archive and its MD5, as its own site or the field's common loaders state it."""

    url: str
    md5: str
    size: str  # for people

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


VOC = Archive(
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "6cd6e144f989b92b3379bac3b3de84fd",
    "1.9 GB",
)
SBD = Archive(
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    "82b4d87ceb2ed10f6038a1cba92111cb",
    "1.4 GB",
)
VOC_TERMS = """PASCAL VOC 2012 and SBD are not ours to give; you fetch them from their makers, under their terms:
  VOC: images from Flickr, whose terms of use hold; see http://host.robots.ox.ac.uk/pascal/VOC/voc2012/
  SBD: B. Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011; for research; the images are VOC's"""
CITYSCAPES_STEPS = """Cityscapes may only be fetched by you, with an account of your own (free for research):
  1. register at https://www.cityscapes-dataset.com/register/ and accept the license
  2. fetch gtFine_trainvaltest.zip (241 MB) and leftImg8bit_trainvaltest.zip (11 GB) from
     https://www.cityscapes-dataset.com/downloads/, in the browser or with the makers' tool:
     pip install cityscapesscripts && csDownload gtFine_trainvaltest.zip leftImg8bit_trainvaltest.zip
  3. unpack both into one folder, which then holds gtFine/ and leftImg8bit/
  4. run this tool again with --root FOLDER"""


def download(archive: Archive, folder: Path, timeout: float = 60.0) -> Path:
    """The archive in ``folder``, MD5 checked, continuing an earlier try. Kept if it is there already.

    Raises: DataError if the server cannot be reached or the bytes are wrong.
    """
    path = folder / archive.name
    if path.is_file():
        _check_md5(path, archive, f"{path}: is there already, but")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        total = _receive(archive.url, partial, timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{archive.url}: HTTP {error.code} {error.reason}; fetch it in a browser instead") from None
    except _BROKEN_CONNECTION as error:
        raise DataError(
            f"{archive.url}: cannot be fetched ({getattr(error, 'reason', error)}); check the network and start again "
            f"(what arrived is kept), or fetch it elsewhere and put it into {folder}"
        ) from None
    there = partial.stat().st_size
    if there < total:
        raise DataError(
            f"{archive.url}: the connection ended after {there} of {total} bytes; start again, it continues there"
        )
    _check_md5(partial, archive, f"{partial}: delete it and start again:")
    partial.replace(path)
    return path


def _receive(url: str, partial: Path, timeout: float) -> int:
    """Appends what is missing to ``partial``; returns the size the whole file should have (0: the server is silent)."""
    start = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers=AGENT | ({"Range": f"bytes={start}-"} if start else {}))
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            if response.status != 206:  # the server sends all of it again
                start = 0
            total = start + int(response.headers.get("Content-Length", 0))
            bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=partial.stem, dynamic_ncols=True)
            with bar, _written(partial, "ab" if start else "wb") as write:
                while block := response.read(_BLOCK):
                    write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing is missing
            error.close()
            return start
        raise
    return total


@contextlib.contextmanager
def _written(path: Path, mode: str) -> Iterator[Callable[[bytes], None]]:
    """Writes blocks to a file. Raises: DataError where it cannot be written; what arrived is kept."""
    try:
        file = path.open(mode, buffering=0)
    except OSError as error:
        raise cannot_write(path, error, error_type=DataError) from None

    def write(block: bytes) -> None:
        try:
            while block:  # a disk that is nearly full takes a part
                block = block[file.write(block) :]
        except OSError as error:
            advice = "free some space and start again (what arrived is kept), or name another folder"
            raise cannot_write(path, error, advice, DataError) from None

    with file:
        yield write


def _check_md5(path: Path, archive: Archive, beginning: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != archive.md5:
        raise DataError(f"{beginning} its MD5 is {digest.hexdigest()}, the official one {archive.md5}")


def unpack(path: Path, folder: Path) -> int:
    """Unpacks what is not there yet below ``folder``; returns the number of files written.

    Raises: DataError for a damaged archive, one that reaches outside the folder, or a file that cannot be written.
    """
    written = 0
    try:
        with tarfile.open(path) as archive:
            for member in tqdm(archive, desc=f"unpacking {path.name}", unit="file", dynamic_ncols=True):
                target = folder / member.name
                if not real_path(target).is_relative_to(real_path(folder)):
                    raise DataError(f"{path}: would write outside {folder} ({member.name}); fetch it from its makers")
                if member.isfile() and not target.exists():
                    _unpack_one(archive, member, target)
                    written += 1
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        advice = how_to_mend(error) if isinstance(error, OSError) and error.errno else "delete it and fetch it again"
        raise DataError(f"{path}: cannot be unpacked into {folder} ({error}); {advice}") from None
    return written


def _unpack_one(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """The bytes alone, whole or not at all, since what is there is not unpacked again."""
    # Not ``extract``: its ``filter`` is newer than some Pythons in use, and without it a killed run leaves half a file.
    with replacing(target, error_type=DataError) as partial, partial.open("wb") as file:
        shutil.copyfileobj(archive.extractfile(member), file, _BLOCK)
