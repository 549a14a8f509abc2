"""The losses in plain PyTorch: B images, C classes, (H, W) pixels, N samples; label 255 is left out everywhere."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear with aligned corners."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)


def pixel_ce(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of every pixel, 0 where the label is 255: (B, C, ...), (B, ...) -> (B, ...)."""
    return F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean over the pixels that have a label; 0 (with zero gradient) where none has."""
    return pixel_ce(logits, label).sum() / (label != IGNORE).sum().clamp(min=1)


def ohem_threshold(logits: Tensor, label: Tensor, thresh: float, min_kept: int) -> float:
    """The probability of the true class above which a pixel is left out; infinity where all valid pixels stay.

    max(thresh, the min_kept-th smallest probability) over the valid pixels, if there are more than ``min_kept``.
    """
    valid = label != IGNORE
    if int(valid.sum()) <= min_kept:
        return float("inf")
    prob = _true_class_probability(logits, label)[valid]
    if min_kept == 0:
        return thresh
    return max(thresh, prob.kthvalue(min_kept).values.item())


def ohem_cross_entropy(logits: Tensor, label: Tensor, thresh: float = 0.7, min_kept: int = 100_000) -> Tensor:
    """Mean cross-entropy over the hard pixels (online hard example mining as U2PL publishes it)."""
    with torch.no_grad():
        easy = _true_class_probability(logits, label) > ohem_threshold(logits, label, thresh, min_kept)
    return cross_entropy(logits, label.masked_fill(easy, IGNORE))


def _true_class_probability(logits: Tensor, label: Tensor) -> Tensor:
    index = label.masked_fill(label == IGNORE, 0)
    return logits.detach().softmax(1).gather(1, index[:, None])[:, 0]


def supervised(
    pred: Tensor, aux: Tensor | None, label: Tensor, criterion: Callable[[Tensor, Tensor], Tensor], aux_weight: float
) -> Tensor:
    """Criterion on the logits plus ``aux_weight`` times the criterion on the aux logits, both at label size."""
    loss = criterion(upsample(pred, label.shape[-2:]), label)
    if aux is not None:
        loss = loss + aux_weight * criterion(upsample(aux, label.shape[-2:]), label)
    return loss


def unsupervised_confidence(
    logits: Tensor, pseudo_label: Tensor, confidence: Tensor, threshold: float, normalise: str = "pixels"
) -> Tensor:
    """Cross-entropy of the pixels whose teacher confidence is at least ``threshold``.

    logits (B, C, H, W), pseudo_label and confidence (B, H, W). ``normalise``: "pixels" divides the sum by B * H * W,
    "confident" by the number of confident pixels (0 if there are none).
    """
    confident = (confidence >= threshold) & (pseudo_label != IGNORE)
    total = (pixel_ce(logits, pseudo_label) * confident).sum()
    count = pseudo_label.numel() if normalise == "pixels" else max(int(confident.sum()), 1)
    return total / count


def unsupervised_entropy(logits: Tensor, pseudo_label: Tensor, teacher_logits: Tensor, drop_percent: float) -> Tensor:
    """U2PL's rule: pixels at or above the ``drop_percent`` percentile of teacher entropy are left out.

    The mean over the kept pixels is weighted by B * H * W / kept; 0 where nothing is kept.
    """
    with torch.no_grad():
        prob = teacher_logits.softmax(1)
        entropy = -(prob * (prob + 1e-10).log()).sum(1)
        valid = pseudo_label != IGNORE
        target = pseudo_label
        if valid.any():
            bound = torch.quantile(entropy[valid].double(), drop_percent / 100).to(entropy)
            target = pseudo_label.masked_fill(entropy >= bound, IGNORE)
        kept = max(int((target != IGNORE).sum()), 1)
    return pseudo_label.numel() / kept * cross_entropy(logits, target)


def drop_percent(start: float, epoch: int, epochs: int) -> float:
    """The percentile kept at an epoch: linear from ``start`` to 100 (U2PL counts all epochs of the run)."""
    return 100 - (100 - start) * (1 - epoch / epochs)


def prototype_logits(feature: Tensor, prototypes: Tensor, k: int, temperature: float = 0.1) -> Tensor:
    """Features (..., D) and class-major prototypes (C * K, D) -> (..., C): best cosine of a class / temperature."""
    cosine = F.normalize(feature, dim=-1) @ F.normalize(prototypes, dim=-1).T
    return cosine.unflatten(-1, (-1, k)).amax(-1) / temperature


def prototype_cross_entropy(feature: Tensor, prototypes: Tensor, k: int, label: Tensor) -> Tensor:
    """Mean cross-entropy of the prototype logits: features (N, D), label (N,)."""
    return cross_entropy(prototype_logits(feature, prototypes, k), label)


def unsupervised_prototype(
    feature: Tensor, prototypes: Tensor, k: int, pseudo_label: Tensor, confident: Tensor, normalise: str = "pixels"
) -> Tensor:
    """The confidence rule on selected pixels: features (N, D), pseudo_label (N,), confident (N,) of 0 and 1."""
    logits = prototype_logits(feature, prototypes, k)
    return unsupervised_confidence(logits, pseudo_label, confident.to(logits), 0.5, normalise)
