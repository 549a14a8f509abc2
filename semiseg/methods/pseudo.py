"""Pseudo-labels: the teacher's label and reliability of each pixel, mixed by CutMix. Shared by every such method."""

from typing import NamedTuple

import numpy as np
from mindspore import Parameter, Tensor, jit, ops

from semiseg.config import TrainerConfig
from semiseg.data.mixing import box_masks, cutmix_boxes
from semiseg.losses import entropy
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize
from semiseg.rng import generator

_assign = ops.Assign()


class PseudoLabels(NamedTuple):
    """image B x 3 x H x W as the student sees it; label B x H x W int32; kept B x H x W, 1 where label is trusted."""

    image: Tensor
    label: Tensor
    kept: Tensor


def confidence_of(logits: Tensor) -> Tensor:
    """The largest softmax probability: B x C x H x W -> B x H x W."""
    top = ops.amax(logits, 1, keepdims=True)
    return 1 / ops.exp(logits - top).sum(1)


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy of the softmax in nats: B x C x H x W -> B x H x W."""
    return entropy(ops.softmax(logits, 1))


class PseudoLabeler:
    """The teacher's labels on unlabelled images, mixed, with the pixels to keep.

    The partner of an image in CutMix is the next one of the batch (cyclic). A batch of one has no such partner: it is
    mixed with the image of the previous step, which is therefore state.
    """

    def __init__(self, teacher: SegmentationNetwork, trainer: TrainerConfig, batch: int, crop: tuple[int, int]):
        self._teacher, self._cfg, self._seed = teacher, trainer.unsupervised, trainer.seed
        self._label = jit(self._label_pixels) if trainer.jit else self._label_pixels
        self._mix = jit(self._mix_pixels) if trainer.jit else self._mix_pixels
        self._previous = _room_for_one(crop) if batch == 1 else {}

    def __call__(self, step: int, images: np.ndarray, percent: float) -> PseudoLabels:
        """Pseudo-labels for ``images`` (B x 3 x H x W); ``percent`` of the pixels are kept by rule entropy."""
        image = Tensor(images)
        label, score = self._label(image)
        partner = self._partner(image, label, score)
        mixing = generator(self._seed, "mix", step).random() < self._cfg.aug_prob
        if self._cfg.apply_aug == "cutmix" and mixing and partner is not None:
            batch, _, height, width = image.shape
            boxes = cutmix_boxes(batch, height, width, generator(self._seed, "cutmix", step))
            mask = Tensor(box_masks(boxes, height, width))
            image, label, score = self._mix(mask, image, label, score, *partner)
        return PseudoLabels(image, label, self._kept(score, percent))

    def state(self) -> dict[str, Parameter]:
        """Parameters to save and restore."""
        return dict(self._previous)

    def _partner(self, *current: Tensor) -> tuple[Tensor, ...] | None:
        if not self._previous:
            return tuple(ops.concat((item[1:], item[:1]), 0) for item in current)
        *stored, filled = self._previous.values()
        partner = tuple(Tensor(item.asnumpy()) for item in stored) if filled.asnumpy()[0] else None
        for parameter, value in zip(stored, current, strict=True):
            _assign(parameter, value)
        _assign(filled, Tensor(np.ones(1, np.float32)))
        return partner

    def _label_pixels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = resize(self._teacher.logits(image), image.shape[2:])
        score = confidence_of(logits) if self._cfg.rule == "confidence" else entropy_of(logits)
        return ops.argmax(logits, 1).astype("int32"), score

    def _mix_pixels(self, mask: Tensor, image, label, score, other_image, other_label, other_score) -> tuple:
        inside = ops.expand_dims(mask, 1)
        return (
            ops.where(inside, other_image, image),
            ops.where(mask, other_label, label),
            ops.where(mask, other_score, score),
        )

    def _kept(self, score: Tensor, percent: float) -> Tensor:
        if self._cfg.rule == "confidence":
            return (score >= self._cfg.confid_thresh).astype("float32")
        threshold = np.percentile(score.asnumpy(), percent)
        return (score < float(threshold)).astype("float32")


def _room_for_one(crop: tuple[int, int]) -> dict[str, Parameter]:
    """State for the previous step's image, its label and score, and whether there has been one."""
    shapes = {"image": (1, 3, *crop), "label": (1, *crop), "score": (1, *crop), "filled": (1,)}
    state = {}
    for name, shape in shapes.items():
        zeros = np.zeros(shape, np.int32 if name == "label" else np.float32)
        state[f"previous.{name}"] = Parameter(Tensor(zeros), f"previous.{name}", requires_grad=False)
    return state
