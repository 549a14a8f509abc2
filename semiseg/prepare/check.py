"""A look at all files of a data set: readable or not, sizes, kinds, label values, and images that are in two parts."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import ExifTags, Image

from semiseg.common.errors import DataError
from semiseg.common.text import shortened
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.read_ahead import over_files


@dataclass
class PartReport:
    """What was seen of one part. ``pixels[v]`` and ``images[v]``: pixels and images with label value v."""

    name: str
    listed: int
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # messages that name the file
    sizes: Counter = field(default_factory=Counter)  # (height, width) -> images
    kinds: Counter = field(default_factory=Counter)  # "JPEG RGB" -> images
    turned: list[str] = field(default_factory=list)  # ids of images with an EXIF orientation
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    contents: dict[str, str] = field(default_factory=dict)  # digest of the image file -> id


@dataclass(frozen=True)
class _Seen:
    size: tuple[int, int]
    kind: str
    turned: bool
    histogram: np.ndarray | None
    digest: str


def inspect_part(name: str, part: SegmentationDataset, workers: int) -> PartReport:
    """Reads every sample of ``part`` under a progress bar; problems are collected, not raised."""
    report = PartReport(name, len(part))
    missing = set(part.missing_files())
    report.missing = sorted(map(str, missing))
    there = [i for i in range(len(part)) if not missing.intersection(_files(part, i))]
    for index, seen in over_files(partial(_look, part), there, workers, f"reading {name}"):
        if isinstance(seen, DataError):
            report.unreadable.append(str(seen))
            continue
        report.sizes[seen.size] += 1
        report.kinds[seen.kind] += 1
        if seen.turned:
            report.turned.append(part.ids[index])
        if seen.histogram is not None:
            report.pixels += seen.histogram
            report.images += seen.histogram > 0
        report.contents.setdefault(seen.digest, part.ids[index])
    return report


def _files(part: SegmentationDataset, index: int) -> list:
    return [part.image_path(index), *([part.mask_path(index)] if part.with_mask else [])]


def _look(part: SegmentationDataset, index: int) -> _Seen:
    image, mask = part.read(index)
    path = part.image_path(index)
    with Image.open(path) as picture:
        kind = f"{picture.format} {picture.mode}"
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    histogram = None if mask is None else np.bincount(mask.ravel(), minlength=256)
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return _Seen(image.shape[:2], kind, turned, histogram, digest)


def content_overlaps(first: PartReport, second: PartReport) -> str | None:
    """A sentence if two parts hold the same image under different names (byte for byte), else None."""
    same = first.contents.keys() & second.contents.keys()
    pairs = sorted((first.contents[digest], second.contents[digest]) for digest in same)
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    if not pairs:
        return None
    shown = shortened(f"{a} = {b}" for a, b in pairs)
    return f"{len(pairs)} images of the {first.name} part are in the {second.name} part under another name: {shown}"
