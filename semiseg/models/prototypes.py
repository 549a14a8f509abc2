"""The prototype head: K prototypes a class, cosine similarity, best prototype of a class as its logit.

Shapes: N pixels, D feature channels, C classes, K prototypes a class.
Source: Xu, Liu, Bian, Yang, "Semi-supervised Semantic Segmentation with Prototype-based Consistency Regularization",
NeurIPS 2022, and the authors' evaluation code for the stored form (un-normalised, class-major).
"""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from semiseg.common.platform import kept_sum
from semiseg.models.interpolate import axis_weights, resize

TINY = 1e-12  # the least squared length


def normalise(x: Tensor) -> Tensor:
    """Rows of ``x`` (... x D) at length 1; a zero row stays zero."""
    return x / ops.sqrt(ops.maximum(kept_sum(x * x, -1), TINY))


def start_prototypes(count: int, planes: int) -> np.ndarray:
    """What stands in the place of prototypes before there are any, the same in every run: float32 count x D."""
    return np.random.default_rng(0).standard_normal((count, planes)).astype(np.float32)


class PrototypeHead(nn.Cell):
    """Holds ``proto_list`` (C*K x D, no gradient) and turns features into class logits."""

    def __init__(self, num_classes: int, per_class: int, planes: int, temperature: float):
        super().__init__()
        self.num_classes, self.per_class, self.temperature = num_classes, per_class, temperature
        start = Tensor(start_prototypes(num_classes * per_class, planes))
        self.proto_list = Parameter(start, name="proto_list", requires_grad=False)

    def similarities(self, features: Tensor) -> Tensor:
        """Cosine of each pixel's feature with each prototype: N x D -> N x C x K."""
        cosine = ops.matmul(normalise(features), normalise(self.proto_list).swapaxes(0, 1))
        return cosine.reshape(-1, self.num_classes, self.per_class)

    def construct(self, features: Tensor) -> Tensor:
        """Logits of single pixels: N x D -> N x C."""
        return ops.amax(self.similarities(features), 2) / self.temperature

    def kernel(self) -> Tensor:
        """The prototypes at length 1 as a 1x1 convolution, prototype-major: K*C x D x 1 x 1."""
        kernel = normalise(self.proto_list).reshape(self.num_classes, self.per_class, -1)
        return kernel.swapaxes(0, 1).reshape(self.num_classes * self.per_class, -1, 1, 1)

    def dense(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits at every pixel of an H x W image: B x D x h x w -> B x C x H x W.

        Equals upsampling the feature map first, at the cost of C*K channels instead of D: the dot product with a
        prototype commutes with interpolation, and the length of an interpolated feature follows from the inner products
        of the four neighbours it mixes.
        """
        dots = resize(ops.conv2d(feature, self.kernel()), size)
        best = dots[:, : self.num_classes]
        for k in range(1, self.per_class):
            best = ops.maximum(best, dots[:, k * self.num_classes : (k + 1) * self.num_classes])
        factor = 1 / (_interpolated_length(feature, size) * self.temperature)
        # Spread out first: on CPU a product that broadcasts takes 15 times as long.
        return best * ops.tile(factor, (1, self.num_classes, 1, 1))


def _interpolated_length(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Euclidean length of ``resize(feature, size)`` along the channels: B x D x h x w -> B x 1 x H x W.

    The square is a sum over pairs of the four neighbours that a pixel mixes. Pairs that lie alike share a map of inner
    products, read one row or column further.
    """
    next_row, next_col = (Tensor(np.minimum(np.arange(n) + 1, n - 1).astype(np.int32)) for n in feature.shape[2:])
    below, right = ops.gather(feature, next_row, 2), ops.gather(feature, next_col, 3)
    squares = _inner(feature, feature)
    across, down = _inner(feature, right), _inner(feature, below)
    falling, rising = _inner(feature, ops.gather(right, next_row, 2)), _inner(right, below)
    top, bottom, y1 = axis_weights(np.arange(size[0]), size[0], feature.shape[2])
    left, side, x1 = axis_weights(np.arange(size[1]), size[1], feature.shape[3])
    top, bottom, left, side = (Tensor(indices) for indices in (top, bottom, left, side))
    y0, x0 = 1 - y1, 1 - x1
    terms = (
        (squares, top, left, y0 * y0, x0 * x0),
        (squares, top, side, y0 * y0, x1 * x1),
        (squares, bottom, left, y1 * y1, x0 * x0),
        (squares, bottom, side, y1 * y1, x1 * x1),
        (across, top, left, y0 * y0, 2 * x0 * x1),
        (across, bottom, left, y1 * y1, 2 * x0 * x1),
        (down, top, left, 2 * y0 * y1, x0 * x0),
        (down, top, side, 2 * y0 * y1, x1 * x1),
        (falling, top, left, 2 * y0 * y1, x0 * x1),
        (rising, top, left, 2 * y0 * y1, x0 * x1),
    )
    squared = 0
    for inner, rows, cols, vertical, horizontal in terms:
        spread = ops.gather(ops.gather(inner, rows, 2), cols, 3)
        squared = squared + spread * Tensor(np.outer(vertical, horizontal).astype(np.float32))
    return ops.sqrt(ops.maximum(squared, TINY))


def _inner(first: Tensor, second: Tensor) -> Tensor:
    """Inner product of the two features at each pixel: twice B x D x h x w -> B x 1 x h x w.

    Summed by a 1x1 convolution: on CPU ReduceSum over the channels takes 15 times as long.
    """
    return ops.conv2d(first * second, ops.ones((1, first.shape[1], 1, 1), first.dtype))


def prototype_sums(head: PrototypeHead, features: Tensor, labels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and count of the pixels that belong to each prototype: the nearest one within their class.

    Args:
        features: N x D. labels: N, class of each pixel (anything where not valid). valid: N, bool.

    Returns:
        C*K x D sums and C*K counts.
    """
    num_classes, per_class = head.num_classes, head.per_class
    own_class = ops.where(valid, labels, 0).astype("int32")
    similarities = head.similarities(features)
    of_class = ops.gather(similarities.reshape(-1, per_class), own_class + _row_offsets(similarities), 0)  # N x K
    slot = own_class * per_class + ops.argmax(of_class, 1).astype("int32")
    member = ops.one_hot(slot, num_classes * per_class, Tensor(1.0), Tensor(0.0)) * valid.astype("float32")[:, None]
    return ops.matmul(member.swapaxes(0, 1), features), member.sum(0)


def _row_offsets(similarities: Tensor) -> Tensor:
    return ops.arange(similarities.shape[0]).astype("int32") * similarities.shape[1]


def ema_prototypes(prototypes: Tensor, sums: Tensor, counts: Tensor, momentum: float) -> Tensor:
    """p <- momentum * p + (1 - momentum) * mean for each prototype that got pixels; the others stay (C*K x D)."""
    mean = sums / ops.maximum(counts, 1.0)[:, None]
    return ops.where(counts[:, None] > 0, momentum * prototypes + (1 - momentum) * mean, prototypes)
