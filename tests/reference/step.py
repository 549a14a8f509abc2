"""One whole semi-supervised training step of the prototype method: losses, SGD, prototypes, teacher, in that order."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import losses, training


@dataclass(frozen=True)
class StepBatch:
    """Everything drawn or computed before the student runs; L labelled and U unlabelled images, N points."""

    image_l: Tensor  # (L, 3, H, W)
    label_l: Tensor  # (L, H, W)
    image_u: Tensor  # (U, 3, H, W), already mixed, as are the next two
    pseudo_label: Tensor  # (U, H, W)
    confidence: Tensor  # (U, H, W), the teacher's largest probability
    points: Tensor  # (N, 2) rows and columns, one draw for all images


@dataclass(frozen=True)
class StepSpec:
    """The step's settings; the defaults are VOC's."""

    k: int = 4
    threshold: float = 0.8
    normalise: str = "pixels"
    aux_weight: float = 0.4
    proto_weight: float = 1.0
    proto_momentum: float = 0.99
    ema_decay: float = 0.99
    criterion: Callable[[Tensor, Tensor], Tensor] = losses.ohem_cross_entropy


def teacher_labels(teacher: nn.Module, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pseudo-label (B, H, W), its probability (B, H, W) and the logits (B, C, H, W) of the teacher's linear head."""
    teacher.eval()
    with torch.no_grad():
        logits = losses.upsample(teacher(image).pred, image.shape[-2:])
        confidence, label = logits.softmax(1).max(1)
    return label, confidence, logits


def step_losses(student: nn.Module, batch: StepBatch, spec: StepSpec) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The four loss terms (weights applied), and the features (M, D) and labels (M,) that update the prototypes."""
    n, size = len(batch.image_l), batch.image_l.shape[-2:]
    out = student(torch.cat([batch.image_l, batch.image_u]))
    aux = None if out.aux is None else out.aux[:n]
    feature = training.sample_features(out.rep, batch.points, size)
    label_l = training.sample_labels(batch.label_l, batch.points).flatten()
    label_u = training.sample_labels(batch.pseudo_label, batch.points).flatten()
    confident = training.sample_labels(batch.confidence, batch.points).flatten() >= spec.threshold
    feature_l, feature_u = feature[:n].flatten(0, 1), feature[n:].flatten(0, 1)
    prototypes = student.proto_net.proto_list
    terms = {
        "sup": losses.supervised(out.pred[:n], aux, batch.label_l, spec.criterion, spec.aux_weight),
        "sup_proto": spec.proto_weight * losses.prototype_cross_entropy(feature_l, prototypes, spec.k, label_l),
        "unsup": losses.unsupervised_confidence(
            losses.upsample(out.pred[n:], size), batch.pseudo_label, batch.confidence, spec.threshold, spec.normalise
        ),
        "unsup_proto": spec.proto_weight
        * losses.unsupervised_prototype(feature_u, prototypes, spec.k, label_u, confident, spec.normalise),
    }
    labels = torch.cat([label_l, label_u.masked_fill(~confident, losses.IGNORE)])
    return terms, torch.cat([feature_l, feature_u]).detach(), labels


def train_step(
    student: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: StepBatch,
    spec: StepSpec,
    step: int,
) -> dict[str, float]:
    """Update student, prototypes and teacher in place; the gradients stay in ``.grad``. Returns the loss terms."""
    student.train()
    optimizer.zero_grad()
    terms, feature, label = step_losses(student, batch, spec)
    sum(terms.values()).backward()
    optimizer.step()
    prototypes = student.proto_net.proto_list
    updated = training.update_prototypes(prototypes.detach(), spec.k, feature, label, spec.proto_momentum)
    with torch.no_grad():
        prototypes.copy_(updated)
    training.update_teacher(teacher, student, step, spec.ema_decay)
    return {name: term.item() for name, term in terms.items()}
