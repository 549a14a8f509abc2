"""U2PL's contrastive part and its whole training step in plain PyTorch, a class and a queue at a time.

B images of each kind, C classes, D channels, h x w pixels of the representation; label 255 is left out everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import losses, training
from .losses import IGNORE


@dataclass(frozen=True)
class ContrastSpec:
    """The settings; the defaults are the published ones."""

    low_rank: int = 3
    high_rank: int = 20
    threshold: float = 0.3
    temperature: float = 0.5
    queue_sizes: tuple[int, ...] = (50_000, 30_000, 30_000)


@dataclass
class Queues:
    """One tensor of keys (n, D) per class, oldest first."""

    keys: list[Tensor] = field(default_factory=list)

    def push(self, c: int, new: Tensor, size: int) -> None:
        """Append and forget the oldest beyond ``size``."""
        self.keys[c] = torch.cat([self.keys[c], new])[-size:]


def entropy(logits: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W), in nats."""
    prob = logits.softmax(1)
    return -(prob * torch.log(prob + 1e-10)).sum(1)


def entropy_masks(entropy_u: Tensor, label_u: Tensor, percent: float) -> tuple[Tensor, Tensor]:
    """(certain, uncertain): the ``percent`` with the lowest and with the highest entropy; both bool (B, H, W)."""
    valid = label_u != IGNORE
    if not valid.any():
        return valid, valid
    low, high = (torch.quantile(entropy_u[valid].double(), q / 100).to(entropy_u) for q in (percent, 100 - percent))
    return (entropy_u <= low) & valid, (entropy_u >= high) & valid


def shrink(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) -> (B, *size), nearest neighbour."""
    return F.interpolate(x[:, None].double(), size, mode="nearest")[:, 0].to(x.dtype)


def contrast_step(
    rep: Tensor,
    rep_teacher: Tensor,
    prob: Tensor,
    labels: tuple[Tensor, Tensor],
    masks: tuple[Tensor, Tensor],
    queues: Queues,
    draws: tuple[Tensor, Tensor],
    spec: ContrastSpec,
) -> Tensor:
    """Pushes this step's negatives and returns the loss.

    Args:
        rep, rep_teacher: (2B, D, h, w), labelled images first. prob: (2B, C, h, w), the teacher's softmax.
        labels: labelled and unlabelled (B, h, w). masks: certain and uncertain unlabelled pixels, (B, h, w).
        draws: uniform numbers of [0, 1): (C, Q) for the anchors, (C, Q, N) for the negatives.
    """
    n, classes = len(labels[0]), prob.shape[1]
    label = torch.cat(labels)
    everything = torch.ones_like(labels[0], dtype=torch.bool)
    certain, uncertain = (torch.cat([everything, mask]) & (label != IGNORE) for mask in masks)
    order = prob.argsort(dim=1, descending=True, stable=True)
    first, rows, rows_teacher = order[:, : spec.low_rank], rep.permute(0, 2, 3, 1), rep_teacher.permute(0, 2, 3, 1)
    middle = order[:, spec.low_rank : spec.high_rank]
    members, anchors, means = [], [], []
    for c in range(classes):
        member = certain & (label == c)
        members.append(int(member.sum()))
        anchors.append(rows[member & (prob[:, c] > spec.threshold)])
        means.append(rows_teacher[member].mean(0))
        negative = torch.cat([(first[:n] == c).any(1) & (labels[0] != c), (middle[n:] == c).any(1)])
        queues.push(c, rows_teacher[negative & uncertain], spec.queue_sizes[c])
    present = [c for c in range(classes) if members[c]]
    total = 0 * rep.sum()
    if len(present) < 2:
        return total
    for c in present:
        if len(anchors[c]) and len(queues.keys[c]):
            query = anchors[c][(draws[0][c] * len(anchors[c])).long()]
            negatives = queues.keys[c][(draws[1][c] * len(queues.keys[c])).long()]
            keys = torch.cat([means[c].expand(len(query), 1, -1), negatives], dim=1)
            similarity = F.cosine_similarity(query[:, None], keys, dim=2) / spec.temperature
            total = total + F.cross_entropy(similarity, torch.zeros(len(query), dtype=torch.long))
    return total / len(present)


class U2PLBatch(NamedTuple):
    """Everything drawn or computed before the teacher sees the mixed images."""

    image_l: Tensor  # (B, 3, H, W)
    label_l: Tensor  # (B, H, W)
    image_u: Tensor  # (B, 3, H, W), mixed
    pseudo_label: Tensor  # (B, H, W), mixed
    draws: tuple[Tensor, Tensor]  # as contrast_step takes them


@dataclass(frozen=True)
class U2PLSpec:
    """A step's settings. drop_percent and alpha are those of the step's epoch."""

    contrast: ContrastSpec
    drop_percent: float
    alpha: float
    contrast_weight: float
    criterion: Callable[[Tensor, Tensor], Tensor]
    aux_weight: float = 0.4
    ema_decay: float = 0.99


def u2pl_step(
    student: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: U2PLBatch,
    queues: Queues,
    spec: U2PLSpec,
    step: int,
) -> dict[str, float]:
    """Update student, teacher (its statistics by this step's forward pass) and queues; returns terms, unweighted."""
    n, size = len(batch.image_l), batch.image_l.shape[-2:]
    images = torch.cat([batch.image_l, batch.image_u])
    teacher.train()
    with torch.no_grad():
        seen = teacher(images)
        logits_u = losses.upsample(seen.pred[n:], size)
        masks = entropy_masks(entropy(logits_u), batch.pseudo_label, spec.alpha)
    student.train()
    optimizer.zero_grad()
    out = student(images)
    small = out.pred.shape[-2:]
    terms = {
        "sup": losses.supervised(out.pred[:n], out.aux[:n], batch.label_l, spec.criterion, spec.aux_weight),
        "unsup": losses.unsupervised_entropy(
            losses.upsample(out.pred[n:], size), batch.pseudo_label, logits_u, spec.drop_percent
        ),
        "contrast": contrast_step(
            out.representation,
            seen.representation,
            seen.pred.softmax(1),
            tuple(shrink(label, small) for label in (batch.label_l, batch.pseudo_label)),
            tuple(shrink(mask, small) for mask in masks),
            queues,
            batch.draws,
            spec.contrast,
        ),
    }
    (terms["sup"] + terms["unsup"] + spec.contrast_weight * terms["contrast"]).backward()
    optimizer.step()
    training.update_teacher(teacher, student, step, spec.ema_decay, statistics=False)
    return {name: term.item() for name, term in terms.items()}
