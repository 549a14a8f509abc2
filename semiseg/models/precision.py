"""Mixed precision: which sums of a network are made in float16. B images, C channels, H x W pixels.

Level ``O1``: convolutions take float16 and give float32; all else is float32. Level ``O2``: the maps between the image
and what the network returns are float16; BatchNorm reads and writes them, with parameters, statistics and sums in
float32. In both, parameters are float32 and have the same names, interpolation and image pooling are float32, and so is
what the network returns: logits, features and all that is made of them.

``ms.amp.auto_mixed_precision`` would not do: at O2 it hides the network in a cell that can only be called (not
``forward`` or ``logits``), at O1 it rewrites the source of the classes.
"""

import contextlib
from collections.abc import Iterator
from typing import Literal

import mindspore as ms
from mindspore import Tensor, nn

from semiseg.common.platform import convolution_options

Level = Literal["off", "O1", "O2"]


class Conv2d(nn.Conv2d):
    """nn.Conv2d that multiplies in float16 where ``set_precision`` says so: B x in x H x W -> B x planes x H' x W'.

    padding: pixels on each side; None pads as TensorFlow's "same" does.
    """

    def __init__(
        self,
        in_planes: int,
        planes: int,
        kernel: int,
        stride: int = 1,
        *,
        padding: int | None = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ):
        super().__init__(in_planes, planes, kernel, stride, **convolution_options(padding, dilation, groups, bias))
        self._biased = bias
        self.in_float16 = self.gives_float16 = False

    def construct(self, x: Tensor) -> Tensor:
        weight = self.weight
        if self.in_float16:
            x, weight = x.astype(ms.float16), weight.astype(ms.float16)
        out = self.convolved(x, weight)
        if self.in_float16 and not self.gives_float16:
            out = out.astype(ms.float32)
        if self._biased:
            bias = self.bias.astype(ms.float16) if self.gives_float16 else self.bias
            out = self.bias_add(out, bias)
        return out

    def convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        """The sums, without the bias; both of one type."""
        return self.conv2d(x, weight)


def set_precision(network: nn.Cell, level: Level) -> nn.Cell:
    """The same network, computing at ``level`` from now on. What was compiled before keeps its level."""
    for _, cell in network.cells_and_names():
        if isinstance(cell, Conv2d):
            cell.in_float16, cell.gives_float16 = level != "off", level == "O2"
    return network


@contextlib.contextmanager
def at_precision(network: nn.Cell, level: Level) -> Iterator[nn.Cell]:
    """Inside, the network computes at ``level``, then again as before."""
    convolutions = [cell for _, cell in network.cells_and_names() if isinstance(cell, Conv2d)]
    before = [(cell.in_float16, cell.gives_float16) for cell in convolutions]
    try:
        yield set_precision(network, level)
    finally:
        for cell, flags in zip(convolutions, before, strict=True):
            cell.in_float16, cell.gives_float16 = flags


def as_float32(x: Tensor) -> Tensor:
    """``x`` itself where it is float32 already."""
    return x if x.dtype == ms.float32 else x.astype(ms.float32)


def as_like(x: Tensor, other: Tensor) -> Tensor:
    """``x`` in the type of ``other``; ``x`` itself where it has it."""
    return x if x.dtype == other.dtype else x.astype(other.dtype)
