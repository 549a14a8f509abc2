"""Bilinear interpolation with align_corners=True: of whole maps, and at chosen pixels only.

Output pixel i of n reads the source position i * (m - 1) / (n - 1) of m, as PyTorch's ``interpolate`` does.
"""

from typing import NamedTuple

import numpy as np
from mindspore import Tensor, ops

from semiseg.models.precision import as_float32, as_like


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """B x C x h x w -> B x C x H x W."""
    return as_like(ops.ResizeBilinearV2(align_corners=True)(as_float32(x), size), x)


def nearest(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """B x H x W -> B x h x w: pixel i of h is row floor(i * H / h), as PyTorch's mode "nearest"."""
    rows, cols = (np.arange(n) * side // n for n, side in zip(size, x.shape[1:], strict=True))
    return x[:, rows[:, None], cols]


class Points(NamedTuple):
    """P pixels of an H x W image as rows of a source map: flat indices and weights of each one's four neighbours."""

    index: Tensor  # 4P, int32, into the flattened h x w map
    weight: Tensor  # 4P x 1, float32
    pixel: Tensor  # P, int32, into the flattened H x W image


def axis_weights(positions: np.ndarray, target: int, source: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For pixel ``positions`` of ``target``: lower source index, upper source index, weight of the upper one."""
    scale = np.float32((source - 1) / (target - 1)) if target > 1 else np.float32(0)
    exact = positions.astype(np.float32) * scale
    low = np.minimum(exact.astype(np.int32), source - 1)
    return low, np.minimum(low + 1, source - 1), exact - low


def points(rows: np.ndarray, cols: np.ndarray, image: tuple[int, int], source: tuple[int, int]) -> Points:
    """The pixels (rows[i], cols[i]) of an ``image`` of H x W, to be read from a map of ``source`` h x w."""
    top, bottom, down = axis_weights(rows, image[0], source[0])
    left, right, across = axis_weights(cols, image[1], source[1])
    width = source[1]
    index = np.concatenate([top * width + left, top * width + right, bottom * width + left, bottom * width + right])
    weight = np.concatenate([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across])
    pixel = rows * image[1] + cols
    return Points(
        Tensor(index.astype(np.int32)), Tensor(weight[:, None].astype(np.float32)), Tensor(pixel.astype(np.int32))
    )


def at_points(x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """The values that ``resize(x, image)`` would have at the points, without making that map.

    Shape: B x C x h x w -> B x P x C.
    """
    batch, channels, height, width = x.shape
    rows = x.reshape(batch, channels, height * width).swapaxes(1, 2)
    corners = ops.gather(rows, index, 1) * weight  # B x 4P x C
    return corners.reshape(batch, 4, -1, channels).sum(1)
