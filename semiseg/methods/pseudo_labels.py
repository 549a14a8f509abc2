"""Pseudo-labels: the label and the reliability of each pixel, and which pixels count. B x H x W pixels, C classes."""

from typing import Any, NamedTuple

import numpy as np
from mindspore import Tensor, ops

from semiseg.common.platform import kept_max, numpy_of
from semiseg.config.keys import UnsupervisedConfig
from semiseg.losses import entropy

BLANK = 255  # the pseudo-label of a pixel outside the image
CUT = 256  # that of a pixel of the image which Cutout has blanked; no class is either


class PseudoLabels(NamedTuple):
    """Images with a label and a score for each pixel."""

    image: Tensor  # B x 3 x H x W float32, the weak view
    label: Tensor  # B x H x W int32
    score: Tensor  # B x H x W float32: confidence (rule confidence) or entropy in nats (rule entropy)
    strong: Tensor | None = None  # B x 3 x H x W float32, the view for the student; None: the weak one
    probability: Tensor | None = None  # B x C x H x W float32, soft targets; None: the labels are the targets

    def present(self) -> dict[str, Tensor]:
        """The fields that are there, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def confidence_of(logits: Tensor) -> Tensor:
    """The largest softmax probability: B x C x H x W -> B x H x W."""
    top = kept_max(logits, 1)
    return 1 / ops.exp(logits - top).sum(1)


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy of the softmax in nats: B x C x H x W -> B x H x W."""
    return entropy(ops.softmax(logits, 1))


def labels_and_scores(logits: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """B x C x H x W -> labels int32 and what ``rule`` judges them by, both B x H x W."""
    score = confidence_of(logits) if rule == "confidence" else entropy_of(logits)
    return ops.argmax(logits, 1).astype("int32"), score


def blanked(label: Tensor, inside: np.ndarray | None) -> Tensor:
    """Labels (B x H x W) without those outside an image; ``inside``: bool alike, None where nothing is outside."""
    return label if inside is None else ops.where(Tensor(inside), label, BLANK)


def labelled(label: Any) -> Any:
    """bool B x H x W, True where a pixel has a pseudo-label; of an array or a Tensor."""
    return (label != BLANK) & (label != CUT)


def reliable_pixels(score: Tensor, label: Tensor, cfg: UnsupervisedConfig, percent: float) -> Tensor:
    """float32 B x H x W, 1 where the pseudo-label counts: confident pixels, or the ``percent`` with the least entropy.

    Its mean is the mask ratio. Pixels without a label enter neither the result nor the percentile.
    """
    valid = labelled(label).astype("float32")
    if cfg.rule == "confidence":
        return (score >= cfg.confid_thresh).astype("float32") * valid
    return (score < entropy_percentile(numpy_of(score), numpy_of(label), percent)).astype("float32") * valid


def entropy_percentile(score: np.ndarray, label: np.ndarray, percent: float) -> float:
    """The value that ``percent`` of the scores of pixels with a label lie below; 0 if there is no such pixel."""
    counted = score[labelled(label)]
    return float(np.percentile(counted, percent)) if counted.size else 0.0
