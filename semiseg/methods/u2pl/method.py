"""``u2pl``: semi-supervised segmentation with unreliable pseudo-labels (U2PL, CVPR 2022).

The mean teacher keeps the most certain pixels for its pseudo-labels. The uncertain rest is not thrown away: a pixel
that is unlikely to be of a class serves as a negative of that class in a contrastive loss on a representation head.
Shapes: B images of each kind, H x W crop, h x w the decoder's size, M = 2B * h * w, C classes, D channels of a
representation, Q anchors (queries) a class, N negatives an anchor.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from mindspore import Parameter, Tensor, jit, ops

from semiseg.common.errors import ConfigError
from semiseg.common.host_array import HostArray
from semiseg.common.platform import numpy_of, permuted
from semiseg.common.rng import generator
from semiseg.methods.base import Objective
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.mean_teacher import SemiSupervised, StudentView
from semiseg.methods.pseudo_labels import entropy_of, entropy_percentile
from semiseg.methods.u2pl.contrast import Pixels, contrastive_loss, directions_at, mean_directions, sample_contrast
from semiseg.methods.u2pl.memory_bank import MemoryBank
from semiseg.models.interpolate import nearest, resize


class U2PLInputs(NamedTuple):
    """The mean teacher's inputs, and what the student's representations are compared with."""

    image_l: Tensor  # B x 3 x H x W float32
    label_l: Tensor  # B x H x W int32
    image_u: Tensor  # B x 3 x H x W float32, mixed
    label_u: Tensor  # B x H x W int32, pseudo-labels, mixed alike
    mask_u: Tensor  # B x H x W float32, 1 where the pseudo-label counts, else 0
    soft_u: tuple[()]  # no soft targets here
    dropout: tuple[Tensor, ...]  # for each layer 2B x channels x 1 x 1 float32
    anchor: Tensor  # C x Q int32, which of the M pixels
    positive: Tensor  # C x D float32, of length 1
    negative: Tensor  # C x Q x N int32, which of the memory bank's rows
    class_weight: Tensor  # C float32, 0 for a class without anchors or negatives


class TeacherView(NamedTuple):
    """What the teacher says of the images as the student sees them."""

    probability: Tensor  # M x C
    representation: Tensor  # M x D
    entropy_u: Tensor  # B x H x W, of the unlabelled images


class U2PL(SemiSupervised):
    """The method of U2PL's tables. Its memory bank is state, its draws are by seed and step."""

    def __init__(self, context: RunContext):
        self._cfg = context.trainer.contrastive
        if self._cfg is None:
            raise ConfigError("trainer.contrastive: method u2pl needs it (without it: method=mean_teacher); {} will do")
        if not context.net.decoder.kwargs.rep_head:
            raise ConfigError("net.decoder.kwargs.rep_head: method u2pl needs the representation head; set it to true")
        super().__init__(context)
        self.refuse_proto_head("u2pl")
        others = context.net.num_classes - 1
        sizes = [self._cfg.bank_size_background, *[self._cfg.bank_size] * others]
        # Each device keeps its share of the bank, filled from its own images; together it has the configured size.
        sizes = [-(-size // context.group.world) for size in sizes]
        planes = self.student.decoder.rep_planes
        self._bank = MemoryBank(sizes, planes)
        self._view = jit(self._teacher_view) if context.trainer.jit else self._teacher_view
        self._mean_directions = jit(mean_directions) if context.trainer.jit else mean_directions

    def semi_inputs(self, step: int, batch: StepBatch) -> NamedTuple:
        view = self.student_view(step, batch)
        with self.teacher.running(self.teacher.by_forward):
            seen = TeacherView(*self._view(view.image_l, view.weak_u))
        by_entropy = self.context.trainer.unsupervised.rule == "entropy"
        score_u = seen.entropy_u if by_entropy else view.score_u
        linear = self.linear_inputs(step, view, score_u)
        pixels = self._pixels(step, view, seen)
        rng = generator(self.context.trainer.seed, "contrast", step, batch.slice.first)
        contrast = sample_contrast(pixels, seen.representation, self._bank, self._cfg, rng)
        positive = self._mean_directions(seen.representation, Tensor(contrast.members))
        return U2PLInputs(
            **linear._asdict(),
            anchor=Tensor(contrast.anchor),
            positive=positive,
            negative=Tensor(contrast.negative),
            class_weight=Tensor(contrast.weight),
        )

    def semi_objective(self) -> Objective:
        weights = self.linear_weights() | {"contrast": self._cfg.loss_weight}
        return Objective(self.contrastive_function, weights, self.linear_counts, self.class_sums)

    def supervised_function(self, inputs: Mapping[str, Any]) -> tuple[tuple, tuple]:
        """As the base's. The representation head runs along, so that its BatchNorm statistics are ready later."""
        pred, feature, aux = self.student.forward(inputs["image_l"], inputs["dropout"])
        loss = self.supervised_loss(pred, aux, inputs["label_l"])
        representation = self.student.decoder.represent(feature, inputs["dropout"])
        return (loss,), (ops.stop_gradient(representation).mean(),)

    def contrastive_function(self, inputs: Mapping[str, Any]) -> tuple[tuple, tuple]:
        """Fields of ``U2PLInputs`` -> ((*linear_losses, contrast), class_confidences)."""
        images = ops.concat((inputs["image_l"], inputs["image_u"]), 0)
        pred, feature, aux = self.student.forward(images, inputs["dropout"])
        linear = self.linear_losses(inputs, pred, aux)
        representation = self.student.decoder.represent(feature, inputs["dropout"])
        contrast = contrastive_loss(
            representation,
            inputs["anchor"],
            inputs["positive"],
            directions_at(self._bank.rows, inputs["negative"]),
            inputs["class_weight"],
            self._cfg.temperature,
        )
        return (*linear, contrast), self.class_confidences(inputs, pred)

    def refresh_statistics(self, image_l: Tensor, image_u: Tensor) -> None:
        """Nothing is left to do: the forward pass for ``TeacherView`` was in training mode."""

    def state(self) -> dict[str, Parameter | HostArray]:
        return super().state() | self._bank.state()

    def _teacher_view(self, image_l: Tensor, image_u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The fields of ``TeacherView``."""
        logits, feature, _ = self.teacher.network.forward(ops.concat((image_l, image_u), 0))
        representation = self.teacher.network.decoder.represent(feature)
        entropy = entropy_of(resize(logits[image_l.shape[0] :], image_u.shape[2:]))
        return _pixel_rows(ops.softmax(logits, 1)), _pixel_rows(representation), entropy

    def _pixels(self, step: int, view: StudentView, seen: TeacherView) -> Pixels:
        """The pixels at the decoder's size. The share of certain and uncertain ones falls to 0 over the epochs."""
        label_l, label_u, entropy_u = (numpy_of(x) for x in (view.label_l, view.label_u, seen.entropy_u))
        percent = self._cfg.low_entropy_threshold
        percent = percent * (1 - self.context.epoch(step) / self.context.trainer.epochs)
        certain = entropy_u <= entropy_percentile(entropy_u, label_u, percent)
        uncertain = np.ones_like(certain)
        if self._cfg.negative_high_entropy:
            uncertain = entropy_u >= entropy_percentile(entropy_u, label_u, 100 - percent)
        of_labelled = np.ones(label_l.shape, bool)
        size = self.student.feature_size(*label_l.shape[1:])
        kinds = [(label_l, label_u), (of_labelled, certain), (of_labelled, uncertain)]
        small = [np.concatenate([nearest(part, size).ravel() for part in pair]) for pair in kinds]
        labelled = len(label_l) * size[0] * size[1]
        return Pixels(numpy_of(seen.probability), *small, labelled=labelled, images=len(label_l))


def _pixel_rows(x: Tensor) -> Tensor:
    """B x C x h x w -> B*h*w x C."""
    return permuted(x, (0, 2, 3, 1)).reshape(-1, x.shape[1])
