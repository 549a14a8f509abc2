"""What the semi-supervised methods share: a teacher labels the unlabelled images, which are mixed and learnt from.

A step: teacher's pseudo-labels -> mixing -> one forward pass of the student -> supervised and unsupervised loss of the
linear head -> optimizer -> teacher. Subclasses add what is theirs. Shapes: B images of each kind, H x W crop.
"""

from collections.abc import Callable

from mindspore import Parameter, Tensor, ops

from semiseg.losses import certain_cross_entropy, confident_cross_entropy
from semiseg.methods.base import LabeledImages, Method, Settings, TrainBatch
from semiseg.methods.pseudo import PseudoLabeler, confidence_of, entropy_of, kept_pixels
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize


class SemiSupervised(Method):
    """Mean teacher with mixing: complete as it stands, and the base of the methods that add to it."""

    uses_unlabeled = True

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        super().__init__(student, teacher, settings)
        self._labeler = PseudoLabeler(teacher, settings.trainer, settings.batch, settings.crop)

    def enter_step(self, step: int, labeled_images: LabeledImages) -> list[str]:
        if step == self.settings.first_semi_step:
            if self.settings.trainer.teacher_start == "semi_phase":
                self._ema.copy()
            elif self.settings.trainer.teacher_bn == "forward":
                self._ema.copy_statistics()  # none were taken yet: the teacher's own forwards begin with this step
        return []

    def prepare(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None) -> tuple:
        """(image_l, label_l, image_u mixed, label_u, kept_u, dropout masks) in the semi-supervised phase."""
        if not self.semi_phase(step):
            return super().prepare(step, labeled, unlabeled)
        image_l, label_l, image_u, label_u, score, masks = self.mixed(step, labeled, unlabeled)
        kept_u = kept_pixels(score, label_u, self.settings.trainer.unsupervised, self.kept_percent(step))
        return image_l, label_l, image_u, label_u, kept_u, masks

    def mixed(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch) -> tuple:
        """Both kinds of images as the student sees them: (image_l, label_l, image_u, label_u, score of label_u, dropout
        masks).
        """
        pseudo = self._labeler(step, unlabeled.images)
        masks = self._dropout(step, len(labeled.images) + len(unlabeled.images))
        return (Tensor(labeled.images), Tensor(labeled.labels), *pseudo, masks)

    def objective(self, step: int) -> tuple[Callable, tuple[str, ...]]:
        if not self.semi_phase(step):
            return super().objective(step)
        return self.consistency_objective, ("sup", "unsup", "kept")

    def consistency_objective(self, image_l, label_l, image_u, label_u, kept_u, masks) -> tuple[Tensor, tuple]:
        """The linear head on both kinds of images. Tensors as in ``prepare``; returns (loss, (terms, ()))."""
        pred, _, aux = self.student.forward(ops.concat((image_l, image_u), 0), masks)
        loss, terms = self.linear_losses(pred, aux, label_l, label_u, kept_u)
        return loss, (terms, ())

    def linear_losses(self, pred, aux, label_l, label_u, kept_u) -> tuple[Tensor, tuple]:
        """(weighted loss, (supervised, unsupervised, share of kept pixels)) of the student's logits on both kinds.

        Args:
            pred: 2B x C x h x w, labelled images first. aux: the auxiliary head's logits or None.
            label_l: B x H x W. label_u, kept_u: B x H x W, pseudo-label and whether the pixel counts (0 or 1).
        """
        batch = label_l.shape[0]
        sup = self.supervised_loss(pred[:batch], None if aux is None else aux[:batch], label_l)
        unsup = self.unsupervised_loss(resize(pred[batch:], label_u.shape[1:]), label_u, kept_u)
        loss = sup + self.settings.trainer.unsupervised.loss_weight * unsup
        return loss, (sup, unsup, kept_u.mean())

    def unsupervised_loss(self, logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
        """Cross entropy with pseudo-labels, normalised as the configured rule says."""
        unsup = self.settings.trainer.unsupervised
        if unsup.rule == "entropy":
            return certain_cross_entropy(logits, labels, kept)
        return confident_cross_entropy(logits, labels, kept, unsup.normalize == "all")

    def after_update(self, step: int, inputs: tuple, changes: tuple) -> None:
        if self.settings.trainer.teacher_bn == "forward" and self.semi_phase(step):
            self.refresh_statistics(inputs[0], inputs[2])
        super().after_update(step, inputs, changes)

    def refresh_statistics(self, image_l: Tensor, image_u: Tensor) -> None:
        """A forward pass of the teacher in training mode, for its BatchNorm statistics alone."""
        self.teacher.set_train(True)
        self.teacher.logits(ops.concat((image_l, image_u), 0))
        self.teacher.set_train(False)

    def eval_network(self, step: int) -> SegmentationNetwork:
        return self.teacher if self.semi_phase(step - 1) else self.student

    def pseudo_labels(self, step: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        cfg, label = self.settings.trainer.unsupervised, ops.argmax(logits, 1).astype("int32")
        score = confidence_of(logits) if cfg.rule == "confidence" else entropy_of(logits)
        return label, kept_pixels(score, label, cfg, self.kept_percent(step))

    def state(self) -> dict[str, Parameter]:
        return super().state() | self._labeler.state()

    def kept_percent(self, step: int) -> float:
        """Rule entropy keeps so many percent of the pixels: drop_percent, rising linearly with the epochs to 100."""
        start = self.settings.trainer.unsupervised.drop_percent
        return start + (100 - start) * self.settings.epoch(step) / self.settings.trainer.epochs
