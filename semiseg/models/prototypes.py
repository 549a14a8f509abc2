"""The prototype head: K prototypes a class, cosine similarity, best prototype of a class as its logit.

Shapes: N pixels, D feature channels, C classes, K prototypes a class.
Source: Xu, Liu, Bian, Yang, "Semi-supervised Semantic Segmentation with Prototype-based Consistency Regularization",
NeurIPS 2022, and the authors' evaluation code for the stored form (un-normalised, class-major).
"""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from semiseg.models.interpolate import axis_weights, resize

_TINY = 1e-12


def normalise(x: Tensor) -> Tensor:
    """Rows of ``x`` (... x D) at length 1; a zero row stays zero."""
    return x / ops.sqrt(ops.maximum((x * x).sum(-1, keepdims=True), _TINY))


class PrototypeHead(nn.Cell):
    """Holds ``proto_list`` (C*K x D, no gradient) and turns features into class logits."""

    def __init__(self, num_classes: int, per_class: int, planes: int, temperature: float):
        super().__init__()
        self.num_classes, self.per_class, self.temperature = num_classes, per_class, temperature
        start = np.random.default_rng(0).standard_normal((num_classes * per_class, planes))
        self.proto_list = Parameter(Tensor(start.astype(np.float32)), name="proto_list", requires_grad=False)

    def similarities(self, features: Tensor) -> Tensor:
        """Cosine of each pixel's feature with each prototype: N x D -> N x C x K."""
        cosine = ops.matmul(normalise(features), normalise(self.proto_list).swapaxes(0, 1))
        return cosine.reshape(-1, self.num_classes, self.per_class)

    def construct(self, features: Tensor) -> Tensor:
        """Logits of single pixels: N x D -> N x C."""
        return ops.amax(self.similarities(features), 2) / self.temperature

    def dense(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits at every pixel of an H x W image: B x D x h x w -> B x C x H x W.

        Equals upsampling the feature map first, at the cost of C*K channels instead of D: the dot product with a
        prototype commutes with interpolation, and the length of an interpolated feature follows from the inner products
        of the four neighbours it mixes.
        """
        batch = feature.shape[0]
        kernel = normalise(self.proto_list).reshape(self.num_classes * self.per_class, -1, 1, 1)
        dots = resize(ops.conv2d(feature, kernel), size)
        cosine = dots / _interpolated_length(feature, size)
        grouped = cosine.reshape(batch, self.num_classes, self.per_class, size[0] * size[1])
        return ops.amax(grouped, 2).reshape(batch, self.num_classes, *size) / self.temperature


def _interpolated_length(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Euclidean length of ``resize(feature, size)`` along the channels: B x D x h x w -> B x 1 x H x W."""
    right = ops.concat((feature[:, :, :, 1:], feature[:, :, :, -1:]), 3)
    below = ops.concat((feature[:, :, 1:], feature[:, :, -1:]), 2)
    diagonal = ops.concat((right[:, :, 1:], right[:, :, -1:]), 2)
    corners = (feature, right, below, diagonal)
    top, _, down = axis_weights(np.arange(size[0]), size[0], feature.shape[2])
    left, _, across = axis_weights(np.arange(size[1]), size[1], feature.shape[3])
    rows, cols = Tensor(top), Tensor(left)
    vertical, horizontal = (1 - down, down), (1 - across, across)
    squared = 0
    for i in range(4):
        for j in range(i, 4):
            inner = (corners[i] * corners[j]).sum(1, keepdims=True)  # B x 1 x h x w
            weights = np.outer(vertical[i // 2] * vertical[j // 2], horizontal[i % 2] * horizontal[j % 2])
            spread = ops.gather(ops.gather(inner, rows, 2), cols, 3)
            squared = squared + spread * Tensor((weights if i == j else 2 * weights).astype(np.float32))
    return ops.sqrt(ops.maximum(squared, _TINY))


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


def moved(prototypes: Tensor, sums: Tensor, counts: Tensor, momentum: float) -> Tensor:
    """p <- momentum * p + (1 - momentum) * mean for each prototype that got pixels; the others stay (C*K x D)."""
    mean = sums / ops.maximum(counts, 1.0)[:, None]
    return ops.where(counts[:, None] > 0, momentum * prototypes + (1 - momentum) * mean, prototypes)
