"""Pseudo-labels: the teacher's label and reliability of each pixel, and their mixing. Shared by every such method."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mindspore import Parameter, Tensor, jit, ops

from semiseg.common.rng import generator
from semiseg.config.keys import TrainerConfig, UnsupervisedConfig
from semiseg.losses import entropy
from semiseg.methods.mixing import box_masks, class_masks, cutmix_boxes
from semiseg.methods.sampling import Rows, whole
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize

_assign = ops.Assign()
BLANK = 255  # the pseudo-label of a pixel that Cutout blanked: no class


class PseudoLabels(NamedTuple):
    """image B x 3 x H x W as the student sees it; label B x H x W int32; score B x H x W: the teacher's confidence
    (rule confidence) or entropy in nats (rule entropy) there.
    """

    image: Tensor
    label: Tensor
    score: Tensor


def confidence_of(logits: Tensor) -> Tensor:
    """The largest softmax probability: B x C x H x W -> B x H x W."""
    top = ops.amax(logits, 1, keepdims=True)
    return 1 / ops.exp(logits - top).sum(1)


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy of the softmax in nats: B x C x H x W -> B x H x W."""
    return entropy(ops.softmax(logits, 1))


def labels_and_scores(logits: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """B x C x H x W -> labels int32 and what ``rule`` judges them by, both B x H x W."""
    score = confidence_of(logits) if rule == "confidence" else entropy_of(logits)
    return ops.argmax(logits, 1).astype("int32"), score


def kept_pixels(score: Tensor, label: Tensor, cfg: UnsupervisedConfig, percent: float) -> Tensor:
    """float32 B x H x W, 1 where the pseudo-label counts: confident pixels, or the ``percent`` with the least entropy.

    Blank pixels (Cutout) enter neither the result nor the percentile.
    """
    valid = (label != BLANK).astype("float32")
    if cfg.rule == "confidence":
        return (score >= cfg.confid_thresh).astype("float32") * valid
    return (score < entropy_percentile(score.asnumpy(), label.asnumpy(), percent)).astype("float32") * valid


def entropy_percentile(score: np.ndarray, label: np.ndarray, percent: float) -> float:
    """The value that ``percent`` of the scores of pixels with a label lie below; 0 if there is no such pixel."""
    counted = score[label != BLANK]
    return float(np.percentile(counted, percent)) if counted.size else 0.0


class PseudoLabeler:
    """The teacher's labels on unlabelled images, mixed as ``trainer.unsupervised.apply_aug`` says.

    The partner of an image is the next one of the part (cyclic). A part of one image has no such partner: it is mixed
    with the previous one of this device, which is therefore state.
    """

    def __init__(
        self,
        teacher: SegmentationNetwork,
        trainer: TrainerConfig,
        batch: int,
        crop: tuple[int, int],
        train_mode: bool = False,
    ):
        self._train_mode = train_mode  # BatchNorm by the batch, and its statistics follow
        self._teacher, self._cfg, self._seed = teacher, trainer.unsupervised, trainer.seed
        self._label = jit(self._label_pixels) if trainer.jit else self._label_pixels
        self._mix = jit(_mix_pixels) if trainer.jit else _mix_pixels
        self._previous = _room_for_one(crop) if batch == 1 else {}

    def __call__(
        self, step: int, images: np.ndarray, ids: Sequence[str] = (), rows: Rows | None = None
    ) -> PseudoLabels:
        """Images (B x 3 x H x W) with pseudo-labels, mixed.

        ``rows``: their places in the step's whole batch, if they are not all of it. ``ids`` name them for labelers
        that remember images.
        """
        found = self.labels_of(images)
        partner = self._partner(found)
        if self._cfg.apply_aug == "none" or generator(self._seed, "mix", step).random() >= self._cfg.aug_prob:
            return found
        if self._cfg.apply_aug == "cutout":
            partner = _blank(found)
        if partner is None:
            return found
        return self.mix(Tensor(self._replaced(step, found, rows or whole(images))), found, partner)

    def labels_of(self, images: np.ndarray) -> PseudoLabels:
        """What the teacher says of ``images`` (B x 3 x H x W)."""
        image = Tensor(images)
        self._teacher.set_train(self._train_mode)
        label, score = self._label(image)
        self._teacher.set_train(False)
        return PseudoLabels(image, label, score)

    def mix(self, mask: Tensor, found: PseudoLabels, other: PseudoLabels) -> PseudoLabels:
        """``other`` where the mask (bool B x H x W) is set, else ``found``."""
        return PseudoLabels(*self._mix(mask, *found, *other))

    def state(self) -> dict[str, Parameter]:
        """Parameters to save and restore."""
        return dict(self._previous)

    def own_state(self) -> set[str]:
        """The names in ``state`` that every device has for itself."""
        return set(self._previous)

    def _replaced(self, step: int, found: PseudoLabels, rows: Rows) -> np.ndarray:
        """bool B x H x W: the pixels that the partner's replace."""
        height, width = found.image.shape[2:]
        if self._cfg.apply_aug == "classmix":  # what is drawn depends on the classes: no draw for the whole batch
            return class_masks(found.label.asnumpy(), generator(self._seed, "cutmix", step, rows.first))
        boxes = cutmix_boxes(rows.total, height, width, generator(self._seed, "cutmix", step))
        return box_masks(boxes[rows.first : rows.first + rows.count], height, width)

    def _partner(self, current: PseudoLabels) -> PseudoLabels | None:
        if not self._previous:
            return PseudoLabels(*(ops.concat((item[1:], item[:1]), 0) for item in current))
        *stored, filled = self._previous.values()
        partner = PseudoLabels(*(Tensor(item.asnumpy()) for item in stored)) if filled.asnumpy()[0] else None
        for parameter, value in zip(stored, current, strict=True):
            _assign(parameter, value)
        _assign(filled, Tensor(np.ones(1, np.float32)))
        return partner

    def _label_pixels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return labels_and_scores(resize(self._teacher.logits(image), image.shape[2:]), self._cfg.rule)


def _mix_pixels(mask: Tensor, image, label, score, other_image, other_label, other_score) -> tuple:
    return (
        ops.where(ops.expand_dims(mask, 1), other_image, image),
        ops.where(mask, other_label, label),
        ops.where(mask, other_score, score),
    )


def _blank(like: PseudoLabels) -> PseudoLabels:
    """What Cutout puts in place of pixels: the mean colour, no label."""
    image, label, score = like
    return PseudoLabels(ops.zeros_like(image), ops.full_like(label, BLANK), ops.zeros_like(score))


def _room_for_one(crop: tuple[int, int]) -> dict[str, Parameter]:
    """State for the previous step's image, its label and score, and whether there has been one."""
    shapes = {"image": (1, 3, *crop), "label": (1, *crop), "score": (1, *crop), "filled": (1,)}
    state = {}
    for name, shape in shapes.items():
        zeros = np.zeros(shape, np.int32 if name == "label" else np.float32)
        state[f"previous.{name}"] = Parameter(Tensor(zeros), f"previous.{name}", requires_grad=False)
    return state
