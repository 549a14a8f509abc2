"""What is announced to change in MindSpore after 2.10, used here and nowhere else: the next version is one file's work.

Convolutions and poolings lose ``pad_mode``, a convolution has a bias unless it is told otherwise, BatchNorm's
``momentum`` takes PyTorch's meaning (so nothing passes one), ``transpose`` swaps two axes, and ``keepdims``,
``assign``, ``expand_dims`` and ``asnumpy`` change or go. In 2.7 to 2.10 all of them mean the same. What compiled
functions call here is compiled with them.
"""

from typing import Any, Literal

import numpy as np
from mindspore import Parameter, Tensor, nn, ops


def numpy_of(values: Any) -> np.ndarray:
    """The numbers of a Tensor, a Parameter or a HostArray."""
    return values.asnumpy()


def assign(target: Parameter, value: Tensor) -> Tensor:
    """Gives a parameter new values, compiled or not."""
    return ops.assign(target, value)


def permuted(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The axes of ``x`` in another order, as numpy's transpose."""
    return ops.transpose(x, axes)


def with_axis(x: Tensor, axis: int) -> Tensor:
    """``x`` with an axis of length 1."""
    return ops.expand_dims(x, axis)


def kept_max(x: Tensor, axis: int) -> Tensor:
    """The largest value along an axis, which stays with length 1."""
    return ops.amax(x, axis, keepdims=True)


def kept_sum(x: Tensor, axis: int) -> Tensor:
    """The sum along an axis, which stays with length 1."""
    return x.sum(axis, keepdims=True)


def kept_mean(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The mean over some axes, which stay with length 1."""
    return x.mean(axes, keep_dims=True)


def convolution_options(padding: int | None, dilation: int, groups: int, bias: bool) -> dict[str, Any]:
    """Arguments of nn.Conv2d. ``padding``: pixels on each side; None pads as TensorFlow's "same" does."""
    if padding is None:
        padded = {"pad_mode": "same"}
    else:
        padded = {"pad_mode": "pad", "padding": padding} if padding else {"pad_mode": "valid"}
    return padded | {"dilation": dilation, "group": groups, "has_bias": bias}


def max_pool(padding: Literal["same", "valid"]) -> nn.MaxPool2d:
    """The largest of 3 x 3 pixels, at every second one."""
    return nn.MaxPool2d(3, 2, pad_mode=padding)
