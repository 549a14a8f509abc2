"""The images that a network does worst and best on, as pictures for a page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from semiseg.data.pictures import Painter, jpeg, png
from semiseg.data.specs import DatasetSpec
from semiseg.metrics import ConfusionMatrix

Row = dict[str, Any]
_SIDE = 320  # the longest a picture of the page may be, in pixels


@dataclass(frozen=True)
class Judged:
    """An image with its prediction; scores in percent, shapes as in ``Gallery.add``."""

    name: str
    miou: float
    accuracy: float
    prediction: np.ndarray
    confidence: np.ndarray
    mask: np.ndarray
    image: np.ndarray


class Gallery:
    """Judges images one by one and keeps the ``keep`` worst and best ones.

    An image's mIoU is the mean over the classes that its mask or its prediction holds. Images without any pixel that
    counts are left out. ``mean`` and ``std``: what the images were normalised with.
    """

    def __init__(self, spec: DatasetSpec, mean: Sequence[float], std: Sequence[float], keep: int = 6):
        self._spec, self._keep, self._painter = spec, keep, Painter(spec)
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        self._worst: list[Judged] = []
        self._best: list[Judged] = []

    def add(self, name: str, logits: np.ndarray, mask: np.ndarray, image: np.ndarray) -> None:
        """float32 C x H x W, uint8 H x W, float32 3 x H x W normalised."""
        prediction = logits.argmax(0).astype(np.uint8)
        matrix = ConfusionMatrix(self._spec.num_classes, self._spec.ignore_label)
        matrix.update(prediction, mask)
        if not matrix.counts.sum():
            return
        scores = matrix.compute()
        there = matrix.counts.sum(0) + matrix.counts.sum(1) > 0
        miou, accuracy = 100 * float(scores.iou[there].mean()), 100 * scores.pixel_accuracy
        judged = Judged(name, miou, accuracy, prediction, confidence_of(logits), mask, image)
        self._worst = sorted([*self._worst, judged], key=lambda item: item.miou)[: self._keep]
        self._best = sorted([*self._best, judged], key=lambda item: -item.miou)[: self._keep]

    def rows(self) -> tuple[list[Row], list[Row]]:
        """(worst, best), for each image name, scores and five pictures as data URIs; of a small set an image is in one
        of the two.
        """
        names = {item.name for item in self._worst}
        best = [item for item in self._best if item.name not in names]
        return [self._row(item) for item in self._worst], [self._row(item) for item in best]

    def _row(self, item: Judged) -> Row:
        image = item.image.transpose(1, 2, 0) * self._std + self._mean
        image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        size = _shown_size(image)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        truth = cv2.resize(item.mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
        seen = cv2.resize(item.prediction, size, interpolation=cv2.INTER_NEAREST_EXACT)
        sure = cv2.resize(item.confidence, size, interpolation=cv2.INTER_NEAREST_EXACT)
        pictures = {
            "image": data_uri("jpeg", jpeg(small, 85)),
            "truth": data_uri("jpeg", jpeg(self._painter.overlay(small, truth), 85)),
            "prediction": data_uri("jpeg", jpeg(self._painter.overlay(small, seen), 85)),
            "confidence": data_uri("jpeg", jpeg(confidence_map(sure, self._spec.num_classes), 85)),
            "errors": data_uri("png", png(error_map(seen, truth, self._spec.ignore_label))),
        }
        return {"name": item.name, "miou": item.miou, "accuracy": item.accuracy, "pictures": pictures}


def confidence_of(logits: np.ndarray) -> np.ndarray:
    """The probability of the most probable class: C x H x W -> float32 H x W, from 1/C to 1."""
    return (1 / np.exp(logits - logits.max(0)).sum(0)).astype(np.float32)


def confidence_map(confidence: np.ndarray, classes: int) -> np.ndarray:
    """RGB: from dark blue (all classes alike) to yellow (probability 1); colours that grow lighter all the way."""
    steps = np.rint(255 * (confidence - 1 / classes) / (1 - 1 / classes)).clip(0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(steps, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)


def error_map(prediction: np.ndarray, mask: np.ndarray, ignore_label: int) -> np.ndarray:
    """RGB: wrong pixels red, right ones light, pixels that do not count gray."""
    picture = np.full((*mask.shape, 3), 236, np.uint8)
    picture[prediction != mask] = (200, 40, 30)
    picture[mask == ignore_label] = 150
    return picture


def _shown_size(image: np.ndarray) -> tuple[int, int]:
    """(width, height): the long side at most _SIDE; small images are enlarged by a whole factor."""
    height, width = image.shape[:2]
    factor = _SIDE / max(height, width)
    factor = float(int(factor)) if factor >= 2 else min(factor, 1.0)
    return max(1, round(width * factor)), max(1, round(height * factor))


def data_uri(kind: str, content: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
