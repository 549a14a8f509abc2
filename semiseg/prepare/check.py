"""A look at all files of a data set: readable or not, sizes, kinds, label values, and images that are in two parts."""

import hashlib
import io
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.common.files import read_file, real_path
from semiseg.common.text import shortened
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.decode import orientation
from semiseg.data.presence import Presence
from semiseg.data.read_ahead import over_files


@dataclass(frozen=True)
class _Sample:
    size: tuple[int, int]  # height, width
    kind: str  # "JPEG RGB"
    bits: int | None  # in use, of an image with 16 a sample
    turn: str  # of an image with an EXIF orientation: "as stored", "to fit" its mask, "either" as both would; else ""
    histogram: np.ndarray | None  # pixels of each label value, 256
    digest: str  # of the image file's bytes
    file: Path  # its real path


@dataclass
class PartReport:
    """What was seen of one part. ``pixels[v]`` and ``images[v]``: pixels and images with label value v."""

    name: str
    listed: int
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # messages that name the file
    sizes: Counter = field(default_factory=Counter)  # (height, width) -> images
    kinds: Counter = field(default_factory=Counter)  # as ``_Sample.kind`` -> images
    bits: Counter = field(default_factory=Counter)  # in use, of 16 -> images
    turned: dict[str, str] = field(default_factory=dict)  # ids of images with an EXIF orientation -> ``_Sample.turn``
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    contents: dict[str, tuple[str, Path]] = field(default_factory=dict)  # digest of the image file -> id, real path

    def add(self, sample_id: str, sample: _Sample) -> None:
        """Counts a sample that could be read."""
        self.sizes[sample.size] += 1
        self.kinds[sample.kind] += 1
        if sample.bits:
            self.bits[sample.bits] += 1
        if sample.turn:
            self.turned[sample_id] = sample.turn
        if sample.histogram is not None:
            self.pixels += sample.histogram
            self.images += sample.histogram > 0
        self.contents.setdefault(sample.digest, (sample_id, sample.file))


def inspect_part(name: str, part: SegmentationDataset, seen: Presence, workers: int) -> PartReport:
    """Reads every sample of ``part`` whose files were ``seen``, by threads and under a progress bar.

    Problems are collected, not raised.
    """
    report = PartReport(name, len(part), missing=sorted(set(seen.missing)))
    there = [index for index in range(len(part)) if index not in seen.incomplete]
    for index, sample in over_files(partial(_look_at, part), there, workers, f"reading {name}"):
        if isinstance(sample, DataError):
            report.unreadable.append(str(sample))
        else:
            report.add(part.ids[index], sample)
    return report


def _look_at(part: SegmentationDataset, index: int) -> _Sample:
    picture, mask = part.look(index)
    path = part.image_path(index)
    kind = picture.kind if picture.bits in (None, 16) else f"{picture.kind} ({picture.bits} of 16 bits)"
    histogram = None if mask is None else np.bincount(mask.ravel(), minlength=256)
    data, size = read_file(path), picture.pixels.shape[:2]
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    way = orientation(data)
    turn = "" if way == 1 else "as stored" if mask is None else _turn_by_mask(data, way, size)
    return _Sample(size, kind, picture.bits, turn, histogram, digest, real_path(path))


def _turn_by_mask(data: bytes, way: int, size: tuple[int, int]) -> str:
    """How an image with the EXIF orientation ``way`` was brought to the size of its mask."""
    if way < 5 or size[0] == size[1]:  # upside down or mirrored: of the same size
        return "either"
    with Image.open(io.BytesIO(data)) as picture:
        return "as stored" if picture.size[::-1] == tuple(size) else "to fit"


def content_overlaps(first: PartReport, second: PartReport) -> str | None:
    """A sentence if two parts hold the same image in different files (byte for byte), else None."""
    same = first.contents.keys() & second.contents.keys()
    pairs = sorted((first.contents[digest], second.contents[digest]) for digest in same)
    pairs = [(a, b) for (a, file), (b, other) in pairs if file != other]
    if not pairs:
        return None
    shown = shortened(f"{a} = {b}" for a, b in pairs)
    how = "as other files of the same name" if all(a == b for a, b in pairs) else "under another name"
    return f"{len(pairs)} images of the {first.name} part are in the {second.name} part {how}: {shown}"
