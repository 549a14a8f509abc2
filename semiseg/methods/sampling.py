"""Every random draw of a training step, by seed and step alone (numpy in, tensors out)."""

import math
from typing import NamedTuple

import numpy as np
from mindspore import Tensor, mutable

from semiseg.common.rng import generator
from semiseg.models.interpolate import Points, points


class BatchSlice(NamedTuple):
    """Which images of a step's whole batch a micro-batch holds: ``count`` of them from ``first`` on, of ``total``.

    The whole batch is that of all devices and micro-batches together. What is drawn for an image depends on its place
    there, so that a step draws the same numbers however it is divided.
    """

    first: int
    count: int
    total: int


def random_slice(rng: np.random.Generator, images: BatchSlice, shape: tuple[int, ...]) -> np.ndarray:
    """The slice of ``rng.random((total, *shape))``, count x shape float64, without drawing the others.

    ``rng`` stands afterwards where the whole draw would have left it.
    """
    size = math.prod(shape)
    rng.bit_generator.advance(images.first * size)
    drawn = rng.random((images.count, *shape))
    rng.bit_generator.advance((images.total - images.first - images.count) * size)
    return drawn


def dropout_masks(
    seed: int,
    step: int,
    images: BatchSlice,
    planes: tuple[int, ...],
    probability: float,
    kinds: int = 1,
    purpose: str = "dropout",
) -> tuple[Tensor, ...]:
    """Whole-channel dropout (Dropout2d): for each layer kinds*count x planes x 1 x 1 of 0 or 1 / (1 - probability).

    ``kinds``: 2 where as many unlabelled images follow the labelled ones. ``purpose`` keys the draws.
    """
    masks = []
    for layer, channels in enumerate(planes):
        rng = generator(seed, purpose, step, layer)
        drawn = [random_slice(rng, images, (channels, 1, 1)) for _ in range(kinds)]
        kept = np.concatenate(drawn) >= probability
        masks.append(Tensor(kept.astype(np.float32) / np.float32(1 - probability)))
    return mutable(tuple(masks))  # else a compiled step would take them for constants and compile anew each time


def grid_pixels(seed: int, step: int, size: tuple[int, int], cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of cells x cells pixels: one at random in each cell of the grid laid over an image of ``size``.

    Row and column jitter are drawn independently; cell sides are size // cells, so that a rest at the right and at the
    bottom is never drawn, as in the published code.
    """
    height, width = size[0] // cells, size[1] // cells
    rng = generator(seed, "pixels", step)
    corner = np.arange(cells)
    rows = corner[:, None] * height + rng.integers(height, size=(cells, cells))
    cols = corner[None, :] * width + rng.integers(width, size=(cells, cells))
    return rows.ravel(), cols.ravel()


def grid_points(seed: int, step: int, image: tuple[int, int], source: tuple[int, int], cells: int) -> Points:
    """``grid_pixels`` prepared for reading a map of ``source`` h x w."""
    return points(*grid_pixels(seed, step, image, cells), image, source)
