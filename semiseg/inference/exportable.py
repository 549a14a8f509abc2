"""The evaluated network in operators that every export format has, for one fixed input size.

What differs from ``SegmentationNetwork`` is written another way, not approximated: bilinear interpolation as two
constant matrices, max-pooling with padding as padding with zeros (its input is never negative) and pooling without,
global average pooling as a mean. ONNX export of MindSpore 2.10 knows none of the three originals.

Shapes: H x W input, h x w the first map, h' x w' the last one, C classes, D channels of the feature.
"""

import numpy as np
from mindspore import Tensor, nn, ops

from semiseg.common.platform import kept_mean, max_pool
from semiseg.models.deeplabv3plus import Decoder, SegmentationNetwork
from semiseg.models.interpolate import axis_weights
from semiseg.models.prototypes import TINY, PrototypeHead
from semiseg.models.resnet import ResNet
from semiseg.models.unimatch_decoder import UniMatchDecoder

# What can be exported: the outputs, in order.
HEADS = {"linear": ("linear",), "proto": ("proto",), "both": ("linear", "proto")}


def interpolation_matrix(target: int, source: int) -> np.ndarray:
    """float32 target x source: ``matrix @ x`` interpolates x of length ``source`` (align_corners=True)."""
    low, high, weight = axis_weights(np.arange(target), target, source)
    matrix = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    matrix[rows, low] += 1 - weight
    matrix[rows, high] += weight
    return matrix


def _transposed(matrix: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrix.T)


class Resize(nn.Cell):
    """``interpolate.resize`` from one fixed size to another: B x C x h x w -> B x C x H x W."""

    def __init__(self, source: tuple[int, int], target: tuple[int, int]):
        super().__init__()
        self.down = Tensor(interpolation_matrix(target[0], source[0]))  # H x h
        self.across = Tensor(_transposed(interpolation_matrix(target[1], source[1])))  # w x W

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


class SpreadPooling(nn.Cell):
    """The branch of a pyramid that pools its map, of one size h' x w': the mean, ``after`` it, the same everywhere."""

    def __init__(self, after: nn.Cell, size: tuple[int, int]):
        super().__init__()
        self.after, self.zeros = after, _zeros(1, 1, *size)

    def construct(self, x: Tensor) -> Tensor:
        return self.after(kept_mean(x, (2, 3))) + self.zeros  # interpolating one pixel repeats it


class ExportableDecoder(nn.Cell):
    """Either decoder for maps of fixed sizes, ``high`` h' x w' and ``low`` h x w; shares the cells of ``decoder``.

    Gives the logits and what the classifier reads.
    """

    def __init__(self, decoder: Decoder | UniMatchDecoder, high: tuple[int, int], low: tuple[int, int]):
        super().__init__()
        if isinstance(decoder, UniMatchDecoder):
            *convolutions, pooling = decoder.head.branches
            branches = [*convolutions, SpreadPooling(pooling.gap[1:], high)]
            self.project, self.reduce, self.fuse = decoder.head.project, decoder.reduce, decoder.fuse
        else:
            aspp = decoder.aspp
            branches = [SpreadPooling(aspp.conv1[1:], high), aspp.conv2, *aspp.dilated]
            self.project, self.reduce, self.fuse = decoder.head, decoder.low_conv, nn.Identity()
        self.branches, self.classifier = nn.CellList(branches), decoder.classifier
        self.to_low = Resize(high, low)

    def construct(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        parts = ()
        for branch in self.branches:
            parts = (*parts, branch(high))
        head = self.to_low(self.project(ops.concat(parts, 1)))
        feature = self.fuse(ops.concat((self.reduce(low), head), 1))
        return self.classifier(feature), feature


class ExportablePrototypes(nn.Cell):
    """``PrototypeHead.dense`` from one fixed size h x w to another: 1 x D x h x w -> 1 x C x H x W.

    For the length of an interpolated feature, inner products of neighbours are picked by row and column and weighted;
    here that is a product with a constant matrix on each side, and what has the same matrices is added first.
    """

    def __init__(self, head: PrototypeHead, source: tuple[int, int], target: tuple[int, int]):
        super().__init__()
        self.num_classes, self.per_class, self.temperature = head.num_classes, head.per_class, head.temperature
        self.kernel, self.ones = head.kernel(), Tensor(np.ones((1, head.proto_list.shape[1], 1, 1), np.float32))
        self.resize = Resize(source, target)
        self.below, self.right = Tensor(_next_matrix(source[0])), Tensor(_transposed(_next_matrix(source[1])))
        rows, columns = (_pair_matrices(n, m) for n, m in zip(target, source, strict=True))
        self.same_row, self.both_rows = (Tensor(matrix) for matrix in rows)  # H x h
        self.same_column, self.both_columns = (Tensor(_transposed(matrix)) for matrix in columns)  # w x W

    def construct(self, feature: Tensor) -> Tensor:
        dots = self.resize(ops.conv2d(feature, self.kernel))
        best = dots[:, : self.num_classes]
        for k in range(1, self.per_class):
            best = ops.maximum(best, dots[:, k * self.num_classes : (k + 1) * self.num_classes])
        below, right = ops.matmul(self.below, feature), ops.matmul(feature, self.right)
        across, down = self._inner(feature, right), self._inner(feature, below)
        diagonals = self._inner(feature, ops.matmul(below, self.right)) + self._inner(right, below)
        squared = (
            self._spread(self.same_row, self._inner(feature, feature), self.same_column)
            + self._spread(self.same_row, across, self.both_columns)
            + self._spread(self.both_rows, down, self.same_column)
            + self._spread(self.both_rows, diagonals, self.both_columns) * 0.5
        )
        return best / (ops.sqrt(ops.maximum(squared, TINY)) * self.temperature)

    def _inner(self, first: Tensor, second: Tensor) -> Tensor:
        return ops.conv2d(first * second, self.ones)

    def _spread(self, rows: Tensor, inner: Tensor, columns: Tensor) -> Tensor:
        return ops.matmul(ops.matmul(rows, inner), columns)


def _next_matrix(side: int) -> np.ndarray:
    """float32 side x side: ``matrix @ x`` has the next element in the place of each, the last one twice."""
    return np.eye(side, dtype=np.float32)[np.minimum(np.arange(side) + 1, side - 1)]


def _pair_matrices(target: int, source: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 target x source, of a pixel that mixes (1 - w) of one element and w of the next: (1 - w)^2 and w^2 in the
    places of the two; 2 w (1 - w) in the place of the first.
    """
    low, high, weight = axis_weights(np.arange(target), target, source)
    squares, product = np.zeros((2, target, source), np.float32)
    rows = np.arange(target)
    squares[rows, low] += (1 - weight) ** 2
    squares[rows, high] += weight**2
    product[rows, low] = 2 * weight * (1 - weight)
    return squares, product


class ExportableNetwork(nn.Cell):
    """Logits of the heads at the input's size: 1 x 3 x H x W normalised -> 1 x C x H x W, of two heads a tuple.

    Shares the cells (and weights) of ``network``, which stays as it is. ``size``: H, W. ``head``: one of ``HEADS``.
    """

    def __init__(self, network: SegmentationNetwork, size: tuple[int, int], head: str = "linear"):
        super().__init__()
        encoder = network.encoder
        self.encoder = ExportableResNet(encoder, size) if isinstance(encoder, ResNet) else encoder
        low, high = network.feature_size(*size), self._high_size(network, size)
        self.decoder, self.to_image = ExportableDecoder(network.decoder, high, low), Resize(low, size)
        self.heads = HEADS[head]
        self.prototypes = ExportablePrototypes(network.proto_net, low, size) if "proto" in self.heads else None
        self.set_train(False)

    @staticmethod
    def _high_size(network: SegmentationNetwork, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the encoder's last map."""
        return network.encoder(Tensor(np.zeros((1, 3, *size), np.float32)))[3].shape[2:]

    def construct(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        low, _, _, high = self.encoder(x)
        logits, feature = self.decoder(low, high)
        if self.prototypes is None:
            return self.to_image(logits)
        if len(self.heads) == 1:
            return self.prototypes(feature)
        return self.to_image(logits), self.prototypes(feature)
