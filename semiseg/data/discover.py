"""What is an image, and which ones a folder holds where no list names them."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from semiseg.common.errors import DataError
from semiseg.data.specs import DatasetSpec

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def list_images(folder: str | os.PathLike) -> list[str]:
    """Paths, relative to ``folder``, of all images below it, sorted: unlabelled data may be simply a folder.

    Raises: DataError if there is no such folder or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images")
    names = sorted(_images_below(folder))
    if not names:
        raise DataError(f"{folder}: no image in this folder; looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return names


def find_ids(spec: DatasetSpec, root: Path, with_mask: bool = True) -> list[str]:
    """Ids of all images below ``root`` that ``spec.image`` describes, sorted; with ``with_mask`` those with a mask.

    Raises: DataError if there is none.
    """
    before, after = spec.image.split("{id}")
    folder, _, start = before.rpartition("/")  # images/left_{id}.png: in images/, names that start with left_
    samples = [
        name[len(start) : len(name) - len(after)]
        for name in _images_below(root / folder, after)
        if name.startswith(start) and len(name) > len(start) + len(after)
    ]
    ids = sorted(s for s in samples if not with_mask or (root / spec.mask_path(s)).is_file())
    if not ids:
        what = f"with a mask {spec.mask!r} " if with_mask else ""
        raise DataError(f"{root}: no image {spec.image!r} {what}here; check dataset.data_root and the two paths")
    return ids


def _images_below(folder: Path, ending: str = "") -> Iterator[str]:
    """Relative paths of the images below a folder whose names end in ``ending``; hidden files are none."""
    for path in folder.rglob(f"*{glob.escape(ending)}") if folder.is_dir() else ():
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and path.name[0] != ".":
            yield path.relative_to(folder).as_posix()
