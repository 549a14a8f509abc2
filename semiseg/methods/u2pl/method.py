"""``u2pl``: semi-supervised segmentation with unreliable pseudo-labels (U2PL, CVPR 2022).

The mean teacher keeps the most certain pixels for its pseudo-labels. The uncertain rest is not thrown away: a pixel
that is unlikely to be of a class serves as a negative of that class in a contrastive loss on a representation head.
Shapes: B images of each kind, H x W crop, h x w the decoder's size, M = 2B * h * w, C classes, D channels of a
representation.
"""

from collections.abc import Callable

import numpy as np
from mindspore import Parameter, Tensor, jit, ops

from semiseg.common.errors import ConfigError
from semiseg.common.host_array import HostArray
from semiseg.common.rng import generator
from semiseg.methods.base import Settings, TrainBatch
from semiseg.methods.pseudo import entropy_of, entropy_percentile, kept_pixels
from semiseg.methods.semi import SemiSupervised
from semiseg.methods.u2pl.contrast import Pixels, choose, contrastive_loss
from semiseg.methods.u2pl.memory_bank import MemoryBank
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import nearest, resize


class U2PL(SemiSupervised):
    """The method of U2PL's tables. Its memory bank is state, its draws are by seed and step."""

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        self._cfg = settings.trainer.contrastive
        if self._cfg is None:
            raise ConfigError("trainer.contrastive: method u2pl needs it (without it: method=mean_teacher); {} will do")
        if not settings.net.decoder.kwargs.rep_head:
            raise ConfigError("net.decoder.kwargs.rep_head: method u2pl needs the representation head; set it to true")
        if settings.net.proto_head:
            raise ConfigError("net.proto_head: method u2pl does not train a prototype head; set it to null")
        super().__init__(student, teacher, settings)
        others = settings.net.num_classes - 1
        sizes = [self._cfg.bank_size_background, *[self._cfg.bank_size] * others]
        # Each device keeps its share of the bank, filled from its own images; together it has the configured size.
        sizes = [-(-size // settings.group.world) for size in sizes]
        self._bank = MemoryBank(sizes, student.decoder.rep_planes)
        self._view = jit(self._teacher_view) if settings.trainer.jit else self._teacher_view

    def prepare(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None, part: int = 0) -> tuple:
        """(image_l, label_l, image_u, label_u, kept_u, dropout masks, then ``Contrast``'s fields)."""
        if not self.semi_phase(step):
            return super().prepare(step, labeled, unlabeled, part)
        image_l, label_l, image_u, label_u, score, masks = self.mixed(step, labeled, unlabeled, part)
        by_forward = self.settings.trainer.teacher_bn == "forward"
        self.teacher.set_train(by_forward)
        prob, rows, entropy_u = self._view(image_l, image_u)
        self.teacher.set_train(False)
        unsup = self.settings.trainer.unsupervised
        score = entropy_u if unsup.rule == "entropy" else score
        kept_u = kept_pixels(score, label_u, unsup, self.kept_percent(step))
        size = self.student.feature_size(*image_l.shape[2:])
        pixels = self._pixels(step, prob.asnumpy(), labeled.labels, label_u.asnumpy(), entropy_u.asnumpy(), size)
        rng = generator(self.settings.trainer.seed, "contrast", step, self.settings.rows(part).first)
        found = choose(pixels, rows.asnumpy(), self._bank, self._cfg, rng)
        return (image_l, label_l, image_u, label_u, kept_u, masks, *map(Tensor, found))

    def objective(self, step: int) -> tuple[Callable, dict[str, float]]:
        if not self.semi_phase(step):
            return super().objective(step)
        return self.contrastive_objective, self.linear_weights() | {"contrast": self._cfg.loss_weight}

    def supervised_objective(self, image_l: Tensor, label_l: Tensor, masks: tuple) -> tuple[tuple, tuple]:
        """As the base's. The representation head runs along, so that its BatchNorm statistics are ready later."""
        pred, feature, aux = self.student.forward(image_l, masks)
        loss = self.supervised_loss(pred, aux, label_l)
        return (loss,), (ops.stop_gradient(self.student.decoder.represent(feature, masks)).mean(),)

    def contrastive_objective(
        self, image_l, label_l, image_u, label_u, kept_u, masks, anchor, positive, negative, weight
    ) -> tuple[tuple, tuple]:
        """Tensors as in ``prepare``."""
        pred, feature, aux = self.student.forward(ops.concat((image_l, image_u), 0), masks)
        terms = self.linear_losses(pred, aux, label_l, label_u, kept_u)
        rep = self.student.decoder.represent(feature, masks)
        contrast = contrastive_loss(rep, anchor, positive, negative, weight, self._cfg.temperature)
        return (*terms, contrast), ((), self.confidences(pred, label_l))

    def own_state(self) -> set[str]:
        return super().own_state() | set(self._bank.state())

    def refresh_statistics(self, image_l: Tensor, image_u: Tensor) -> None:
        """Nothing is left to do: the forward pass in ``prepare`` was in training mode."""

    def state(self) -> dict[str, Parameter | HostArray]:
        return super().state() | self._bank.state()

    def _teacher_view(self, image_l: Tensor, image_u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(softmax M x C, representations M x D, entropy of the unlabelled images B x H x W), all the teacher's."""
        logits, feature, _ = self.teacher.forward(ops.concat((image_l, image_u), 0))
        rep = self.teacher.decoder.represent(feature)
        entropy = entropy_of(resize(logits[image_l.shape[0] :], image_u.shape[2:]))
        return _pixel_rows(ops.softmax(logits, 1)), _pixel_rows(rep), entropy

    def _pixels(
        self,
        step: int,
        prob: np.ndarray,
        label_l: np.ndarray,
        label_u: np.ndarray,
        entropy_u: np.ndarray,
        size: tuple[int, int],
    ) -> Pixels:
        """The pixels at the decoder's size. The share of certain and uncertain ones falls to 0 over the epochs."""
        share = self._cfg.low_entropy_threshold
        share = share * (1 - self.settings.epoch(step) / self.settings.trainer.epochs)
        certain = entropy_u <= entropy_percentile(entropy_u, label_u, share)
        uncertain = np.ones_like(certain)
        if self._cfg.negative_high_entropy:
            uncertain = entropy_u >= entropy_percentile(entropy_u, label_u, 100 - share)
        of_labelled = np.ones(label_l.shape, bool)
        parts = [(label_l, label_u), (of_labelled, certain), (of_labelled, uncertain)]
        small = [np.concatenate([nearest(part, size).ravel() for part in pair]) for pair in parts]
        return Pixels(prob, *small, labelled=len(label_l) * size[0] * size[1])


def _pixel_rows(x: Tensor) -> Tensor:
    """B x C x h x w -> B*h*w x C."""
    return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])
