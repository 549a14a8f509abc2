"""AEL's parts in plain PyTorch, a class at a time: B images, C classes, (H, W) pixels; label 255 is left out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .losses import IGNORE, pixel_ce


def update_confidence(confidence: Tensor, logits: Tensor, label: Tensor, momentum: float) -> Tensor:
    """New confidences (C,): moving average of the mean softmax of the true class; absent classes keep theirs."""
    prob, updated = logits.softmax(1), confidence.clone()
    for c in range(len(confidence)):
        if (label == c).any():
            updated[c] = momentum * confidence[c] + (1 - momentum) * prob[:, c][label == c].mean()
    return updated


def cutmix_probabilities(confidence: Tensor) -> Tensor:
    """How often adaptive CutMix draws each class."""
    return F.softmax(1 - confidence, dim=0)


def paste_probabilities(confidence: Tensor, leave_out: tuple[int, ...]) -> Tensor:
    """How often adaptive copy-paste draws each class; 0 for those left out."""
    score = (1 - confidence).sqrt()
    score[list(leave_out)] = -torch.inf
    return F.softmax(score, dim=0)


def paste(
    image: Tensor, label: Tensor, other: Tensor, other_label: Tensor, classes: list[int]
) -> tuple[Tensor, Tensor]:
    """Image (3, H, W) and label (H, W) with the other's pixels of the given classes on top."""
    alpha = torch.zeros_like(label)
    for c in classes:
        alpha = alpha | (other_label == c).to(alpha.dtype)
    return alpha * other + (1 - alpha) * image, alpha * other_label + (1 - alpha) * label


def sampling_map(logits: Tensor, confidence: Tensor, draw: Tensor, gamma2: float) -> Tensor:
    """(B, H, W) of 0 and 1: a pixel predicted as class c stays where its draw is below the class's probability."""
    keep = (1 - confidence) / ((1 - confidence).max() + 1e-12)
    keep, predicted, stays = keep**gamma2, logits.argmax(1), torch.zeros_like(draw)
    for c in range(len(confidence)):
        stays[(predicted == c) & (draw < keep[c])] = 1
    return stays


def pixel_weights(confidence_map: Tensor, stays: Tensor, gamma: float) -> Tensor:
    """Teacher's confidence to the power gamma on the pixels that stay; sums to 1."""
    weight = confidence_map**gamma * stays
    return weight / (weight.sum() + 1e-12)


def consistency(
    logits: Tensor,
    teacher_logits: Tensor,
    confidence: Tensor,
    draw: Tensor,
    threshold: float = 0.0,
    gamma: float = 2.0,
    gamma2: float | None = 1.0,
) -> Tensor:
    """Loss of the student's logits (B, C, H, W) against the teacher's; gamma2 None: every pixel stays."""
    confidence_map, label = teacher_logits.softmax(1).max(1)
    label = label.masked_fill(confidence_map < threshold, IGNORE)
    stays = torch.ones_like(draw) if gamma2 is None else sampling_map(logits.detach(), confidence, draw, gamma2)
    return (pixel_weights(confidence_map, stays, gamma) * pixel_ce(logits, label)).sum()
