"""``ours``: prototype-based consistency regularization (NeurIPS 2022).

The mean teacher with CutMix, and beside the linear head on all pixels a prototype head on a grid of pixels, both
trained on labelled and unlabelled images alike. Shapes: B images of each kind, H x W crop, P selected pixels an image,
D feature channels, C classes, K prototypes a class.
"""

from collections.abc import Callable, Sequence

import numpy as np
from mindspore import Tensor, jit, ops

from semiseg.losses import cross_entropy
from semiseg.methods.base import LabeledImages, Settings, TrainBatch
from semiseg.methods.proto_init import from_file, initial_prototypes
from semiseg.methods.sampling import grid_points
from semiseg.methods.semi import SemiSupervised
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import at_points
from semiseg.models.prototypes import moved, prototype_sums

_assign = ops.Assign()


class PrototypeConsistency(SemiSupervised):
    """The prototype method."""

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        self._head, self._counts = settings.net.proto_head, None
        super().__init__(student, teacher, settings)
        if self._head.init_proto_path:  # now, not after the supervised epochs
            from_file(self._head.init_proto_path, student.proto_net.proto_list.shape)
        self._update = jit(self._updated_prototypes) if settings.trainer.jit else self._updated_prototypes

    def enter_step(self, step: int, labeled_images: LabeledImages) -> list[str]:
        notes = super().enter_step(step, labeled_images)
        if step != self.settings.first_semi_step:
            return notes
        if self.settings.group.first:
            self.student.set_train(False)
            rows, found = initial_prototypes(self.student, self.settings, labeled_images)
            self.student.set_train(True)
            self._set_prototypes(Tensor(rows))
            notes = [*notes, *found]
        self.settings.group.broadcast((self.student.proto_net.proto_list, self.teacher.proto_net.proto_list))
        return notes

    def prepare(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None, part: int = 0) -> tuple:
        """As the base's, then the selected pixels (``interpolate.Points``), the same in all images of the step."""
        inputs = super().prepare(step, labeled, unlabeled, part)
        if not self.semi_phase(step):
            return inputs
        size = labeled.images.shape[2:]
        source = self.student.feature_size(*size)
        return (*inputs, *grid_points(self.settings.trainer.seed, step, size, source, self._head.select_granularity))

    def objective(self, step: int) -> tuple[Callable, dict[str, float]]:
        if not self.semi_phase(step):
            return super().objective(step)
        weights = {"proto_sup": self._head.loss_weight, "proto_unsup": self._head.unsup_loss_weight}
        return self.prototype_objective, self.linear_weights() | weights

    def counts(self, step: int, inputs: tuple) -> dict[str, Tensor]:
        counts = super().counts(step, inputs)
        if self.semi_phase(step):
            label_l, label_u, kept_u = (_pick(inputs[i], inputs[8]) for i in (1, 3, 4))
            counts |= {"proto_sup": self._labelled(label_l)} | self.unsupervised_count("proto_unsup", label_u, kept_u)
        return counts

    def prototype_objective(
        self, image_l, label_l, image_u, label_u, kept_u, masks, index, weight, pixel
    ) -> tuple[tuple, tuple]:
        """Both heads. Own changes: (prototype sums C*K x D, counts C*K)."""
        pred, feature, aux = self.student.forward(ops.concat((image_l, image_u), 0), masks)
        terms = self.linear_losses(pred, aux, label_l, label_u, kept_u)
        rows = at_points(feature, index, weight)  # 2B x P x D
        labels = ops.concat((_pick(label_l, pixel), _pick(label_u, pixel)), 0).reshape(-1)
        kept = _pick(kept_u, pixel).reshape(-1)
        rows = rows.reshape(-1, rows.shape[2])
        logits = self.student.proto_net(rows)  # 2B*P x C
        labelled = label_l.shape[0] * pixel.shape[0]
        proto_sup = cross_entropy(logits[:labelled], labels[:labelled])
        proto_unsup = self.unsupervised_loss(logits[labelled:], labels[labelled:], kept)
        valid = ops.concat(((labels[:labelled] < logits.shape[1]).astype("float32"), kept), 0) > 0
        changes = prototype_sums(self.student.proto_net, ops.stop_gradient(rows), labels, valid)
        return (*terms, proto_sup, proto_unsup), (changes, self.confidences(pred, label_l))

    def after_update(self, step: int, parts: Sequence[tuple], changes: tuple) -> None:
        if self.semi_phase(step):
            self._counts = changes[0][1]
            if self._head.dynamic_update_proto:
                self._set_prototypes(self._update(*changes[0]))
        super().after_update(step, parts, changes)

    def monitor(self) -> dict[str, np.ndarray]:
        return {} if self._counts is None else {"proto_counts": self._counts.asnumpy().astype(int)}

    def proto_ready(self, step: int) -> bool:
        return self.semi_phase(step - 1)

    def _updated_prototypes(self, sums: Tensor, counts: Tensor) -> Tensor:
        return moved(self.student.proto_net.proto_list, sums, counts, self._head.proto_update_momentum)

    def _set_prototypes(self, rows: Tensor) -> None:
        _assign(self.student.proto_net.proto_list, rows)
        _assign(self.teacher.proto_net.proto_list, rows)


def _pick(values: Tensor, pixel: Tensor) -> Tensor:
    return ops.gather(values.reshape(values.shape[0], -1), pixel, 1)  # B x P
