"""``ours``: prototype-based consistency regularization (NeurIPS 2022), with or without its prototype head.

Teacher pseudo-labels on unlabelled images, CutMix, a linear head on all pixels and a prototype head on a grid of
pixels, both trained on labelled and unlabelled images alike. With ``net.proto_head: null`` the same file is the CutMix
mean teacher. Shapes: B images of each kind, H x W crop, P selected pixels an image, D feature channels.
"""

from collections.abc import Callable

from mindspore import Parameter, Tensor, jit, ops

from semiseg.losses import certain_cross_entropy, confident_cross_entropy, cross_entropy
from semiseg.methods.base import LabeledImages, Method, Settings, TrainBatch
from semiseg.methods.draws import grid_points
from semiseg.methods.proto_init import from_file, initial_prototypes
from semiseg.methods.pseudo import PseudoLabeler
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import at_points, resize
from semiseg.models.prototypes import moved, prototype_sums

_assign = ops.Assign()


class PrototypeConsistency(Method):
    """The prototype method."""

    uses_unlabeled = True

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        super().__init__(student, teacher, settings)
        trainer = settings.trainer
        self._labeler = PseudoLabeler(teacher, trainer, settings.batch, settings.crop)
        self._head = settings.net.proto_head
        if self._head and self._head.init_proto_path:  # now, not after the supervised epochs
            from_file(self._head.init_proto_path, student.proto_net.proto_list.shape)
        self._update = jit(self._updated_prototypes) if trainer.jit else self._updated_prototypes

    def enter_step(self, step: int, labeled_images: LabeledImages) -> list[str]:
        if step != self.settings.first_semi_step:
            return []
        if self.settings.trainer.teacher_start == "semi_phase":
            self._ema.copy()
        elif self.settings.trainer.teacher_bn == "forward":
            self._ema.copy_statistics()  # none were taken yet: the teacher's own forwards begin with this step
        if self._head is None:
            return []
        self.student.set_train(False)
        rows, notes = initial_prototypes(self.student, self.settings, labeled_images)
        self.student.set_train(True)
        self._set_prototypes(Tensor(rows))
        return notes

    def prepare(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None) -> tuple:
        if not self.semi_phase(step):
            return super().prepare(step, labeled, unlabeled)
        pseudo = self._labeler(step, unlabeled.images, self._kept_percent(step))
        masks = self._dropout(step, len(labeled.images) + len(unlabeled.images))
        inputs = (Tensor(labeled.images), Tensor(labeled.labels), *pseudo, masks)
        if self._head is None:
            return inputs
        size = labeled.images.shape[2:]
        source = self.student.feature_size(*size)
        return (*inputs, *grid_points(self.settings.trainer.seed, step, size, source, self._head.select_granularity))

    def objective(self, step: int) -> tuple[Callable, tuple[str, ...]]:
        if not self.semi_phase(step):
            return super().objective(step)
        if self._head is None:
            return self.consistency_objective, ("sup", "unsup", "kept")
        return self.prototype_objective, ("sup", "unsup", "kept", "proto_sup", "proto_unsup")

    def consistency_objective(self, image_l, label_l, image_u, label_u, kept_u, masks) -> tuple[Tensor, tuple]:
        """Linear head only. Tensors as in ``prepare``; returns (loss, (terms, ()))."""
        loss, terms, _ = self._linear_losses(image_l, label_l, image_u, label_u, kept_u, masks)
        return loss, (terms, ())

    def prototype_objective(
        self, image_l, label_l, image_u, label_u, kept_u, masks, index, weight, pixel
    ) -> tuple[Tensor, tuple]:
        """Both heads. Returns (loss, (terms, (prototype sums C*K x D, counts C*K)))."""
        loss, terms, feature = self._linear_losses(image_l, label_l, image_u, label_u, kept_u, masks)
        batch = label_l.shape[0]
        rows = at_points(feature, index, weight)  # 2B x P x D
        labels = ops.concat((self._pick(label_l, pixel), self._pick(label_u, pixel)), 0).reshape(-1)
        kept = self._pick(kept_u, pixel).reshape(-1)
        rows = rows.reshape(-1, rows.shape[2])
        logits = self.student.proto_net(rows)  # 2B*P x C
        labelled = batch * pixel.shape[0]
        proto_sup = cross_entropy(logits[:labelled], labels[:labelled])
        proto_unsup = self._unsupervised(logits[labelled:], labels[labelled:], kept)
        loss = loss + self._head.loss_weight * proto_sup + self._head.unsup_loss_weight * proto_unsup
        valid = ops.concat(((labels[:labelled] < logits.shape[1]).astype("float32"), kept), 0) > 0
        changes = prototype_sums(self.student.proto_net, ops.stop_gradient(rows), labels, valid)
        return loss, ((*terms, proto_sup, proto_unsup), changes)

    def after_update(self, step: int, inputs: tuple, changes: tuple) -> None:
        if changes and self._head.dynamic_update_proto:
            self._set_prototypes(self._update(*changes))
        if self.settings.trainer.teacher_bn == "forward" and self.semi_phase(step):
            self.teacher.set_train(True)
            self.teacher.logits(ops.concat((inputs[0], inputs[2]), 0))
            self.teacher.set_train(False)
        super().after_update(step, inputs, changes)

    def eval_network(self, step: int) -> SegmentationNetwork:
        return self.teacher if self.semi_phase(step - 1) else self.student

    def proto_ready(self, step: int) -> bool:
        return self.semi_phase(step - 1)

    def state(self) -> dict[str, Parameter]:
        return super().state() | self._labeler.state()

    def _linear_losses(self, image_l, label_l, image_u, label_u, kept_u, masks) -> tuple[Tensor, tuple, Tensor]:
        batch = image_l.shape[0]
        pred, feature, aux = self.student.forward(ops.concat((image_l, image_u), 0), masks)
        sup = self.supervised_loss(pred[:batch], None if aux is None else aux[:batch], label_l)
        unsup = self._unsupervised(resize(pred[batch:], label_u.shape[1:]), label_u, kept_u)
        loss = sup + self.settings.trainer.unsupervised.loss_weight * unsup
        return loss, (sup, unsup, kept_u.mean()), feature

    def _unsupervised(self, logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
        unsup = self.settings.trainer.unsupervised
        if unsup.rule == "entropy":
            return certain_cross_entropy(logits, labels, kept)
        return confident_cross_entropy(logits, labels, kept, unsup.normalize == "all")

    def _pick(self, values: Tensor, pixel: Tensor) -> Tensor:
        return ops.gather(values.reshape(values.shape[0], -1), pixel, 1)  # B x P

    def _updated_prototypes(self, sums: Tensor, counts: Tensor) -> Tensor:
        return moved(self.student.proto_net.proto_list, sums, counts, self._head.proto_update_momentum)

    def _set_prototypes(self, rows: Tensor) -> None:
        _assign(self.student.proto_net.proto_list, rows)
        _assign(self.teacher.proto_net.proto_list, rows)

    def _kept_percent(self, step: int) -> float:
        """U2PL: drop_percent at the start, rising linearly with the epochs to 100."""
        epoch = step // self.settings.steps_per_epoch
        start = self.settings.trainer.unsupervised.drop_percent
        return start + (100 - start) * epoch / self.settings.trainer.epochs
