"""Every random draw of a training step, by seed and step alone (numpy in, tensors out)."""

import numpy as np
from mindspore import Tensor, mutable

from semiseg.models.interpolate import Points, points
from semiseg.rng import generator


def dropout_masks(seed: int, step: int, images: int, planes: tuple[int, ...], probability: float) -> tuple[Tensor, ...]:
    """Whole-channel dropout (Dropout2d): for each layer images x planes x 1 x 1 of 0 or 1 / (1 - probability)."""
    masks = []
    for layer, channels in enumerate(planes):
        kept = generator(seed, "dropout", step, layer).random((images, channels, 1, 1)) >= probability
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
