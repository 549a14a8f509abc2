"""Augmentation of an image and its label: resize, flip, crop, strong views, normalise; draws come from a Generator."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from semiseg.config.keys import StrongConfig
from semiseg.data.photometric import strong_view

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Crop(NamedTuple):
    """What training sees of an image."""

    image: np.ndarray  # float32 3 x H x W, normalised
    label: np.ndarray | None  # int32 H x W, None without a mask
    inside: np.ndarray | None  # bool H x W, False in the padding; None where padding counts as image
    strong: np.ndarray | None = None  # float32 V x 3 x H x W, its strong views; None where there are none


@dataclass(frozen=True)
class TrainTransform:
    """Random resize, flip and crop to a fixed size, as U2PL trains.

    crop: (height, width) of the result in pixels. rand_resize: range of the scale factor (see ``draw_scale``) or None.
    mean and std are those of RGB values 0..255. Where the image is smaller than the crop it is padded evenly on both
    sides, as U2PL pads: the image with 0 after normalisation, i.e. the mean colour, the label with ``pad_label`` (None:
    ``ignore_label``). With ``mask_padding`` a crop says which of its pixels are image. ``uniform_scale``: see
    ``draw_scale``. With ``strong`` a crop has ``views`` strong views beside it, distorted before normalisation.

    Raises: ValueError for sizes, scales or deviations that are not positive.
    """

    crop: tuple[int, int]
    rand_resize: tuple[float, float] | None = (0.5, 2.0)
    flip: bool = True
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    ignore_label: int = 255
    pad_label: int | None = None
    mask_padding: bool = False
    uniform_scale: bool = False
    strong: StrongConfig | None = None
    views: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "rand_resize", "mean", "std"):  # lists, as YAML gives them, would not be hashable
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        if len(self.crop) != 2 or min(self.crop) < 1:
            raise ValueError(f"crop must be (height, width) in pixels, got {self.crop}")
        if self.rand_resize is not None and not 0 < self.rand_resize[0] <= self.rand_resize[1]:
            raise ValueError(f"rand_resize must be (low, high) with 0 < low <= high, got {self.rand_resize}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean and std are three numbers each, std above 0; got {self.mean} and {self.std}")

    def __call__(self, image: np.ndarray, label: np.ndarray | None, rng: np.random.Generator) -> Crop:
        """uint8 H x W x 3 (and integer H x W, or None) -> what is seen of them, of size ``crop``.

        Always the same number of draws, whatever the image's size and whether there is a label.
        """
        coin, along, flip, down, right = rng.random(5)
        if self.rand_resize is not None:
            image, label = resize(image, label, draw_scale(coin, along, self.rand_resize, self.uniform_scale))
        top, left = (
            int(u * (max(size - crop, 0) + 1))
            for u, size, crop in zip((down, right), image.shape, self.crop, strict=False)
        )
        window = np.s_[top : top + self.crop[0], left : left + self.crop[1]]
        image, label = image[window], None if label is None else label[window]
        if self.flip and flip < 0.5:  # after the crop it costs less, and a flipped uniform crop is a uniform crop
            image, label = image[:, ::-1], None if label is None else label[:, ::-1]
        pad_label = self.ignore_label if self.pad_label is None else self.pad_label
        inside = pad(np.ones(image.shape[:2], bool), self.crop, False) if self.mask_padding else None
        label = None if label is None else pad(label.astype(np.int32), self.crop, pad_label)
        return Crop(self._finished(image), label, inside, self._strong_views(image, rng))

    def _strong_views(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        if self.strong is None or self.views == 0:
            return None
        return np.stack([self._finished(strong_view(image, self.strong, rng)) for _ in range(self.views)])

    def _finished(self, image: np.ndarray) -> np.ndarray:
        """Normalised and padded: uint8 h x w x 3 -> float32 3 x H x W."""
        return pad(normalize(image, self.mean, self.std), self.crop, 0)


def pad(array: np.ndarray, size: tuple[int, int], fill: float) -> np.ndarray:
    """... x H x W with ``fill`` around it where it is smaller than ``size``, evenly; an odd rest is right and below."""
    missing = [max(0, wanted - side) for wanted, side in zip(size, array.shape[-2:], strict=True)]
    if not any(missing):
        return array
    sides = [(rest // 2, rest - rest // 2) for rest in missing]
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + sides, constant_values=fill)


def draw_scale(coin: float, along: float, bounds: tuple[float, float], uniform: bool = False) -> float:
    """A scale from [low, high], given two uniform numbers of [0, 1): half of the draws below 1 and half above, as U2PL.

    With ``uniform``, as UniMatch, or where 1 is not strictly inside, the scale is uniform over the whole range.
    """
    low, high = bounds
    if low < 1 < high and not uniform:
        low, high = (low, 1.0) if coin < 0.5 else (1.0, high)
    return low + (high - low) * along


def resize(image: np.ndarray, label: np.ndarray | None, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
    """Both by ``scale``, sizes rounded down: image bilinear, label nearest neighbour, on the same pixel centres."""
    height, width = (max(1, int(n * scale)) for n in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image, label
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if label is not None:  # INTER_NEAREST takes corners instead of centres: labels half a pixel beside the image
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return image, label


def normalize(
    image: np.ndarray, mean: tuple[float, float, float] = MEAN, std: tuple[float, float, float] = STD
) -> np.ndarray:
    """(image - mean) / std per RGB channel: uint8 H x W x 3 -> float32 3 x H x W, rounded once from float64."""
    out = np.empty((3, *image.shape[:2]), np.float32)
    for channel, (plane, table) in enumerate(zip(cv2.split(image), _tables(tuple(mean), tuple(std)), strict=True)):
        cv2.LUT(plane, table, dst=out[channel])
    return out


@lru_cache(maxsize=8)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """float32 3 x 256: the normalised value of every byte. Looking up is three times as fast as arithmetic."""
    return ((np.arange(256.0) - np.array(mean)[:, None]) / np.array(std)[:, None]).astype(np.float32)
