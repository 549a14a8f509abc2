"""ResNet encoders with dilated late stages, and one of two stems: PSPNet's deep one, of three 3x3 convolutions, or the
original one, a 7x7 convolution.

Names of cells are U2PL's and torchvision's, so that published checkpoints line up. Shapes: B batch, H x W input pixels.
"""

from typing import Literal

import numpy as np
from mindspore import Tensor, nn
from mindspore.common.initializer import HeNormal, initializer

from semiseg.models.encoder import Norm
from semiseg.models.layers import Conv3x3, StemPool
from semiseg.models.precision import Conv2d

Stem = Literal["deep", "conv7"]


def conv1x1(in_planes: int, planes: int, stride: int = 1) -> nn.Conv2d:
    """A 1x1 convolution without bias."""
    return Conv2d(in_planes, planes, 1, stride)


class BasicBlock(nn.Cell):
    """Two 3x3 convolutions (ResNet-18 and -34), both dilated where the stage is."""

    expansion = 1

    def __init__(self, in_planes: int, planes: int, stride: int, dilation: int, norm: Norm):
        super().__init__()
        self.conv1 = Conv3x3(in_planes, planes, stride, dilation)
        self.bn1 = norm(planes)
        self.conv2 = Conv3x3(planes, planes, 1, dilation)
        self.bn2 = norm(planes)
        self.relu = nn.ReLU()
        self.downsample = _downsample(in_planes, planes, stride, norm)
        self.last_norm = "bn2"

    def construct(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)


class Bottleneck(nn.Cell):
    """1x1, 3x3 (strided or dilated), 1x1 to four times the planes (ResNet-50, -101 and -152)."""

    expansion = 4

    def __init__(self, in_planes: int, planes: int, stride: int, dilation: int, norm: Norm):
        super().__init__()
        self.conv1 = conv1x1(in_planes, planes)
        self.bn1 = norm(planes)
        self.conv2 = Conv3x3(planes, planes, stride, dilation)
        self.bn2 = norm(planes)
        self.conv3 = conv1x1(planes, planes * self.expansion)
        self.bn3 = norm(planes * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = _downsample(in_planes, planes * self.expansion, stride, norm)
        self.last_norm = "bn3"

    def construct(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)


def _downsample(in_planes: int, planes: int, stride: int, norm: Norm) -> nn.Cell | None:
    if stride == 1 and in_planes == planes:
        return None
    return nn.SequentialCell(conv1x1(in_planes, planes, stride), norm(planes))


class ResNet(nn.Cell):
    """The encoder: B x 3 x H x W -> four maps (layer1..layer4), the first at stride 4.

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks of the four stages.
        stem: "deep" (3x3, 3x3, 3x3; 2 * width channels) or "conv7" (7x7; width channels).
        width: channels of the stem's first convolution; 64 in every published network.
        dilate: for layer2, layer3, layer4: dilation in place of the stride of 2.
        multi_grid: layer4's blocks multiply their dilation by 2, 2, 4.
        zero_init_residual: the last BatchNorm scale of each block starts at 0 (https://arxiv.org/abs/1706.02677).
        pool_ceil: whether max-pooling rounds an even side up; None as the stem's publishers have it.
        norm: makes the normalisation layer of a channel count.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        stem: Stem = "deep",
        width: int = 64,
        dilate: tuple[bool, bool, bool] = (False, True, True),
        multi_grid: bool = True,
        zero_init_residual: bool = True,
        pool_ceil: bool | None = None,
        norm: Norm = nn.BatchNorm2d,
    ):
        super().__init__()
        deep = stem == "deep"
        stem_planes = 2 * width if deep else width
        self.conv1 = _deep_stem(width, norm) if deep else _conv7(width)
        self.bn1 = norm(stem_planes)
        self.relu = nn.ReLU()
        # As U2PL has it with the deep stem and torchvision with the other: they differ for even sizes only.
        # So does pad_mode="same" of the authors' MindSpore release and of mindcv.
        self.ceil_mode = deep if pool_ceil is None else pool_ceil
        self.maxpool = StemPool(self.ceil_mode)
        planes = [width * 2**stage for stage in range(4)]
        self.out_planes = tuple(p * block.expansion for p in planes)

        in_planes, dilation = stem_planes, 1
        stages = []
        for stage, depth in enumerate(depths):
            stride, first_dilation = (1 if stage == 0 else 2), dilation
            if stage > 0 and dilate[stage - 1]:
                stride, dilation = 1, dilation * 2
            grid = [2, 2, 4][:depth] if multi_grid and stage == 3 else [1] * depth
            blocks = []
            for index in range(depth):
                rate = (first_dilation if index == 0 else dilation) * grid[index]
                blocks.append(block(in_planes, planes[stage], stride if index == 0 else 1, rate, norm))
                in_planes = self.out_planes[stage]
            stages.append(nn.SequentialCell(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        _initialise(self, zero_init_residual)

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x1 = self.layer1(x)  # B x C1 x H/4 x W/4
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        x4 = self.layer4(x3)
        return x1, x2, x3, x4

    def low_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the first map: about a quarter, as stem and pooling round."""
        # The stem halves rounding up; the pooling of a side n gives ceil((n - 1) / 2) + 1 with ceil_mode, else
        # ceil(n / 2).
        extra = 2 if self.ceil_mode else 1
        return ((height + 1) // 2 + extra) // 2, ((width + 1) // 2 + extra) // 2


def _deep_stem(width: int, norm: Norm) -> nn.SequentialCell:
    return nn.SequentialCell(
        Conv3x3(3, width, 2),
        norm(width),
        nn.ReLU(),
        Conv3x3(width, width),
        norm(width),
        nn.ReLU(),
        Conv3x3(width, 2 * width),
    )


def _conv7(width: int) -> nn.Conv2d:
    return Conv2d(3, width, 7, 2, padding=3)


def _initialise(encoder: ResNet, zero_init_residual: bool) -> None:
    for _, cell in encoder.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            cell.weight.set_data(
                initializer(HeNormal(mode="fan_out", nonlinearity="relu"), cell.weight.shape, cell.weight.dtype)
            )
        if zero_init_residual and isinstance(cell, BasicBlock | Bottleneck):
            gamma = getattr(cell, cell.last_norm).gamma
            gamma.set_data(Tensor(np.zeros(gamma.shape, np.float32)))


DEPTHS = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
