"""U2PL's contrastive part in plain PyTorch, a class and a queue at a time.

B images of each kind, C classes, D channels, h x w pixels of the representation; label 255 is left out everywhere.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

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
