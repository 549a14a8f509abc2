"""``mean_teacher``: the CutMix mean teacher, and what every method with a teacher's pseudo-labels shares.

A step: the teacher labels the unlabelled images -> mixing -> one forward pass of the student -> supervised and
unsupervised loss of the linear head -> optimizer -> teacher. Subclasses add what is theirs.
Shapes: B images of each kind, H x W crop, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from mindspore import Parameter, Tensor, mutable, ops

from semiseg.common.errors import ConfigError
from semiseg.common.host_array import HostArray
from semiseg.config.keys import TrainerConfig
from semiseg.losses import certain_cross_entropy, confident_cross_entropy, pixel_weights
from semiseg.methods.ael.equalizer import ClassConfidences, Equalizer
from semiseg.methods.base import Evaluated, Objective
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.mixing import make_mixer
from semiseg.methods.pseudo_labels import (
    BLANK,
    PseudoLabels,
    blanked,
    labelled,
    labels_and_scores,
    reliable_pixels,
)
from semiseg.methods.teacher import TeacherLabels, WithTeacher
from semiseg.models.interpolate import resize


class StudentView(NamedTuple):
    """The images of a micro-batch as the student sees them, with the teacher's word on the unlabelled ones."""

    image_l: Tensor  # B x 3 x H x W float32
    label_l: Tensor  # B x H x W int32
    image_u: Tensor  # B x 3 x H x W float32, mixed
    weak_u: Tensor  # B x 3 x H x W float32, the same without photometric distortion; image_u where there is none
    label_u: Tensor  # B x H x W int32, pseudo-labels, mixed alike
    score_u: Tensor  # B x H x W float32, their confidence or entropy, mixed alike
    soft_u: tuple[Tensor, ...]  # B x C x H x W float32, soft targets, mixed alike; () where the labels are the targets
    dropout: tuple[Tensor, ...]  # for each layer 2B x channels x 1 x 1 float32
    inside_l: np.ndarray | None  # bool B x H x W, False in the padding; None where padding counts as image


class MeanTeacherInputs(NamedTuple):
    """Labelled images, and unlabelled ones with pseudo-labels."""

    image_l: Tensor  # B x 3 x H x W float32
    label_l: Tensor  # B x H x W int32
    image_u: Tensor  # B x 3 x H x W float32, mixed
    label_u: Tensor  # B x H x W int32, pseudo-labels, mixed alike
    mask_u: Tensor  # B x H x W float32, 1 where the pseudo-label counts, else 0
    soft_u: tuple[Tensor, ...]  # B x C x H x W float32, soft targets, mixed alike; () where the labels are the targets
    dropout: tuple[Tensor, ...]  # for each layer 2B x channels x 1 x 1 float32


class SemiSupervised(WithTeacher):
    """Mean teacher with mixing: complete as it stands, and the base of the methods that add to it."""

    uses_unlabeled = teacher_labels_images = True
    strong_views = 1
    labels_in_training = False  # with teacher_bn forward: the teacher labels with BatchNorm in training mode
    soft_targets = False  # whether it reads trainer.unsupervised.targets

    def __init__(self, context: RunContext):
        super().__init__(context)
        if context.strong and self.teacher.by_forward:
            raise ConfigError(
                "trainer.teacher_bn: with forward the teacher's statistics would be those of strong views; take ema, "
                "or set dataset.train.strong to null"
            )
        unsup = context.trainer.unsupervised
        self._soft = soft = self.soft_targets and unsup.rule == "confidence" and unsup.targets == "soft"
        # The teacher's probabilities hold the weights that it was trained with.
        self.pseudo_label_weights = None if soft else self.class_weights
        self.teacher_labels = TeacherLabels(self.teacher, context, self.labels_in_training, soft)
        # AEL's samplers (trainer.adaptive), which any of these methods can use.
        self.equalizer = Equalizer(context, self.teacher_labels) if context.trainer.adaptive else None
        self.mixer = (self.equalizer and self.equalizer.mixer) or make_mixer(context, soft)

    def enter_step(self, step: int) -> list[str]:
        if step == self.context.first_semi_step:
            self.teacher.enter_semi_phase()
        return super().enter_step(step)

    def student_view(self, step: int, batch: StepBatch) -> StudentView:
        """Copy-paste, pseudo-labels and mixing, in this order."""
        labeled = self.equalizer.paste(step, batch) if self.equalizer else batch.labeled
        pseudo = self.teacher_labels(batch.unlabeled.images, batch.unlabeled.inside)
        if self.context.strong:
            pseudo = pseudo._replace(strong=Tensor(batch.unlabeled.strong[:, 0]))
        weak_u, label_u, score_u, strong_u, probability = self.mixer(step, pseudo, batch)
        return StudentView(
            image_l=Tensor(labeled.images),
            label_l=Tensor(labeled.labels),
            image_u=weak_u if strong_u is None else strong_u,
            weak_u=weak_u,
            label_u=label_u,
            score_u=score_u,
            soft_u=() if probability is None else mutable((probability,)),
            dropout=self.dropout(step, batch, kinds=2),
            inside_l=labeled.inside,
        )

    def semi_inputs(self, step: int, batch: StepBatch) -> NamedTuple:
        view = self.student_view(step, batch)
        return self.linear_inputs(step, view, view.score_u)

    def linear_inputs(self, step: int, view: StudentView, score_u: Tensor) -> MeanTeacherInputs:
        """What the linear head's losses need; ``score_u`` (B x H x W) says which pseudo-labels count."""
        mask_u = self.reliable(step, PseudoLabels(view.image_u, view.label_u, score_u))
        return MeanTeacherInputs(
            image_l=view.image_l,
            label_l=view.label_l,
            image_u=view.image_u,
            label_u=view.label_u,
            mask_u=mask_u,
            soft_u=view.soft_u,
            dropout=view.dropout,
        )

    def semi_objective(self) -> Objective:
        return Objective(self.consistency_function, self.linear_weights(), self.linear_counts, self.class_sums)

    def consistency_function(self, inputs: Mapping[str, Any]) -> tuple[tuple, tuple]:
        """Fields of ``MeanTeacherInputs`` -> (linear_losses, class_confidences)."""
        pred, _, aux = self.student.forward(ops.concat((inputs["image_l"], inputs["image_u"]), 0), inputs["dropout"])
        return self.linear_losses(inputs, pred, aux), self.class_confidences(inputs, pred)

    def after_update(self, step: int, parts: Sequence[NamedTuple], sums: tuple) -> dict[str, Tensor]:
        if self.semi_phase(step):
            self.mixer.after_update(step)
            if self.equalizer:
                self.equalizer.update(self.confidences_in(sums))
            if self.teacher.by_forward:
                for inputs in parts:
                    self.refresh_statistics(inputs.image_l, inputs.image_u)
        measured = super().after_update(step, parts, sums)
        if self.semi_phase(step):
            self.teacher.share_statistics()
        return measured

    def evaluated(self, step: int) -> Evaluated:
        # Before that the teacher has no statistics of its own yet, or will be a copy of the student.
        begun = self.semi_phase(step - 1) or not (self.teacher.restarts or self.teacher.by_forward)
        return Evaluated(self.teacher.network, "teacher") if begun else Evaluated(self.student)

    def state(self) -> dict[str, Parameter | HostArray]:
        return super().state() | self.mixer.state() | (self.equalizer.state() if self.equalizer else {})

    def pseudo_labels(
        self, step: int, images: Tensor, inside: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor] | None:
        if not self.semi_phase(step):
            return None
        logits = resize(self.teacher.network.logits(images), images.shape[2:])
        label, score = labels_and_scores(logits, self.context.trainer.unsupervised.rule)
        label = blanked(label, inside)
        return label, self.reliable(step, PseudoLabels(images, label, score))

    @classmethod
    def kinds_in_smallest_pass(cls, trainer: TrainerConfig) -> int:
        return 1 if cls.labels_in_training and trainer.teacher_bn == "forward" else 2

    # What subclasses use and change.

    def linear_weights(self) -> dict[str, float]:
        """Names and weights of what ``linear_losses`` gives. Mask ratio: share of pixels whose pseudo-label counts."""
        return {"sup": 1.0, "unsup": self.context.trainer.unsupervised.loss_weight, "mask_ratio": 0.0}

    def linear_counts(self, inputs: Any) -> dict[str, Tensor]:
        """Pixels that ``linear_losses`` are means over."""
        counts = self.supervised_counts(inputs) | self.unsupervised_counts("unsup", inputs.label_u, inputs.mask_u)
        return counts | self.ratio_counts(inputs.label_u)

    def ratio_counts(self, labels: Tensor) -> dict[str, Tensor]:
        """What ``mask_ratio`` is a share of, where padding is left out: pixels with a pseudo-label."""
        return {"mask_ratio": (labels != BLANK).astype("float32").sum()} if self.context.mask_padding else {}

    def unsupervised_counts(self, name: str, labels: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """What ``unsupervised_loss`` divides by, as ``name``; nothing where the rule chooses pixels within a part."""
        unsup = self.context.trainer.unsupervised
        if unsup.rule == "entropy":
            return {}
        if self._soft or unsup.normalize == "all":
            return {name: self.labelled_pixels(labels, self.pseudo_label_weights)}
        return {name: (mask * pixel_weights(labels, self.pseudo_label_weights)).sum()}

    def linear_losses(self, inputs: Mapping[str, Any], pred: Tensor, aux: Tensor | None) -> tuple:
        """(supervised loss, unsupervised loss, mask ratio) of the student's logits on both kinds.

        Args:
            inputs: ``label_l``, ``label_u``, ``mask_u`` and ``soft_u`` are read. pred: 2B x C x h x w, labelled images
                first. aux: the auxiliary head's logits or None.
        """
        label_l, label_u, mask_u = inputs["label_l"], inputs["label_u"], inputs["mask_u"]
        batch = label_l.shape[0]
        sup = self.supervised_loss(pred[:batch], None if aux is None else aux[:batch], label_l)
        logits_u = resize(pred[batch:], label_u.shape[1:])
        unsup = self.unsupervised_loss(logits_u, label_u, mask_u, inputs["soft_u"])
        return sup, unsup, self.mask_ratio(label_u, mask_u)

    def mask_ratio(self, labels: Tensor, mask: Tensor) -> Tensor:
        """The share of pixels whose pseudo-label counts; padding that is left out is no pixel."""
        if not self.context.mask_padding:
            return mask.mean()
        return mask.sum() / ops.maximum((labels != BLANK).astype("float32").sum(), 1.0)

    def unsupervised_loss(self, logits: Tensor, labels: Tensor, mask: Tensor, soft: tuple[Tensor, ...]) -> Tensor:
        """Cross entropy with pseudo-labels where ``mask`` is 1, normalised as the configured rule says.

        Args:
            logits: B x C x H x W or N x C. labels, mask: B x H x W or N. soft: the soft targets, as logits; or ().
        """
        unsup = self.context.trainer.unsupervised
        if unsup.rule == "entropy":
            inside = labels != BLANK if self.context.mask_padding else None
            return certain_cross_entropy(logits, labels, mask, inside, self.class_weights)
        weights, targets = self.pseudo_label_weights, soft[0] if soft else None
        over_all = self._soft or unsup.normalize == "all"
        return confident_cross_entropy(logits, labels, mask, over_all, weights, targets)

    def class_confidences(self, inputs: Mapping[str, Any], pred: Tensor) -> tuple:
        """The fields of ``ClassConfidences`` where AEL's samplers want them, else ()."""
        return () if self.equalizer is None else self.equalizer.labelled_confidences(pred, inputs["label_l"])

    @property
    def class_sums(self) -> type[NamedTuple] | None:
        """What ``class_confidences`` are."""
        return ClassConfidences if self.equalizer else None

    def confidences_in(self, sums: tuple) -> ClassConfidences:
        """The class confidences among the objective's sums."""
        return sums

    def refresh_statistics(self, image_l: Tensor, image_u: Tensor) -> None:
        """A forward pass of the teacher in training mode, for its BatchNorm statistics alone."""
        with self.teacher.running(training=True) as network:
            network.logits(ops.concat((image_l, image_u), 0))

    def reliable(self, step: int, pseudo: PseudoLabels) -> Tensor:
        """float32 B x H x W, 1 where a pseudo-label counts at this step."""
        if self._soft:  # a probability says by itself how sure it is
            return labelled(pseudo.label).astype("float32")
        unsup = self.context.trainer.unsupervised
        return reliable_pixels(pseudo.score, pseudo.label, unsup, self.entropy_percent(step))

    def entropy_percent(self, step: int) -> float:
        """Percent of the pixels that count by rule entropy: drop_percent, rising linearly with the epochs to 100."""
        start = self.context.trainer.unsupervised.drop_percent
        return start + (100 - start) * self.context.epoch(step) / self.context.trainer.epochs


class MeanTeacher(SemiSupervised):
    """The method by itself: what ``ours`` is without its prototype head."""

    soft_targets = True

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.refuse_proto_head("mean_teacher")
