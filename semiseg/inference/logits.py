"""Logits of one image at its own size: whole or by sliding window, at several scales, with or without its mirror image.

Shapes: 1 x 3 x H x W image in, 1 x C x H x W logits out. Windows, scales and mirror images are averaged as logits, as
U2PL and the authors do, or (``evaluation.average``) as probabilities, as AEL and UniMatch do, and their logarithm is
taken for the logits.
"""

import functools
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from mindspore import Tensor, ops

from semiseg.common.platform import numpy_of
from semiseg.common.tensors import concatenated
from semiseg.config.keys import EvaluationConfig
from semiseg.inference.compiled import Network
from semiseg.models.interpolate import axis_weights, resize

_SMALLEST = 1e-30  # of a probability whose logarithm is taken


class Logits(NamedTuple):
    """1 x C x H x W of the linear head, and of the prototype head where it is scored (else None)."""

    linear: Tensor
    proto: Tensor | None


def image_logits(network: Network, image: Tensor, cfg: EvaluationConfig) -> Logits:
    """Mean over scales (and mirror images) at the image's size.

    The sliding window scores the linear head only, as the published evaluation does.
    """
    height, width = image.shape[2:]
    total, views = None, 0
    for scale in cfg.scales:
        size = scaled_size(height, width, scale, cfg)
        scaled = image if size == (height, width) else resize(image, size)
        for mirrored in (False, True) if cfg.flip else (False,):
            part = _at_scale(network, scaled[:, :, :, ::-1] if mirrored else scaled, cfg)
            part = [None if x is None else resize(x[:, :, :, ::-1] if mirrored else x, (height, width)) for x in part]
            total = part if total is None else [None if x is None else x + y for x, y in zip(total, part, strict=True)]
            views += 1
    mean = total if views == 1 else [None if x is None else x / views for x in total]
    if cfg.average == "probabilities":
        mean = [None if x is None else ops.log(ops.maximum(x, _SMALLEST)) for x in mean]
    return Logits(*mean)


def scaled_size(height: int, width: int, scale: float, cfg: EvaluationConfig) -> tuple[int, int]:
    """(height, width) that the network sees: both sides times ``scale``; with a base size of sliding windows the long
    side becomes scale * base_size. At least 1 px a side.
    """
    if cfg.mode != "slide" or cfg.base_size is None:
        return max(1, round(height * scale)), max(1, round(width * scale))
    long_side = max(1, round(scale * cfg.base_size))
    if height > width:
        return long_side, max(1, round(long_side / height * width))
    return max(1, round(long_side / width * height)), long_side


def _at_scale(network: Network, image: Tensor, cfg: EvaluationConfig) -> tuple[Tensor, Tensor | None]:
    """Logits or probabilities, whichever are averaged."""
    if cfg.mode == "slide":
        return sliding_window(network, image, cfg), None
    out = network(image)
    linear, proto = resize(out.pred, image.shape[2:]), out.proto
    if cfg.average == "probabilities":
        linear, proto = ops.softmax(linear, 1), None if proto is None else ops.softmax(proto, 1)
    return linear, proto


def sliding_window(network: Network, image: Tensor, cfg: EvaluationConfig) -> Tensor:
    """``sliding_strips`` put together: 1 x 3 x H x W -> 1 x C x H x W."""
    return concatenated(list(sliding_strips(network, numpy_of(image)[0], cfg)), 2)


def sliding_strips(network: Network, image: np.ndarray, cfg: EvaluationConfig) -> Iterator[Tensor]:
    """Mean over overlapping windows of the linear head's logits, or probabilities: 3 x H x W -> 1 x C x h x W, strip by
    strip downwards.

    An image smaller than the window is padded with 0 (the mean colour) on both sides. Windows start every
    ceil(side * stride_rate) pixels; the last one of a row ends at the border. A strip is what no later window reaches,
    so that only C x (window's height) x W numbers are held at a time. They stay on the device.
    """
    window, stride_rate = cfg.crop_size, cfg.stride_rate
    height, width = image.shape[1:]
    pad_h, pad_w = max(window[0] - height, 0), max(window[1] - width, 0)
    top, left = pad_h // 2, pad_w // 2
    image = np.pad(image, ((0, 0), (top, pad_h - top), (left, pad_w - left)))
    bands = list(_windows(image.shape[1], window[0], stride_rate))
    columns = list(_windows(image.shape[2], window[1], stride_rate))
    count = np.outer(_covered(bands), _covered(columns)).astype(np.float32)
    total = None
    for band, following in zip(bands, [*bands[1:], None], strict=True):
        parts = []
        for cols in columns:
            part = np.ascontiguousarray(image[:, band, cols])
            logits = resize(network.logits(Tensor(part[None])), part.shape[1:])
            parts.append(ops.softmax(logits, 1) if cfg.average == "probabilities" else logits)
        if total is not None:  # what is left moves up; the rows below it are new
            new = ops.zeros((*total.shape[:2], window[0] - total.shape[2], total.shape[3]), total.dtype)
            total = ops.concat((total, new), 2)
        total = _side_by_side(parts, columns, total)
        done = (following.start if following else band.stop) - band.start
        times = Tensor(count[None, None, band.start : band.start + done])
        mean = total[:, :, :done] / ops.tile(times, (1, total.shape[1], 1, 1))  # on CPU broadcasting is slow
        yield mean[:, :, top : top + height, left : left + width]
        total = total[:, :, done:]


def _side_by_side(parts: Sequence[Tensor], columns: Sequence[slice], total: Tensor | None) -> Tensor:
    """``total`` (1 x C x h x W; None: zeros) plus each part at its columns, added in order."""
    borders = sorted({border for cols in columns for border in (cols.start, cols.stop)})
    pieces = []
    for start, stop in itertools.pairwise(borders):
        addends = [] if total is None else [total[:, :, :, start:stop]]
        for part, cols in zip(parts, columns, strict=True):
            if cols.start <= start and stop <= cols.stop:
                addends.append(part[:, :, :, start - cols.start : stop - cols.start])
        pieces.append(functools.reduce(operator.add, addends))
    return concatenated(pieces, 3)


def _covered(windows: Sequence[slice]) -> np.ndarray:
    """How many of the windows along one side reach each pixel."""
    count = np.zeros(windows[-1].stop, np.int64)
    for window in windows:
        count[window] += 1
    return count


def logit_strips(
    network: Network, image: np.ndarray, size: tuple[int, int], cfg: EvaluationConfig
) -> Iterator[np.ndarray]:
    """The linear head's logits at ``size`` (H, W), whatever the image's own: 3 x H' x W' -> C x h x W, downwards.

    Their mean over scales and mirror images, so that a softmax of them is no surer than that of one. With one scale and
    no mirror image no more than a strip is ever held at full size, so that large photographs fit into memory. Mode
    center is taken as whole: it concerns scores alone.
    """
    if len(cfg.scales) > 1 or cfg.flip:
        yield from upsampled_strips(numpy_of(image_logits(network, Tensor(image[None]), cfg).linear)[0], size)
        return
    own = image.shape[1:]
    inner = scaled_size(*own, cfg.scales[0], cfg)
    scaled = image if inner == own else numpy_of(resize(Tensor(image[None]), inner))[0]
    if cfg.mode == "slide":
        strips = (numpy_of(strip)[0] for strip in sliding_strips(network, scaled, cfg))
        if inner != size:
            strips = upsampled_strips(np.concatenate(list(strips), axis=1), size)
        for strip in strips:
            yield np.log(np.maximum(strip, _SMALLEST)) if cfg.average == "probabilities" else strip
    else:
        logits = network.logits(Tensor(scaled[None]))
        if inner != own:
            logits = resize(logits, inner)  # as it is scored; at full size nothing is ever held on the device
        yield from upsampled_strips(numpy_of(logits)[0], size)


def upsampled_strips(logits: np.ndarray, size: tuple[int, int], at_once: int = 2**24) -> Iterator[np.ndarray]:
    """``interpolate.resize`` (align_corners=True) in numpy: C x h x w -> strips C x rows x W of about ``at_once``
    numbers.
    """
    if logits.shape[1:] == tuple(size):
        yield logits
        return
    rows = max(1, at_once // (len(logits) * size[1]))
    left, right, across = axis_weights(np.arange(size[1]), size[1], logits.shape[2])
    for first in range(0, size[0], rows):
        positions = np.arange(first, min(first + rows, size[0]))
        upper, lower, down = axis_weights(positions, size[0], logits.shape[1])
        strip = logits[:, upper] + (logits[:, lower] - logits[:, upper]) * down[:, None]
        yield strip[:, :, left] + (strip[:, :, right] - strip[:, :, left]) * across


def _windows(side: int, window: int, stride_rate: float) -> Iterator[slice]:
    stride = math.ceil(window * stride_rate)
    for index in range(math.ceil((side - window) / stride) + 1):
        stop = min(index * stride + window, side)
        yield slice(stop - window, stop)
