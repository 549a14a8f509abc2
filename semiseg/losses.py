"""Losses as pure functions of tensors; each is 0 with a zero gradient where no pixel counts, never NaN.

Shapes: B batch, C classes, H x W pixels, N single pixels. Labels are integers in 0..C-1; any other value is ignored.
"""

from mindspore import Tensor, ops

from semiseg.common.platform import kept_max, with_axis


def pixel_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of every pixel and a mask of the labelled ones.

    Args:
        logits: B x C x H x W or N x C. labels: B x H x W or N.

    Returns:
        (loss, valid), both float32 in the shape of labels; the loss is 0 where valid is 0.
    """
    valid = is_class(labels, logits.shape[1])
    target = ops.where(valid, labels, 0).astype("int32")
    valid = valid.astype("float32")
    shifted = _shifted(logits)
    picked = ops.gather_elements(shifted, 1, with_axis(target, 1)).squeeze(1)
    return (ops.log(ops.exp(shifted).sum(1)) - picked) * valid, valid


def pixel_soft_cross_entropy(logits: Tensor, probability: Tensor) -> Tensor:
    """Cross entropy of every pixel with a probability of each class: both B x C x H x W or N x C -> B x H x W or N.

    Its gradient is (softmax of the logits - probability), where the probabilities of a pixel sum to 1.
    """
    shifted = _shifted(logits)
    return ops.log(ops.exp(shifted).sum(1)) * probability.sum(1) - (probability * shifted).sum(1)


def _shifted(logits: Tensor) -> Tensor:
    """Logits less their largest, for log(sum(exp)) by hand: on CPU the gradient of log_softmax over axis 1 has no fast
    kernel.
    """
    return logits - ops.stop_gradient(kept_max(logits, 1))


def is_class(labels: Tensor, num_classes: int) -> Tensor:
    """bool in the shape of ``labels``, True where a label is one of the classes."""
    return ops.logical_and(labels >= 0, labels < num_classes)


def _mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``loss``, weighted; 0 where no pixel has a weight."""
    return (loss * weight).sum() / ops.maximum(weight.sum(), 1.0)


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy over the labelled pixels, weighted by their classes where these have weights (C float32)."""
    loss, valid = pixel_cross_entropy(logits, labels)
    return _mean(loss, valid * pixel_weights(labels, class_weights))


def pixel_weights(labels: Tensor, class_weights: Tensor | None) -> Tensor | float:
    """The weight of each label's class, 0 where a label is no class; in the shape of ``labels``.

    class_weights: C float32; None: all classes weigh alike, 1.0 is what a pixel weighs.
    """
    if class_weights is None:
        return 1.0
    valid = is_class(labels, class_weights.shape[0])
    index = ops.where(valid, labels, 0).astype("int32").reshape(-1)
    return ops.gather(class_weights, index, 0).reshape(labels.shape) * valid.astype("float32")


def ohem_cross_entropy(logits: Tensor, labels: Tensor, thresh: float, min_kept: int) -> Tensor:
    """Cross entropy over the hard pixels only (online hard example mining; U2PL's ``OhemCrossEntropy2dTensor``).

    A pixel counts if the probability of its true class is at most ``thresh``, or at most the ``min_kept``-th smallest
    such probability of the batch if that is larger. With at most ``min_kept`` labelled pixels all of them count.
    """
    loss, valid = pixel_cross_entropy(logits, labels)
    # The probability of the true class orders pixels as the loss does: exp(-loss). Ignored pixels come last.
    probability = ops.stop_gradient(ops.where(valid > 0, ops.exp(-loss), 2.0)).reshape(-1)
    threshold = Tensor(thresh, probability.dtype)
    if min_kept > 0:
        rank = min(min_kept, probability.shape[0]) - 1
        hardest = ops.sort(probability)[0]
        threshold = ops.maximum(hardest[rank], threshold)
        threshold = ops.where(valid.sum() > min_kept, threshold, Tensor(2.0, probability.dtype))
    kept = valid * (probability <= threshold).astype("float32").reshape(valid.shape)
    return _mean(loss, kept)


def confident_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    confident: Tensor,
    over_all: bool = True,
    class_weights: Tensor | None = None,
    probability: Tensor | None = None,
) -> Tensor:
    """Cross entropy with pseudo-labels on the confident pixels.

    Args:
        confident: bool or 0/1, or what a pixel weighs; shape of labels.
        over_all: divide by the number of all labelled pixels (else by the confident ones), so that a batch with few
            confident pixels moves the network less.
        class_weights: C float32, what a pixel counts by its label; None: all alike.
        probability: soft targets, shape of logits; labels then only say which pixels have a target.
    """
    if probability is None:
        loss, valid = pixel_cross_entropy(logits, labels)
    else:
        loss, valid = pixel_soft_cross_entropy(logits, probability), is_class(labels, logits.shape[1]).astype("float32")
    valid = valid * pixel_weights(labels, class_weights)
    weight = valid * confident.astype("float32")
    if over_all:
        return (loss * weight).sum() / ops.maximum(valid.sum(), 1.0)
    return _mean(loss, weight)


def certain_cross_entropy(
    logits: Tensor, labels: Tensor, certain: Tensor, inside: Tensor | None = None, class_weights: Tensor | None = None
) -> Tensor:
    """U2PL's unsupervised loss: cross entropy on the certain pixels, times all pixels / kept pixels.

    That is, mean over the kept pixels weighted by B*H*W / kept, as U2PL's ``compute_unsupervised_loss``; where
    ``inside`` (bool, shape of labels) is given, by its pixels in place of B*H*W. With weights of the classes it is
    their weighted mean.
    """
    loss, valid = pixel_cross_entropy(logits, labels)
    weight = valid * certain.astype("float32")
    count = float(loss.size) if inside is None else inside.astype("float32").sum()
    return count / ops.maximum(weight.sum(), 1.0) * _mean(loss, weight * pixel_weights(labels, class_weights))


def entropy(probability: Tensor) -> Tensor:
    """Entropy over the class axis, in nats: B x C x H x W -> B x H x W (log of p + 1e-10, as U2PL)."""
    return -(probability * ops.log(probability + 1e-10)).sum(1)


def _true_pixels(labels: Tensor, classes: int) -> Tensor:
    """1 at the pixels of each class, else 0: B x H x W -> B x C x H x W."""
    return (labels[:, None] == ops.arange(classes)[None, :, None, None]).astype("float32")


def class_confidences(probability: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Per class the sum of the probabilities of the true class, and the number of pixels: B x C x H x W -> C and C."""
    true = _true_pixels(labels, probability.shape[1])
    return (probability * true).sum((0, 2, 3)), true.sum((0, 2, 3))


def pair_confidences(probability: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same by twos of the B images, an even number: per class the sum over the pairs of the mean probability of the
    true class, 0 in a pair that does not show it; and the number of pairs. A device of AEL's code holds two images.
    """
    true = _true_pixels(labels, probability.shape[1])
    pairs = (-1, 2, probability.shape[1])
    sums = (probability * true).sum((2, 3)).reshape(pairs).sum(1)
    means = sums / ops.maximum(true.sum((2, 3)).reshape(pairs).sum(1), 1.0)
    return means.sum(0), means.sum(0) * 0 + means.shape[0]


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """AEL's unsupervised loss: cross entropy of every pixel, weighted, the weights brought to sum 1 over the batch.

    A pixel without a label has no loss, though its weight counts in the sum, as in AEL's ``Criterion_cons``.
    """
    loss, _ = pixel_cross_entropy(logits, labels)
    return (loss * weight).sum() / (weight.sum() + 1e-12)
