"""AEL's parts and its whole training step in plain PyTorch, a class at a time.

B images, C classes, U unlabelled images, (H, W) pixels; label 255 is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import losses, training
from .losses import IGNORE, pixel_ce


def update_confidence(
    confidence: Tensor, logits: Tensor, label: Tensor, momentum: float, absent: str = "keep"
) -> Tensor:
    """New confidences (C,): moving average of the mean softmax of the true class; absent classes keep theirs.

    With absent "decay" each two images are a device, with confidences of its own that absent classes pull to 0; theirs
    are averaged. (An average of moving averages is the moving average of the average.)
    """
    if absent == "decay":
        parts = []
        for first in range(0, len(label), 2):
            prob, own = logits[first : first + 2].softmax(1), label[first : first + 2]
            shown = [prob[:, c][own == c] for c in range(prob.shape[1])]
            found = [values.mean() if len(values) else values.new_zeros(()) for values in shown]
            parts.append(momentum * confidence + (1 - momentum) * torch.stack(found))
        return torch.stack(parts).mean(0)
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
    return followed(logits, label, confidence_map, confidence, draw, threshold, gamma, gamma2)


def followed(
    logits: Tensor,
    label: Tensor,
    confidence_map: Tensor,
    confidence: Tensor,
    draw: Tensor,
    threshold: float,
    gamma: float,
    gamma2: float | None,
) -> Tensor:
    """``consistency`` with labels (B, H, W) whose confidence is ``confidence_map``, as after mixing."""
    label = label.masked_fill(confidence_map < threshold, IGNORE)
    stays = torch.ones_like(draw) if gamma2 is None else sampling_map(logits.detach(), confidence, draw, gamma2)
    return (pixel_weights(confidence_map, stays, gamma) * pixel_ce(logits, label)).sum()


@dataclass
class Memory:
    """What lives between steps: confidence (C,), marks (C, U) of the images that show a class."""

    confidence: Tensor
    marks: Tensor

    def draw(self, of_class: float, of_image: float) -> tuple[int, int]:
        """(class, image) for two numbers of [0, 1): a class by its probability, an image that shows it, else any."""
        ends = cutmix_probabilities(self.confidence).cumsum(0)
        c = min(int((ends <= of_class).sum()), len(ends) - 1)
        holding = [image for image in range(self.marks.shape[1]) if self.marks[c, image]]
        holding = holding or list(range(self.marks.shape[1]))
        return c, holding[int(of_image * len(holding))]

    def mark(self, image: int, prediction: Tensor, min_area: float) -> None:
        """Notes which classes a prediction (H, W) shows."""
        for c in range(len(self.marks)):
            area = (prediction == c).double().mean().item()
            self.marks[c, image] = area > 0 and area >= min_area


def label_in_training(teacher: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Label and confidence (B, H, W) by the teacher in training mode, which moves the statistics it passes."""
    teacher.train()
    with torch.no_grad():
        low, _, _, high = teacher.encoder(image)
        confidence, label = losses.upsample(teacher.decoder(low, high)[0], image.shape[-2:]).softmax(1).max(1)
    return label, confidence


class AELBatch(NamedTuple):
    """Everything drawn or computed before the student runs, copy-paste and mixing done."""

    image_l: Tensor  # (B, 3, H, W)
    label_l: Tensor  # (B, H, W)
    taught: tuple[Tensor, Tensor]  # the teacher's label and confidence of image_l, (B, H, W)
    image_u: Tensor  # (B, 3, H, W)
    pseudo: tuple[Tensor, Tensor]  # its label and confidence, mixed
    draws: tuple[Tensor, Tensor]  # (B, H, W) of [0, 1), for labelled and unlabelled pixels


@dataclass(frozen=True)
class AELSpec:
    """A step's settings."""

    threshold: float
    gamma: float
    gamma2: float
    momentum: float
    absent: str
    criterion: Callable[[Tensor, Tensor], Tensor]
    aux_weight: float = 0.4
    ema_decay: float = 0.99


def ael_step(
    student: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: AELBatch,
    memory: Memory,
    spec: AELSpec,
    step: int,
) -> dict[str, float]:
    """Update student, the teacher's weights and the confidences in place. Returns the loss terms."""
    n, size = len(batch.image_l), batch.image_l.shape[-2:]
    student.train()
    optimizer.zero_grad()
    out = student(torch.cat([batch.image_l, batch.image_u]))
    logits = losses.upsample(out.pred, size)
    how = (spec.threshold, spec.gamma, spec.gamma2)
    terms = {
        "sup": losses.supervised(out.pred[:n], out.aux[:n], batch.label_l, spec.criterion, spec.aux_weight),
        "unsup": followed(logits[n:], *batch.pseudo, memory.confidence, batch.draws[1], *how),
        "unsup_labeled": followed(logits[:n], *batch.taught, memory.confidence, batch.draws[0], *how),
    }
    sum(terms.values()).backward()
    optimizer.step()
    pred_l = logits[:n].detach()
    memory.confidence = update_confidence(memory.confidence, pred_l, batch.label_l, spec.momentum, spec.absent)
    training.update_teacher(teacher, student, step, spec.ema_decay, statistics=False)
    return {name: term.item() for name, term in terms.items()}
