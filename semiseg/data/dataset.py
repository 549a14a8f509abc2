"""One class for every data set: reads an image and its mask, and refuses what would train silently on wrong pixels.

H, W: height and width in pixels. EXIF orientation: stored pixels are used as they are, as the field's tools do, except
where the mask has exactly the swapped size: then it was drawn on the upright picture, and the image is turned to fit.
Without a mask, or where both sizes agree (squares, half turns), the stored pixels stay.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.common.errors import DataError
from semiseg.data.decode import MAX_PIXELS, Picture
from semiseg.data.discover import list_images
from semiseg.data.ids import Ids
from semiseg.data.image_files import read_picture
from semiseg.data.masks import read_mask
from semiseg.data.presence import Presence, RealFiles, real_files
from semiseg.data.specs import DatasetSpec


class SegmentationDataset:
    """Samples ``ids`` of ``spec`` below the folder ``root``; lines of a published list are accepted as ids (``Ids`` are
    taken as they are).

    With ``with_mask=False`` masks are never opened and need not exist. Files of more than ``max_pixels`` are refused.
    Reading is thread-safe.

    Raises: DataError if ``root`` is no folder or there are no ids.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        root: str | os.PathLike,
        ids: Sequence[str],
        with_mask: bool = True,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.spec = spec
        self.root = Path(root)
        self.ids = ids if isinstance(ids, Ids) else Ids(spec.sample_id(line) for line in ids)
        self.with_mask = with_mask
        self.max_pixels = max_pixels
        if not self.root.is_dir():
            raise DataError(
                f"{self.root}: data root not found; expected the folder of {spec.name} that holds "
                f"{spec.image_path('<id>')}"
            )
        if not self.ids:
            raise DataError(f"{self.root}: no samples of {spec.name} were given; the list is empty")

    @classmethod
    def from_folder(cls, spec: DatasetSpec, folder: str | os.PathLike) -> "SegmentationDataset":
        """All images below ``folder``, without masks; ids are relative paths. Raises: DataError without images."""
        return cls(replace(spec, image="{id}"), folder, list_images(folder), with_mask=False)

    def __len__(self) -> int:
        return len(self.ids)

    def image_path(self, index: int) -> Path:
        return self.root / self.spec.image_path(self.ids[index])

    def mask_path(self, index: int) -> Path:
        return self.root / self.spec.mask_path(self.ids[index])

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """(uint8 H x W x 3 RGB, uint8 H x W of class indices and ``ignore_label``, or None without masks).

        Raises: DataError, see ``look``.
        """
        picture, mask = self.look(index)
        return picture.pixels, mask

    def look(self, index: int) -> tuple[Picture, np.ndarray | None]:
        """``read``, with what else is known of the image.

        Raises: DataError naming the file that is missing, damaged, of another size than its image, or holds other
        labels.
        """
        if not self.with_mask:
            return read_picture(self.image_path(index), max_pixels=self.max_pixels), None
        mask_path = self.mask_path(index)
        mask = read_mask(mask_path, self.spec, self.max_pixels)
        picture = read_picture(self.image_path(index), mask.shape, max_pixels=self.max_pixels)
        size = picture.pixels.shape[:2]
        if size != mask.shape:
            raise DataError(
                f"{mask_path}: mask is {mask.shape[1]} x {mask.shape[0]} pixels (width x height), but its image "
                f"{self.image_path(index).name} is {size[1]} x {size[0]}; both must have one size "
                "(resize a mask with nearest neighbour only)"
            )
        return picture, mask

    def presence(self, indices: Iterable[int] | None = None, title: str | None = None) -> Presence:
        """Which files of some samples are there, by default of all; nothing is opened. With ``title`` a progress bar.

        Raises: OSError where one may not look.
        """
        chosen = list(range(len(self)) if indices is None else indices)
        files, again = tee((i, is_mask, str(path)) for i in chosen for is_mask, path in enumerate(self.files(i)))
        looks = real_files((path for *_, path in again), len(chosen) * (2 if self.with_mask else 1), title)
        seen = Presence(len(chosen), [], set(), {})
        for (index, is_mask, path), real in zip(files, looks, strict=True):
            if real is None:
                seen.missing.append(path)
                seen.incomplete.add(index)
            elif real != path and not is_mask:
                seen.links[index] = real
        return seen

    def real_images(self, seen: Presence, most: int | None = None) -> RealFiles:
        """The paths of the images without links: of folders (of at most ``most``), and of files as they were seen."""
        return RealFiles(self.root, self.ids, self.spec.image, seen.links, most)

    def files(self, index: int) -> list[Path]:
        """The image of a sample, and its mask where masks are used."""
        return [self.image_path(index), *([self.mask_path(index)] if self.with_mask else [])]


class SampleRead(NamedTuple):
    """A sample that could be read, and why others before it could not."""

    index: int
    image: np.ndarray
    mask: np.ndarray | None
    skipped: tuple[str, ...]


def from_index(order: Sequence[int], index: int) -> Iterator[int]:
    """All of ``order``, from its element ``index`` on and round to the one before."""
    return (order[(index + step) % len(order)] for step in range(len(order)))


def first_readable(dataset: SegmentationDataset, candidates: Iterable[int]) -> SampleRead:
    """The first of the candidates (at least one) that can be read. Raises: DataError if there is none."""
    errors: list[DataError] = []
    for index in candidates:
        try:
            image, mask = dataset.read(index)
        except DataError as error:
            errors.append(error)
        else:
            return SampleRead(int(index), image, mask, tuple(map(str, errors)))
    if len(errors) == 1:
        raise errors[0]
    raise DataError(f"{dataset.root}: none of {len(errors)} images can be read; the first: {errors[0]}")
