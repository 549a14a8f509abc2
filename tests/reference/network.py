"""DeepLabv3+ on a ResNet in PyTorch, with the parameter names of U2PL's published checkpoints and torchvision's.

Shape legend: B images, (H, W) input size, (h, w) a quarter of it (rounded up by the strided layers), C classes,
K prototypes a class, D = 2 * inner_planes feature channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .losses import prototype_logits

BLOCK_COUNTS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True)
class NetworkSpec:
    """What a twin network is made of; the defaults are the published VOC network without prototypes."""

    depth: int = 101
    stem: str = "deep"  # or conv7, torchvision's
    num_classes: int = 21
    width: int = 64
    replace_stride_with_dilation: tuple[bool, bool, bool] = (False, True, True)
    multi_grid: tuple[int, ...] | None = (2, 2, 4)
    zero_init_residual: bool = True
    inner_planes: int = 256
    aspp_dilations: tuple[int, ...] = (12, 24, 36)
    pool_norm: bool = True
    aux: bool = False
    prototypes: int = 0  # K; 0 leaves the prototype head out
    rep_head: bool = False  # U2PL's representation head
    freeze_bn: bool = False  # the encoder's BatchNorm stays in evaluation mode


class Output(NamedTuple):
    """pred (B, C, h, w), rep (B, D, h, w), aux (B, C, h', w') or None, proto (B, C, H, W) in evaluation or None,
    representation (B, D / 2, h, w) or None.
    """

    pred: Tensor
    rep: Tensor
    aux: Tensor | None
    proto: Tensor | None
    representation: Tensor | None = None


class ChannelDropout(nn.Module):
    """Dropout2d whose draw can be given: ``mask`` (B, channels) holds 1 for a kept channel and 0 for a dropped one."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        self.p = p
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        if self.mask is None:
            return F.dropout2d(x, self.p)
        return x * (self.mask.to(x) / (1.0 - self.p))[:, :, None, None]


def inject_dropout(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Give every dropout layer its mask by its dotted name (see ``dropout_shapes``); KeyError if the names differ."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, ChannelDropout)}
    if layers.keys() != masks.keys():
        raise KeyError(f"dropout layers {sorted(layers)} but masks {sorted(masks)}")
    for name, layer in layers.items():
        layer.mask = masks[name]


def dropout_shapes(spec: NetworkSpec, batch: int) -> dict[str, tuple[int, int]]:
    """(B, channels) of each dropout layer's mask."""
    names = ["decoder.head.3", "decoder.classifier.3", "decoder.classifier.7"]
    names += ["decoder.representation.3", "decoder.representation.7"] * spec.rep_head + ["auxor.aux.3"] * spec.aux
    return dict.fromkeys(names, (batch, spec.inner_planes))


def _conv3(cin: int, cout: int, stride: int = 1, dilation: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, 3, stride, padding=dilation, dilation=dilation, bias=bias)


def _unit(conv: nn.Conv2d) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()]


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, cin: int, planes: int, stride: int, dilation: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _conv3(cin, planes, stride, dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3(planes, planes, 1, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, cin: int, planes: int, stride: int, dilation: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3(planes, planes, stride, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class Encoder(nn.Module):
    """ResNet with a stem of three 3x3 convolutions or one 7x7; returns the outputs of layer1 ... layer4."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        width, counts = spec.width, BLOCK_COUNTS[spec.depth]
        block = BasicBlock if spec.depth in (18, 34) else Bottleneck
        if spec.stem == "deep":
            units = *_unit(_conv3(3, width, stride=2)), *_unit(_conv3(width, width)), _conv3(width, 2 * width)
            self.conv1, channels = nn.Sequential(*units), 2 * width
        else:
            self.conv1, channels = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False), width
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=spec.stem == "deep")
        self._channels, self._dilation = channels, 1
        dilated = (False, *spec.replace_stride_with_dilation)
        for stage, count in enumerate(counts):
            grids = spec.multi_grid if stage == 3 else None
            planes, stride = width * 2**stage, 1 if stage == 0 else 2
            setattr(self, f"layer{stage + 1}", self._stage(block, planes, count, stride, dilated[stage], grids))
        self.out_channels = tuple(width * 2**stage * block.expansion for stage in range(4))
        self._initialise(spec.zero_init_residual)

    def _stage(self, block, planes, count, stride, dilate, grids) -> nn.Sequential:
        # The first block of a stage keeps the dilation of the stage before: layer4 runs 4, 8, 16 with grids 2, 2, 4.
        first = self._dilation
        if dilate:
            self._dilation, stride = self._dilation * stride, 1
        if grids is None:
            grids = (1,) * count
        if len(grids) < count:
            raise ValueError(f"multi_grid has {len(grids)} values for {count} blocks")
        blocks, out = [], planes * block.expansion
        for i in range(count):
            step = stride if i == 0 else 1
            downsample = None
            if step != 1 or self._channels != out:
                downsample = nn.Sequential(nn.Conv2d(self._channels, out, 1, step, bias=False), nn.BatchNorm2d(out))
            dilation = (first if i == 0 else self._dilation) * grids[i]
            blocks.append(block(self._channels, planes, step, dilation, downsample))
            self._channels = out
        return nn.Sequential(*blocks)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, Bottleneck):
                module.bn3.weight.data.zero_()
            elif zero_init_residual and isinstance(module, BasicBlock):
                module.bn2.weight.data.zero_()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        c1 = self.layer1(x)
        c2 = self.layer2(c1)
        c3 = self.layer3(c2)
        return c1, c2, c3, self.layer4(c3)


class ASPP(nn.Module):
    """Image pooling, a 1x1 convolution and one dilated 3x3 convolution per rate, side by side (conv1 ... conv5)."""

    def __init__(self, cin: int, planes: int, dilations: tuple[int, ...], pool_norm: bool = True) -> None:
        super().__init__()
        pooled = _unit(nn.Conv2d(cin, planes, 1, bias=False)) if pool_norm else (nn.Conv2d(cin, planes, 1), nn.ReLU())
        self.conv1 = nn.Sequential(nn.AdaptiveAvgPool2d(1), *pooled)
        self.conv2 = nn.Sequential(*_unit(nn.Conv2d(cin, planes, 1, bias=False)))
        for i, dilation in enumerate(dilations):
            setattr(self, f"conv{i + 3}", nn.Sequential(*_unit(_conv3(cin, planes, dilation=dilation))))
        self.branches = len(dilations) + 2

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.conv1(x).expand(-1, -1, *x.shape[-2:])  # resizing one pixel is repeating it
        rest = [getattr(self, f"conv{i}")(x) for i in range(2, self.branches + 1)]
        return torch.cat([pooled, *rest], dim=1)


class Decoder(nn.Module):
    def __init__(self, spec: NetworkSpec, low_channels: int, high_channels: int) -> None:
        super().__init__()
        planes = spec.inner_planes
        self.low_conv = nn.Sequential(*_unit(nn.Conv2d(low_channels, planes, 1)))
        self.aspp = ASPP(high_channels, planes, spec.aspp_dilations, spec.pool_norm)
        self.head = nn.Sequential(*_unit(_conv3(self.aspp.branches * planes, planes)), ChannelDropout())
        self.classifier = _pixel_head(2 * planes, planes, spec.num_classes)
        self.representation = _pixel_head(2 * planes, planes, planes) if spec.rep_head else None

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """(B, low, h, w) and (B, high, h', w') -> logits (B, C, h, w) and feature (B, D, h, w)."""
        low = self.low_conv(low)
        high = F.interpolate(self.head(self.aspp(high)), low.shape[-2:], mode="bilinear", align_corners=True)
        feature = torch.cat([low, high], dim=1)
        return self.classifier(feature), feature


def _pixel_head(cin: int, planes: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        *_unit(_conv3(cin, planes, bias=True)),
        ChannelDropout(),
        *_unit(_conv3(planes, planes, bias=True)),
        ChannelDropout(),
        nn.Conv2d(planes, out, 1),
    )


class AuxHead(nn.Module):
    def __init__(self, cin: int, planes: int, num_classes: int) -> None:
        super().__init__()
        self.aux = nn.Sequential(
            *_unit(_conv3(cin, planes, bias=True)), ChannelDropout(), nn.Conv2d(planes, num_classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.aux(x)


class PrototypeHead(nn.Module):
    """``proto_list`` (C * K, D), class-major: state of the training, not a target of the gradient."""

    def __init__(self, num_classes: int, k: int, dim: int) -> None:
        super().__init__()
        self.k = k
        self.proto_list = nn.Parameter(torch.randn(num_classes * k, dim), requires_grad=False)

    def forward(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Feature (B, D, h, w) -> logits (B, C, *size)."""
        feature = F.interpolate(feature, size, mode="bilinear", align_corners=True)
        logits = prototype_logits(feature.permute(0, 2, 3, 1), self.proto_list, self.k)
        return logits.permute(0, 3, 1, 2)


class Network(nn.Module):
    """Encoder, decoder and the optional heads; ``forward`` returns an ``Output``."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.freeze_bn = spec.freeze_bn
        self.encoder = Encoder(spec)
        low, _, third, high = self.encoder.out_channels
        self.decoder = Decoder(spec, low, high)
        self.auxor = AuxHead(third, spec.inner_planes, spec.num_classes) if spec.aux else None
        self.proto_net = None
        if spec.prototypes:
            self.proto_net = PrototypeHead(spec.num_classes, spec.prototypes, 2 * spec.inner_planes)

    def train(self, mode: bool = True) -> "Network":
        """As usual; the encoder's BatchNorm stays as it is where it is frozen."""
        super().train(mode)
        for module in self.encoder.modules() if self.freeze_bn else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: Tensor) -> Output:
        c1, _, c3, c4 = self.encoder(image)
        pred, feature = self.decoder(c1, c4)
        aux = None if self.auxor is None else self.auxor(c3)
        proto = None
        if self.proto_net is not None and not self.training:
            proto = self.proto_net(feature, image.shape[-2:])
        head = self.decoder.representation
        return Output(pred, feature, aux, proto, None if head is None else head(feature))
