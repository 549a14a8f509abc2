"""The operators in numpy, float64, written from their definitions: what a CPU is compared with.

Shapes: B images, C channels, H x W pixels. Sums over windows are over shifted copies.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def conv2d(x: Array, weight: Array, bias: Array | None = None, stride: int = 1, padding: int = 0, dilation: int = 1):
    """B x C x H x W, planes x C x k x k (planes x 1 x k x k: one for each channel) -> B x planes x H' x W'."""
    batch, channels = x.shape[:2]
    rows, cols = (
        (side + 2 * padding - dilation * (k - 1) - 1) // stride + 1
        for side, k in zip(x.shape[2:], weight.shape[2:], strict=True)
    )
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out = np.zeros((batch, weight.shape[0], rows, cols))
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            top, left = i * dilation, j * dilation
            part = x[:, :, top : top + stride * (rows - 1) + 1 : stride, left : left + stride * (cols - 1) + 1 : stride]
            if weight.shape[1] == channels:
                out += np.matmul(weight[:, :, i, j], part.reshape(batch, channels, -1)).reshape(out.shape)
            else:
                out += weight[:, 0, i, j][:, None, None] * part
    return out if bias is None else out + bias[:, None, None]


def max_pool(x: Array, side: int = 3, stride: int = 2) -> Array:
    """Windows that begin one pixel outside and end where the map does: B x C x H x W (odd) -> halves, rounded up."""
    rows, cols = ((n + 1) // stride for n in x.shape[2:])
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    shifts = [(i, j) for i in range(side) for j in range(side)]
    windows = (x[:, :, i : i + stride * rows : stride, j : j + stride * cols : stride] for i, j in shifts)
    return np.max([w[:, :, :rows, :cols] for w in windows], axis=0)


def batch_norm(x: Array, gamma: Array, beta: Array, training: bool, eps: float = 1e-5) -> Array:
    """By the batch, or by a running mean of 0 and variance of 1."""
    mean, variance = (x.mean((0, 2, 3)), x.var((0, 2, 3))) if training else (np.zeros(1), np.ones(1))
    scale = (gamma / np.sqrt(variance + eps))[:, None, None]
    return (x - mean[:, None, None]) * scale + beta[:, None, None]


def resize(x: Array, size: tuple[int, int]) -> Array:
    """Bilinear, corners on corners: B x C x h x w -> B x C x H x W."""
    for axis, target in zip((2, 3), size, strict=True):
        source = x.shape[axis]
        at = np.arange(target) * (source - 1) / max(target - 1, 1)
        low = np.minimum(at.astype(int), source - 1)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(4)])
        x = x.take(low, axis) * (1 - part) + x.take(np.minimum(low + 1, source - 1), axis) * part
    return x


def col2im(columns: Array, size: tuple[int, int], dilation: int) -> Array:
    """The sum of nine shifted maps: B x C x 9 x H*W -> B x C x H x W, kernel 3, padding = dilation."""
    batch, channels = columns.shape[:2]
    height, width = size
    out = np.zeros((batch, channels, height + 2 * dilation, width + 2 * dilation))
    maps = columns.reshape(batch, channels, 3, 3, height, width)
    for i in range(3):
        for j in range(3):
            out[:, :, i * dilation : i * dilation + height, j * dilation : j * dilation + width] += maps[:, :, i, j]
    return out[:, :, dilation : dilation + height, dilation : dilation + width]


def softmax(x: Array, axis: int = 1) -> Array:
    """exp(x) over its sum along an axis."""
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def one_hot(indices: Array, depth: int) -> Array:
    """N -> N x depth."""
    return (indices[:, None] == np.arange(depth)).astype(np.float64)


def momentum(p: Array, v: Array, gradient: Array, rate: float, decay: float) -> Array:
    """What SGD with momentum makes of a parameter."""
    return p - rate * (decay * v + gradient)


def slope(function: Callable[..., Array], inputs: tuple[Array, ...], index: int, along: Array, weights: Array) -> float:
    """d/dt of sum(weights * function(..., inputs[index] + t * along, ...)) at 0, by central differences."""
    step = 1e-7  # in float64; shorter than the distance of inputs that a maximum chooses from
    ends = []
    for sign in (1, -1):
        moved = [a + sign * step * along if i == index else a for i, a in enumerate(inputs)]
        ends.append((weights * function(*moved)).sum())
    return float(ends[0] - ends[1]) / (2 * step)
