"""Logits of one image at its own size: whole or by sliding window, at several scales, with or without its mirror image.

Shapes: 1 x 3 x H x W image in, 1 x C x H x W logits out. Results are averaged as logits, as U2PL and the authors do.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from mindspore import Tensor, ops

from semiseg.config import EvaluationConfig
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize


class Logits(NamedTuple):
    """1 x C x H x W of the linear head, and of the prototype head where it is scored (else None)."""

    linear: Tensor
    proto: Tensor | None


def image_logits(network: SegmentationNetwork, image: Tensor, cfg: EvaluationConfig) -> Logits:
    """Sum over scales (and mirror images) of the logits at the image's size.

    The sliding window scores the linear head only, as the published evaluation does.
    """
    height, width = image.shape[2:]
    total = None
    for scale in cfg.scales:
        size = _scaled_size(height, width, scale, cfg.base_size if cfg.mode == "slide" else None)
        scaled = image if size == (height, width) else resize(image, size)
        for mirrored in (False, True) if cfg.flip else (False,):
            part = _at_scale(network, scaled[:, :, :, ::-1] if mirrored else scaled, cfg)
            part = [None if x is None else resize(x[:, :, :, ::-1] if mirrored else x, (height, width)) for x in part]
            total = part if total is None else [None if x is None else x + y for x, y in zip(total, part, strict=True)]
    return Logits(*total)


def _scaled_size(height: int, width: int, scale: float, base_size: int | None) -> tuple[int, int]:
    """Without a base size both sides times ``scale``; with one the long side becomes scale * base_size."""
    if base_size is None:
        return round(height * scale), round(width * scale)
    long_side = round(scale * base_size)
    if height > width:
        return long_side, round(long_side / height * width)
    return round(long_side / width * height), long_side


def _at_scale(network: SegmentationNetwork, image: Tensor, cfg: EvaluationConfig) -> tuple[Tensor, Tensor | None]:
    if cfg.mode == "slide":
        return sliding_window(network, image, cfg.crop_size, cfg.stride_rate), None
    out = network(image)
    return resize(out.pred, image.shape[2:]), out.proto


def sliding_window(network: SegmentationNetwork, image: Tensor, window: tuple[int, int], stride_rate: float) -> Tensor:
    """Mean of the linear head's logits over overlapping windows: 1 x 3 x H x W -> 1 x C x H x W.

    An image smaller than the window is padded with 0 (the mean colour) on both sides. Windows start every
    ceil(side * stride_rate) pixels; the last one of a row ends at the border.
    """
    height, width = image.shape[2:]
    pad_h, pad_w = max(window[0] - height, 0), max(window[1] - width, 0)
    top, left = pad_h // 2, pad_w // 2
    if pad_h or pad_w:
        image = ops.pad(image, (left, pad_w - left, top, pad_h - top), mode="constant", value=0.0)
    total, count = 0, 0
    padded = image.shape[2:]
    for rows in _windows(padded[0], window[0], stride_rate):
        for cols in _windows(padded[1], window[1], stride_rate):
            pred = network.logits(image[:, :, rows, cols])
            inside = resize(pred, (rows.stop - rows.start, cols.stop - cols.start))
            border = (cols.start, padded[1] - cols.stop, rows.start, padded[0] - rows.stop)
            total = total + ops.pad(inside, border, mode="constant", value=0.0)
            count = count + ops.pad(ops.ones_like(inside[:, :1]), border, mode="constant", value=0.0)
    return (total / count)[:, :, top : top + height, left : left + width]


def _windows(side: int, window: int, stride_rate: float) -> Iterator[slice]:
    stride = math.ceil(window * stride_rate)
    for index in range(math.ceil((side - window) / stride) + 1):
        stop = min(index * stride + window, side)
        yield slice(stop - window, stop)
