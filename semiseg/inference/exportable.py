"""The evaluated network in operators that every export format has, for one fixed input size.

What differs from ``SegmentationNetwork`` is written another way, not approximated: bilinear interpolation as two
constant matrices, max-pooling with padding as padding with zeros (its input is never negative) and pooling without,
global average pooling as a mean. ONNX export of MindSpore 2.10 knows none of the three originals.
"""

import numpy as np
from mindspore import Tensor, nn, ops

from semiseg.common.platform import kept_mean, max_pool
from semiseg.models.deeplabv3plus import Decoder, SegmentationNetwork
from semiseg.models.interpolate import axis_weights
from semiseg.models.resnet import ResNet
from semiseg.models.unimatch_decoder import UniMatchDecoder


def interpolation_matrix(target: int, source: int) -> np.ndarray:
    """float32 target x source: ``matrix @ x`` interpolates x of length ``source`` (align_corners=True)."""
    low, high, weight = axis_weights(np.arange(target), target, source)
    matrix = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    matrix[rows, low] += 1 - weight
    matrix[rows, high] += weight
    return matrix


class Resize(nn.Cell):
    """``interpolate.resize`` from one fixed size to another: B x C x h x w -> B x C x H x W."""

    def __init__(self, source: tuple[int, int], target: tuple[int, int]):
        super().__init__()
        self.down = Tensor(interpolation_matrix(target[0], source[0]))  # H x h
        self.across = Tensor(np.ascontiguousarray(interpolation_matrix(target[1], source[1]).T))  # w x W

    def construct(self, x: Tensor) -> Tensor:
        return ops.matmul(ops.matmul(self.down, x), self.across)


class PaddedMaxPool(nn.Cell):
    """nn.MaxPool2d(3, 2, padding=1, ceil_mode) for input that is not negative, of one shape B x C x H x W."""

    def __init__(self, shape: tuple[int, int, int, int], ceil_mode: bool = True):
        super().__init__()
        batch, channels, height, width = shape
        # The last window starts at or before the last pixel: out = ceil((n - 1) / 2) + 1 windows of 3, 2 apart.
        # Without ceil_mode an even side has one window less, and nothing may be left over: ONNX would pool that too.
        below, right = (1 if n % 2 else 2 * ceil_mode for n in (height, width))
        self.left = _zeros(batch, channels, height, 1)
        self.right = _zeros(batch, channels, height, right) if right else None
        self.top = _zeros(batch, channels, 1, width + 1 + right)
        self.below = _zeros(batch, channels, below, width + 1 + right) if below else None
        self.pool = max_pool("valid")

    def construct(self, x: Tensor) -> Tensor:
        x = ops.concat((self.left, x) if self.right is None else (self.left, x, self.right), 3)
        return self.pool(ops.concat((self.top, x) if self.below is None else (self.top, x, self.below), 2))


def _zeros(*shape: int) -> Tensor:
    return Tensor(np.zeros(shape, np.float32))


class ExportableResNet(nn.Cell):
    """A ResNet's four maps for one input size H, W; its cells and weights are those of ``encoder``."""

    def __init__(self, encoder: ResNet, size: tuple[int, int]):
        super().__init__()
        self.stem = nn.SequentialCell(encoder.conv1, encoder.bn1, encoder.relu)
        halved = tuple((n + 1) // 2 for n in size)
        self.pool = PaddedMaxPool((1, encoder.bn1.num_features, *halved), encoder.ceil_mode)
        self.layers = nn.CellList([encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4])

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        low = self.layers[0](self.pool(self.stem(x)))
        second = self.layers[1](low)
        third = self.layers[2](second)
        return low, second, third, self.layers[3](third)


class ExportableDecoder(nn.Cell):
    """U2PL's decoder for maps of fixed sizes: ``high`` h' x w' and ``low`` h x w; shares the cells of ``decoder``."""

    def __init__(self, decoder: Decoder, high: tuple[int, int], low: tuple[int, int]):
        super().__init__()
        self.pooled = decoder.aspp.conv1[1:]  # what follows the pooling: convolution, norm, ReLU
        self.branches = nn.CellList([decoder.aspp.conv2, *decoder.aspp.dilated])
        self.head, self.low_conv, self.classifier = decoder.head, decoder.low_conv, decoder.classifier
        self.spread = Tensor(np.zeros((1, 1, *high), np.float32))
        self.to_low = Resize(high, low)

    def construct(self, low: Tensor, high: Tensor) -> Tensor:
        parts = (self.pooled(kept_mean(high, (2, 3))) + self.spread,)  # interpolating one pixel repeats it
        for branch in self.branches:
            parts = (*parts, branch(high))
        head = self.to_low(self.head(ops.concat(parts, 1)))
        return self.classifier(ops.concat((self.low_conv(low), head), 1))


class ExportableUniMatchDecoder(nn.Cell):
    """UniMatch's, alike."""

    def __init__(self, decoder: UniMatchDecoder, high: tuple[int, int], low: tuple[int, int]):
        super().__init__()
        *branches, pooling = decoder.head.branches
        self.branches, self.pooled = nn.CellList(branches), pooling.gap[1:]
        self.project, self.reduce, self.fuse = decoder.head.project, decoder.reduce, decoder.fuse
        self.classifier = decoder.classifier
        self.spread = Tensor(np.zeros((1, 1, *high), np.float32))
        self.to_low = Resize(high, low)

    def construct(self, low: Tensor, high: Tensor) -> Tensor:
        parts = ()
        for branch in self.branches:
            parts = (*parts, branch(high))
        parts = (*parts, self.pooled(kept_mean(high, (2, 3))) + self.spread)
        head = self.to_low(self.project(ops.concat(parts, 1)))
        return self.classifier(self.fuse(ops.concat((self.reduce(low), head), 1)))


class ExportableNetwork(nn.Cell):
    """Logits of the linear head at the input's size: 1 x 3 x H x W normalised -> 1 x C x H x W.

    Shares the cells (and weights) of ``network``, which stays as it is. ``size``: H, W.
    """

    def __init__(self, network: SegmentationNetwork, size: tuple[int, int]):
        super().__init__()
        encoder, decoder = network.encoder, network.decoder
        self.encoder = ExportableResNet(encoder, size) if isinstance(encoder, ResNet) else encoder
        low, high = network.feature_size(*size), self._high_size(network, size)
        kind = ExportableUniMatchDecoder if isinstance(decoder, UniMatchDecoder) else ExportableDecoder
        self.decoder, self.to_image = kind(decoder, high, low), Resize(low, size)
        self.set_train(False)

    @staticmethod
    def _high_size(network: SegmentationNetwork, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the encoder's last map."""
        return network.encoder(Tensor(np.zeros((1, 3, *size), np.float32)))[3].shape[2:]

    def construct(self, x: Tensor) -> Tensor:
        low, _, _, high = self.encoder(x)
        return self.to_image(self.decoder(low, high))
