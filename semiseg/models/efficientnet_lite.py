"""EfficientNet-Lite0: the encoder for small machines (3.0 M parameters without its ImageNet classifier).

MBConv blocks without squeeze-and-excitation, ReLU6, BatchNorm with eps 1e-3, and TensorFlow's "same" padding: an even
side that is halved is padded on its right alone. Names of cells are those of the PyTorch package
efficientnet-lite-pytorch without their underscores. Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks", 2019, and TensorFlow's efficientnet/lite. Shapes: B batch, H x W input pixels.
"""

import math
from typing import NamedTuple

from mindspore import Tensor, nn
from mindspore.common.initializer import Normal, initializer

from semiseg.models.encoder import Norm
from semiseg.models.precision import Conv2d

EPS = 1e-3  # of BatchNorm


class Stage(NamedTuple):
    """``depth`` blocks of ``planes`` channels, of which the first has the stride; ``expand`` times as many inside."""

    depth: int
    planes: int
    kernel: int
    stride: int
    expand: int


STAGES = (
    Stage(1, 16, 3, 1, 1),
    Stage(2, 24, 3, 2, 6),  # stride 4
    Stage(2, 40, 5, 2, 6),  # stride 8
    Stage(3, 80, 3, 2, 6),
    Stage(3, 112, 5, 1, 6),  # stride 16
    Stage(4, 192, 5, 2, 6),
    Stage(1, 320, 3, 1, 6),  # stride 32
)
_TAPPED = (1, 2, 4, 6)  # the stages whose outputs are the encoder's maps
_STEM = 32


class MBConv(nn.Cell):
    """1x1 to ``inner`` channels, a depthwise convolution (strided or dilated), 1x1 back; added to its input if it fits.

    Without the first 1x1 where ``inner`` is the number of input channels.
    """

    def __init__(self, in_planes: int, inner: int, stage: Stage, stride: int, dilation: int, norm: Norm):
        super().__init__()
        self.expand_conv = self.bn0 = None
        if inner != in_planes:
            self.expand_conv = _conv(in_planes, inner, 1)
            self.bn0 = norm(inner, eps=EPS)
        self.depthwise_conv = _conv(inner, inner, stage.kernel, stride, dilation, inner)
        self.bn1 = norm(inner, eps=EPS)
        self.project_conv = _conv(inner, stage.planes, 1)
        self.bn2 = norm(stage.planes, eps=EPS)
        self.relu = nn.ReLU6()
        self._added = stride == 1 and in_planes == stage.planes

    def construct(self, x: Tensor) -> Tensor:
        out = x
        if self.expand_conv is not None:
            out = self.relu(self.bn0(self.expand_conv(out)))
        out = self.relu(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return out + x if self._added else out


def _conv(in_planes: int, planes: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    # At stride 1 "same", said in numbers: ONNX's runtime refuses the word for dilated convolutions.
    padding = dilation * (kernel // 2) if stride == 1 else None
    return Conv2d(in_planes, planes, kernel, stride, padding=padding, dilation=dilation, groups=groups)


class EfficientNetLite(nn.Cell):
    """The encoder: B x 3 x H x W -> maps of 24, 40, 112 and 320 channels, the first at stride 4.

    Args:
        dilate: for the strides of 2 that lead to 8, 16 and 32: dilation in their place.
        norm: makes the normalisation layer of a channel count.
    """

    def __init__(self, *, dilate: tuple[bool, bool, bool] = (False, False, False), norm: Norm = nn.BatchNorm2d):
        super().__init__()
        self.conv_stem = _conv(3, _STEM, 3, 2)
        self.bn0 = norm(_STEM, eps=EPS)
        self.relu = nn.ReLU6()
        blocks, taps = [], []
        in_planes, dilation, replaced = _STEM, 1, iter((False, *dilate))
        for index, stage in enumerate(STAGES):
            stride, first_dilation = stage.stride, dilation
            if stride == 2 and next(replaced):
                stride, dilation = 1, dilation * 2
            for number in range(stage.depth):
                step, rate = (stride, first_dilation) if number == 0 else (1, dilation)
                blocks.append(MBConv(in_planes, in_planes * stage.expand, stage, step, rate, norm))
                in_planes = stage.planes
            if index in _TAPPED:
                taps.append(len(blocks) - 1)
        self.blocks = nn.CellList(blocks)
        self.out_planes = tuple(STAGES[index].planes for index in _TAPPED)
        self._taps = tuple(taps)
        _initialise(self)

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.relu(self.bn0(self.conv_stem(x)))
        maps = ()
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self._taps:
                maps = (*maps, x)
        return maps

    def low_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the first map: a quarter, rounded up."""
        return -(-height // 4), -(-width // 4)


def _initialise(encoder: EfficientNetLite) -> None:
    """He's variance of the fan-out, which is one channel's for a depthwise convolution, as in TensorFlow's code."""
    for _, cell in encoder.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            fan_out = math.prod(cell.kernel_size) * cell.out_channels / cell.group
            cell.weight.set_data(initializer(Normal(math.sqrt(2 / fan_out)), cell.weight.shape, cell.weight.dtype))
