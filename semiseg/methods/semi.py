"""What the semi-supervised methods share: a teacher labels the unlabelled images, which are mixed and learnt from.

A step: teacher's pseudo-labels -> mixing -> one forward pass of the student -> supervised and unsupervised loss of the
linear head -> optimizer -> teacher. Subclasses add what is theirs. Shapes: B images of each kind, H x W crop.
"""

from collections.abc import Callable, Sequence

from mindspore import Parameter, Tensor, ops

from semiseg.common.host_array import HostArray
from semiseg.losses import certain_cross_entropy, class_confidences, confident_cross_entropy
from semiseg.methods.ael.adaptive import AdaptiveLabeler, CopyPaste
from semiseg.methods.ael.equalization import ConfidenceBank
from semiseg.methods.base import ImageSource, LabeledImages, Method, Settings, TrainBatch
from semiseg.methods.pseudo import PseudoLabeler, kept_pixels, labels_and_scores
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize


class SemiSupervised(Method):
    """Mean teacher with mixing: complete as it stands, and the base of the methods that add to it."""

    uses_unlabeled = True
    labels_in_training = False  # the teacher labels with BatchNorm in training mode

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        super().__init__(student, teacher, settings)
        trainer, adaptive = settings.trainer, settings.trainer.adaptive
        self._confidence = ConfidenceBank(settings.net.num_classes, adaptive.momentum) if adaptive else None
        self._paste = None
        if adaptive and adaptive.copy_paste:
            self._paste = CopyPaste(adaptive.copy_paste, self._confidence, trainer.seed)
        if adaptive and adaptive.cutmix:
            self._labeler = AdaptiveLabeler(
                teacher, trainer, settings.crop, self._confidence, self.labels_in_training, settings.group
            )
        else:
            self._labeler = PseudoLabeler(teacher, trainer, settings.batch, settings.crop, self.labels_in_training)

    def attach(self, unlabeled: ImageSource, pasted: ImageSource) -> None:
        if isinstance(self._labeler, AdaptiveLabeler):
            self._labeler.attach(unlabeled, self.settings.net.num_classes)
        if self._paste:
            self._paste.attach(pasted)

    def enter_step(self, step: int, labeled_images: LabeledImages) -> list[str]:
        if step == self.settings.first_semi_step:
            if self.settings.trainer.teacher_start == "semi_phase":
                self._ema.copy()
            elif self.settings.trainer.teacher_bn == "forward":
                self._ema.copy_statistics()  # none were taken yet: the teacher's own forwards begin with this step
        return []

    def prepare(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None, part: int = 0) -> tuple:
        """(image_l, label_l, image_u mixed, label_u, kept_u, dropout masks) in the semi-supervised phase."""
        if not self.semi_phase(step):
            return super().prepare(step, labeled, unlabeled, part)
        image_l, label_l, image_u, label_u, score, masks = self.mixed(step, labeled, unlabeled, part)
        kept_u = kept_pixels(score, label_u, self.settings.trainer.unsupervised, self.kept_percent(step))
        return image_l, label_l, image_u, label_u, kept_u, masks

    def mixed(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch, part: int) -> tuple:
        """Both kinds of images as the student sees them: (image_l, label_l, image_u, label_u, score of label_u, dropout
        masks).
        """
        images, labels, rows = labeled.images, labeled.labels, self.settings.rows(part)
        if self._paste:
            images, labels = self._paste(step, images, labels, rows)
        pseudo = self._labeler(step, unlabeled.images, unlabeled.ids, rows)
        return (Tensor(images), Tensor(labels), *pseudo, self._dropout(step, part, kinds=2))

    def objective(self, step: int) -> tuple[Callable, dict[str, float]]:
        if not self.semi_phase(step):
            return super().objective(step)
        return self.consistency_objective, self.linear_weights()

    def linear_weights(self) -> dict[str, float]:
        """Names and weights of what ``linear_losses`` returns."""
        return {"sup": 1.0, "unsup": self.settings.trainer.unsupervised.loss_weight, "kept": 0.0}

    def counts(self, step: int, inputs: tuple) -> dict[str, Tensor]:
        """The base's, and those of ``linear_losses`` where ``inputs`` begins as this class's ``prepare`` does."""
        counts = super().counts(step, inputs)
        if self.semi_phase(step):
            counts |= self.unsupervised_count("unsup", *inputs[3:5])
        return counts

    def unsupervised_count(self, name: str, labels: Tensor, kept: Tensor) -> dict[str, Tensor]:
        """What ``unsupervised_loss`` divides by, as ``name``; nothing where the rule chooses pixels within a part."""
        unsup = self.settings.trainer.unsupervised
        if unsup.rule == "entropy":
            return {}
        return {name: self._labelled(labels) if unsup.normalize == "all" else kept.sum()}

    def consistency_objective(self, image_l, label_l, image_u, label_u, kept_u, masks) -> tuple[tuple, tuple]:
        """The linear head on both kinds of images. Tensors as in ``prepare``; returns (terms, changes).

        ``changes`` of every semi-supervised objective: (the method's own, ``confidences``).
        """
        pred, _, aux = self.student.forward(ops.concat((image_l, image_u), 0), masks)
        return self.linear_losses(pred, aux, label_l, label_u, kept_u), ((), self.confidences(pred, label_l))

    def confidences(self, pred: Tensor, label_l: Tensor) -> tuple:
        """What the confidence bank takes in: (sums C, counts C) of the labelled images' logits; () without a bank."""
        if self._confidence is None:
            return ()
        probability = ops.softmax(resize(ops.stop_gradient(pred[: label_l.shape[0]]), label_l.shape[1:]), 1)
        return class_confidences(probability, label_l)

    def linear_losses(self, pred, aux, label_l, label_u, kept_u) -> tuple[Tensor, Tensor, Tensor]:
        """(supervised loss, unsupervised loss, share of kept pixels) of the student's logits on both kinds.

        Args:
            pred: 2B x C x h x w, labelled images first. aux: the auxiliary head's logits or None.
            label_l: B x H x W. label_u, kept_u: B x H x W, pseudo-label and whether the pixel counts (0 or 1).
        """
        batch = label_l.shape[0]
        sup = self.supervised_loss(pred[:batch], None if aux is None else aux[:batch], label_l)
        unsup = self.unsupervised_loss(resize(pred[batch:], label_u.shape[1:]), label_u, kept_u)
        return sup, unsup, kept_u.mean()

    def unsupervised_loss(self, logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
        """Cross entropy with pseudo-labels, normalised as the configured rule says."""
        unsup = self.settings.trainer.unsupervised
        if unsup.rule == "entropy":
            return certain_cross_entropy(logits, labels, kept)
        return confident_cross_entropy(logits, labels, kept, unsup.normalize == "all")

    def after_update(self, step: int, parts: Sequence[tuple], changes: tuple) -> None:
        if self._confidence and self.semi_phase(step):
            self._confidence.update(*(item.asnumpy() for item in changes[1]))
        if self.settings.trainer.teacher_bn == "forward" and self.semi_phase(step):
            for inputs in parts:
                self.refresh_statistics(inputs[0], inputs[2])
        super().after_update(step, parts, changes)

    def refresh_statistics(self, image_l: Tensor, image_u: Tensor) -> None:
        """A forward pass of the teacher in training mode, for its BatchNorm statistics alone."""
        self.teacher.set_train(True)
        self.teacher.logits(ops.concat((image_l, image_u), 0))
        self.teacher.set_train(False)

    def eval_network(self, step: int) -> SegmentationNetwork:
        return self.teacher if self.semi_phase(step - 1) else self.student

    def pseudo_labels(self, step: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        cfg = self.settings.trainer.unsupervised
        label, score = labels_and_scores(logits, cfg.rule)
        return label, kept_pixels(score, label, cfg, self.kept_percent(step))

    def state(self) -> dict[str, Parameter | HostArray]:
        return super().state() | self._labeler.state() | (self._confidence.state() if self._confidence else {})

    def own_state(self) -> set[str]:
        return self._labeler.own_state()

    def kept_percent(self, step: int) -> float:
        """Rule entropy keeps so many percent of the pixels: drop_percent, rising linearly with the epochs to 100."""
        start = self.settings.trainer.unsupervised.drop_percent
        return start + (100 - start) * self.settings.epoch(step) / self.settings.trainer.epochs
