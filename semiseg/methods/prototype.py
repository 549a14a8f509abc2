"""``ours``: prototype-based consistency regularization (NeurIPS 2022).

The mean teacher with CutMix, and beside the linear head on all pixels a prototype head on a grid of pixels, both
trained on labelled and unlabelled images alike. Shapes: B images of each kind, H x W crop, P selected pixels an image,
D feature channels, C classes, K prototypes a class.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mindspore import Tensor, jit, ops

from semiseg.common.platform import assign, permuted
from semiseg.losses import cross_entropy
from semiseg.methods.ael.equalizer import ClassConfidences
from semiseg.methods.base import Evaluated, Objective
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.mean_teacher import SemiSupervised
from semiseg.methods.proto_init import from_file, initial_prototypes
from semiseg.methods.sampling import grid_points
from semiseg.models.interpolate import at_points
from semiseg.models.prototypes import ema_prototypes, prototype_sums


class PrototypeInputs(NamedTuple):
    """The mean teacher's inputs, and the selected pixels: the same in all images of the step."""

    image_l: Tensor  # B x 3 x H x W float32
    label_l: Tensor  # B x H x W int32
    image_u: Tensor  # B x 3 x H x W float32, mixed
    label_u: Tensor  # B x H x W int32, pseudo-labels, mixed alike
    mask_u: Tensor  # B x H x W float32, 1 where the pseudo-label counts, else 0
    soft_u: tuple[Tensor, ...]  # B x C x H x W float32, soft targets, mixed alike; () where the labels are the targets
    dropout: tuple[Tensor, ...]  # for each layer 2B x channels x 1 x 1 float32
    neighbours: Tensor  # 4P int32, see interpolate.Points
    weights: Tensor  # 4P x 1 float32
    pixels: Tensor  # P int32, flat indices into H x W


class PrototypeSums(NamedTuple):
    """Selected pixels by the prototype that they belong to."""

    features: Tensor  # C*K x D float32
    counts: Tensor  # C*K float32
    confidences: tuple  # the fields of ClassConfidences, or ()


class PrototypeConsistency(SemiSupervised):
    """The prototype method."""

    soft_targets = True

    def __init__(self, context: RunContext):
        self._head = context.net.proto_head
        super().__init__(context)
        if self._head.init_proto_path:  # now, not after the supervised epochs
            head = self._head
            from_file(head.init_proto_path, self.student.proto_net.proto_list.shape, head.num_micro_proto)
        self._update = jit(self._updated_prototypes) if context.trainer.jit else self._updated_prototypes

    def enter_step(self, step: int) -> list[str]:
        lines = super().enter_step(step)
        if step != self.context.first_semi_step:
            return lines
        group = self.context.group
        if group.first:
            self.student.set_train(False)
            prototypes, notes = initial_prototypes(self.student, self.context)
            self.student.set_train(True)
            self._set_prototypes(Tensor(prototypes))
            lines = [*lines, *notes]
        group.broadcast(network.proto_net.proto_list for network in self.networks.values())
        return lines

    def semi_inputs(self, step: int, batch: StepBatch) -> NamedTuple:
        inputs = super().semi_inputs(step, batch)
        size = inputs.image_l.shape[2:]
        source = self.student.feature_size(*size)
        seed, cells = self.context.trainer.seed, self._head.select_granularity
        points = grid_points(seed, step, size, source, cells)
        at = {"neighbours": points.index, "weights": points.weight, "pixels": points.pixel}
        return PrototypeInputs(**inputs._asdict(), **at)

    def semi_objective(self) -> Objective:
        weights = {"proto_sup": self._head.loss_weight, "proto_unsup": self._head.unsup_loss_weight}
        return Objective(self.prototype_function, self.linear_weights() | weights, self.prototype_counts, PrototypeSums)

    def prototype_function(self, inputs: Mapping[str, Any]) -> tuple[tuple, tuple]:
        """Fields of ``PrototypeInputs`` -> (losses of both heads, fields of ``PrototypeSums``)."""
        images = ops.concat((inputs["image_l"], inputs["image_u"]), 0)
        pred, feature, aux = self.student.forward(images, inputs["dropout"])
        linear = self.linear_losses(inputs, pred, aux)
        rows = at_points(feature, inputs["neighbours"], inputs["weights"])  # 2B x P x D
        rows = rows.reshape(-1, rows.shape[2])
        label_l = _pick(inputs["label_l"], inputs["pixels"]).reshape(-1)
        label_u = _pick(inputs["label_u"], inputs["pixels"]).reshape(-1)
        mask_u = _pick(inputs["mask_u"], inputs["pixels"]).reshape(-1)
        soft_u = tuple(_pick_rows(probability, inputs["pixels"]) for probability in inputs["soft_u"])
        labels = ops.concat((label_l, label_u), 0)
        logits = self.student.proto_net(rows)  # 2B*P x C
        labelled = label_l.shape[0]
        proto_sup = cross_entropy(logits[:labelled], label_l, self.class_weights)
        proto_unsup = self.unsupervised_loss(logits[labelled:], label_u, mask_u, soft_u)
        valid = ops.concat(((label_l < logits.shape[1]).astype("float32"), mask_u), 0) > 0
        sums = prototype_sums(self.student.proto_net, ops.stop_gradient(rows), labels, valid)
        return (*linear, proto_sup, proto_unsup), (*sums, self.class_confidences(inputs, pred))

    def prototype_counts(self, inputs: PrototypeInputs) -> dict[str, Tensor]:
        """Pixels that the terms of ``prototype_function`` are means over."""
        label_u, mask_u = _pick(inputs.label_u, inputs.pixels), _pick(inputs.mask_u, inputs.pixels)
        counts = self.linear_counts(inputs) | self.unsupervised_counts("proto_unsup", label_u, mask_u)
        return counts | {"proto_sup": self.labelled_pixels(_pick(inputs.label_l, inputs.pixels), self.class_weights)}

    def confidences_in(self, sums: PrototypeSums) -> ClassConfidences:
        return ClassConfidences(*sums.confidences)

    def after_update(self, step: int, parts: Sequence[NamedTuple], sums: tuple) -> dict[str, Tensor]:
        measured = super().after_update(step, parts, sums)
        if not self.semi_phase(step):
            return measured
        if self._head.dynamic_update_proto:
            self._set_prototypes(self._update(sums.features, sums.counts))
        return measured | {"proto_counts": sums.counts}

    def evaluated(self, step: int) -> Evaluated:
        return super().evaluated(step)._replace(proto_ready=self.semi_phase(step - 1))

    def _updated_prototypes(self, sums: Tensor, counts: Tensor) -> Tensor:
        return ema_prototypes(self.student.proto_net.proto_list, sums, counts, self._head.proto_update_momentum)

    def _set_prototypes(self, prototypes: Tensor) -> None:
        for network in self.networks.values():
            assign(network.proto_net.proto_list, prototypes)


def _pick(values: Tensor, pixels: Tensor) -> Tensor:
    return ops.gather(values.reshape(values.shape[0], -1), pixels, 1)  # B x P


def _pick_rows(maps: Tensor, pixels: Tensor) -> Tensor:
    picked = ops.gather(maps.reshape(*maps.shape[:2], -1), pixels, 2)  # B x C x P
    return permuted(picked, (0, 2, 1)).reshape(-1, maps.shape[1])  # B*P x C
