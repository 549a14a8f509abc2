"""``ael``: adaptive equalization learning (NeurIPS 2021), a mean teacher tilted towards badly learnt classes.

Beside the samplers of ``equalizer`` (CutMix, copy-paste), which any method can use, AEL's own loss: the student follows
the teacher on labelled and unlabelled images, pixels of well learnt classes are left out at random, and the rest is
weighted by the teacher's confidence. Each part has a switch in ``trainer.adaptive``.
Shapes: B images of each kind, H x W crop, C classes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from mindspore import Tensor, ops

from semiseg.common.errors import ConfigError
from semiseg.common.rng import generator
from semiseg.losses import pixel_weights, weighted_cross_entropy
from semiseg.methods.base import Objective
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.mean_teacher import SemiSupervised
from semiseg.methods.pseudo_labels import BLANK, PseudoLabels, labelled
from semiseg.methods.sampling import random_slice
from semiseg.models.interpolate import resize


class AELInputs(NamedTuple):
    """Both kinds of images with the teacher's labels, and a number drawn for each pixel."""

    image_l: Tensor  # B x 3 x H x W float32
    label_l: Tensor  # B x H x W int32
    image_u: Tensor  # B x 3 x H x W float32, mixed
    dropout: tuple[Tensor, ...]  # for each layer 2B x channels x 1 x 1 float32
    teacher_label_l: Tensor  # B x H x W int32
    confidence_l: Tensor  # B x H x W float32, the teacher's
    draw_l: Tensor  # B x H x W float32, uniform in [0, 1)
    label_u: Tensor  # B x H x W int32, pseudo-labels, mixed alike
    confidence_u: Tensor  # B x H x W float32, mixed alike
    draw_u: Tensor  # B x H x W float32, uniform in [0, 1)
    class_probability: Tensor  # C float32: a pixel of the class stays in the loss


class AEL(SemiSupervised):
    """The method of AEL's tables."""

    # As published the teacher is always in training mode: its statistics are those of its own forward passes.
    labels_in_training = True

    def __init__(self, context: RunContext):
        if context.trainer.adaptive is None:
            raise ConfigError("trainer.adaptive: method ael needs it (without it: method=mean_teacher); {} will do")
        if context.trainer.unsupervised.rule != "confidence":
            raise ConfigError("trainer.unsupervised.rule: method ael weights pixels by confidence; leave the key out")
        self._cfg = context.trainer.adaptive
        super().__init__(context)
        self.refuse_proto_head("ael")

    def semi_inputs(self, step: int, batch: StepBatch) -> NamedTuple:
        view = self.student_view(step, batch)
        taught = self.teacher_labels(view.image_l, view.inside_l)
        rng = generator(self.context.trainer.seed, "adaptive sampling", step)
        shape = view.label_l.shape[1:]
        draw_l, draw_u = (Tensor(random_slice(rng, batch.slice, shape).astype(np.float32)) for _ in range(2))
        exponent = self._cfg.gamma2 if self._cfg.sample else 0
        return AELInputs(
            image_l=view.image_l,
            label_l=view.label_l,
            image_u=view.image_u,
            dropout=view.dropout,
            teacher_label_l=taught.label,
            confidence_l=taught.score,
            draw_l=draw_l,
            label_u=view.label_u,
            confidence_u=view.score_u,
            draw_u=draw_u,
            class_probability=Tensor(self.equalizer.confidence.sampling_probabilities(exponent)),
        )

    def semi_objective(self) -> Objective:
        weights = self.linear_weights()
        weights |= {"unsup_labeled": weights["unsup"]}
        # Which pixels count in the other terms, and how much, is decided within a micro-batch.
        return Objective(self.equalized_function, weights, self.equalized_counts, self.class_sums)

    def equalized_counts(self, inputs: AELInputs) -> dict[str, Tensor]:
        """Pixels of the terms that are means over pixels known beforehand."""
        return self.supervised_counts(inputs) | self.ratio_counts(inputs.label_u)

    def equalized_function(self, inputs: Mapping[str, Any]) -> tuple[tuple, tuple]:
        """Fields of ``AELInputs`` -> ((sup, unsup, mask ratio, unsup_labeled), class_confidences).

        unsup_labeled: the student follows the teacher on labelled images too.
        """
        label_l, probability = inputs["label_l"], inputs["class_probability"]
        batch = label_l.shape[0]
        pred, _, aux = self.student.forward(ops.concat((inputs["image_l"], inputs["image_u"]), 0), inputs["dropout"])
        sup = self.supervised_loss(pred[:batch], None if aux is None else aux[:batch], label_l)
        logits = resize(pred, label_l.shape[1:])
        unsup_labeled, _ = self._followed(
            logits[:batch], inputs["teacher_label_l"], inputs["confidence_l"], inputs["draw_l"], probability
        )
        unsup, mask_ratio = self._followed(
            logits[batch:], inputs["label_u"], inputs["confidence_u"], inputs["draw_u"], probability
        )
        return (sup, unsup, mask_ratio, unsup_labeled), self.class_confidences(inputs, pred)

    def reliable(self, step: int, pseudo: PseudoLabels) -> Tensor:
        return ((pseudo.score >= self._cfg.threshold) & labelled(pseudo.label)).astype("float32")

    def refresh_statistics(self, image_l: Tensor, image_u: Tensor) -> None:
        """Nothing is left to do: the teacher labelled in training mode."""

    def _followed(self, logits, label, confidence, draw, class_probability) -> tuple[Tensor, Tensor]:
        """(loss against the teacher's labels, share of the pixels that count)."""
        stays = (draw < pixel_probabilities(ops.stop_gradient(logits), class_probability)).astype("float32")
        stays = stays * labelled(label).astype("float32")  # outside the image nothing has a weight
        label, labels = ops.where(confidence < self._cfg.threshold, BLANK, label), label
        weight = stays * confidence**self._cfg.gamma * pixel_weights(labels, self.class_weights)
        counted = stays * labelled(label).astype("float32")
        return weighted_cross_entropy(logits, label, weight), self.mask_ratio(labels, counted)


def pixel_probabilities(logits: Tensor, class_probability: Tensor) -> Tensor:
    """That of the class which each pixel is predicted as: B x C x H x W logits, C -> B x H x W."""
    return ops.gather(class_probability, ops.argmax(logits, 1), 0)
