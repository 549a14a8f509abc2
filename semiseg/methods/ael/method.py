"""``ael``: adaptive equalization learning (NeurIPS 2021), a mean teacher tilted towards badly learnt classes.

Beside the samplers of ``adaptive`` (CutMix, copy-paste), which any method can use, AEL's own loss: the student follows
the teacher on labelled and unlabelled images, pixels of well learnt classes are left out at random, and the rest is
weighted by the teacher's confidence. Each part has a switch in ``trainer.adaptive``.
Shapes: B images of each kind, H x W crop, C classes.
"""

from collections.abc import Callable

import numpy as np
from mindspore import Tensor, ops

from semiseg.common.errors import ConfigError
from semiseg.common.rng import generator
from semiseg.losses import weighted_cross_entropy
from semiseg.methods.base import Settings, TrainBatch
from semiseg.methods.pseudo import BLANK, confidence_of
from semiseg.methods.sampling import random_rows
from semiseg.methods.semi import SemiSupervised
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize


class AEL(SemiSupervised):
    """The method of AEL's tables."""

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        if settings.trainer.adaptive is None:
            raise ConfigError("trainer.adaptive: method ael needs it (without it: method=mean_teacher); {} will do")
        if settings.trainer.unsupervised.rule != "confidence":
            raise ConfigError("trainer.unsupervised.rule: method ael weights pixels by confidence; leave the key out")
        if settings.net.proto_head:
            raise ConfigError("net.proto_head: method ael does not train a prototype head; set it to null")
        # As published the teacher is always in training mode: its statistics are those of its own forward passes.
        self.labels_in_training = settings.trainer.teacher_bn == "forward"
        super().__init__(student, teacher, settings)
        self._cfg = settings.trainer.adaptive

    def prepare(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None, part: int = 0) -> tuple:
        """(image_l, label_l, image_u, dropout masks, pseudo-label, confidence and draw of labelled, of unlabelled
        images, share of pixels kept of each class).
        """
        if not self.semi_phase(step):
            return super().prepare(step, labeled, unlabeled, part)
        image_l, label_l, image_u, label_u, confidence_u, masks = self.mixed(step, labeled, unlabeled, part)
        _, taught_l, confidence_l = self._labeler.labels_of(image_l.asnumpy())
        rng = generator(self.settings.trainer.seed, "adaptive sampling", step)
        rows = self.settings.rows(part)
        drawn = (random_rows(rng, rows, label.shape[1:]) for label in (taught_l, label_u))
        draw_l, draw_u = (Tensor(draw.astype(np.float32)) for draw in drawn)
        kept = self._confidence.kept_shares(self._cfg.gamma2 if self._cfg.sample else 0)
        of_l, of_u = (taught_l, confidence_l, draw_l), (label_u, confidence_u, draw_u)
        return image_l, label_l, image_u, masks, *of_l, *of_u, Tensor(kept)

    def objective(self, step: int) -> tuple[Callable, dict[str, float]]:
        if not self.semi_phase(step):
            return super().objective(step)
        weights = self.linear_weights()
        return self.equalized_objective, weights | {"unsup_labeled": weights["unsup"]}

    def unsupervised_count(self, name: str, labels: Tensor, kept: Tensor) -> dict[str, Tensor]:
        """Nothing: which pixels count, and how much, is decided within a part."""
        return {}

    def equalized_objective(
        self, image_l, label_l, image_u, masks, taught_l, confidence_l, draw_l, label_u, confidence_u, draw_u, kept
    ) -> tuple[tuple, tuple]:
        """Tensors as in ``prepare``."""
        batch = label_l.shape[0]
        pred, _, aux = self.student.forward(ops.concat((image_l, image_u), 0), masks)
        sup = self.supervised_loss(pred[:batch], None if aux is None else aux[:batch], label_l)
        large = resize(pred, label_l.shape[1:])
        followed, _ = self._followed(large[:batch], taught_l, confidence_l, draw_l, kept)
        unsup, share = self._followed(large[batch:], label_u, confidence_u, draw_u, kept)
        return (sup, unsup, share, followed), ((), self.confidences(pred, label_l))

    def pseudo_labels(self, step: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        used = confidence_of(logits) >= self._cfg.threshold
        return ops.argmax(logits, 1).astype("int32"), used.astype("float32")

    def refresh_statistics(self, image_l: Tensor, image_u: Tensor) -> None:
        """Nothing is left to do: the teacher labelled in training mode."""

    def _followed(self, logits, label, confidence, draw, kept) -> tuple[Tensor, Tensor]:
        """(loss against the teacher's labels, share of pixels that count)."""
        label = ops.where(confidence < self._cfg.threshold, BLANK, label)
        stays = (draw < pixel_shares(ops.stop_gradient(logits), kept)).astype("float32")
        weight = stays * confidence**self._cfg.gamma
        return weighted_cross_entropy(logits, label, weight), (stays * (label != BLANK).astype("float32")).mean()


def pixel_shares(logits: Tensor, shares: Tensor) -> Tensor:
    """The share of the class that each pixel is predicted as: B x C x H x W logits, C shares -> B x H x W."""
    return ops.gather(shares, ops.argmax(logits, 1), 0)
