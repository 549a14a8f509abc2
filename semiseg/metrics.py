"""Segmentation scores from one confusion matrix over the whole set. C: number of classes."""

from dataclasses import dataclass

import cv2
import numpy as np

_EXACT = 2**24  # pixels up to which float32 counts every one


@dataclass(frozen=True)
class Scores:
    """Fractions from 0 to 1. ``iou`` and ``class_accuracy``: float64 of length C; ``present``: bool of length C, if the
    labels hold the class.
    """

    iou: np.ndarray
    miou: float
    pixel_accuracy: float
    class_accuracy: np.ndarray
    mean_class_accuracy: float
    present: np.ndarray


class ConfusionMatrix:
    """int64 counts of (label, prediction) over the whole set: IoU is taken once, not averaged over images."""

    def __init__(self, num_classes: int, ignore_label: int = 255) -> None:
        if num_classes < 1 or 0 <= ignore_label < num_classes:
            raise ValueError(f"ignore label {ignore_label} must lie outside the {num_classes} classes")
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, pred: np.ndarray, label: np.ndarray) -> None:
        """Add predictions and labels, integer arrays of one shape. Pixels labelled ``ignore_label`` do not count.

        Raises: ValueError if shapes differ, or a label or a counted prediction is not a class. Nothing is added then.
        """
        pred, label = np.asarray(pred), np.asarray(label)
        if pred.shape != label.shape:
            raise ValueError(f"prediction has shape {pred.shape}, label {label.shape}; they must be equal")
        if pred.dtype == label.dtype == np.uint8:
            self.counts += self._count_bytes(pred, label)
            return
        counted = label != self.ignore_label
        pred, label = self._classes(pred[counted], "predictions"), self._classes(label[counted], "labels")
        pairs = np.bincount(label * self.num_classes + pred, minlength=self.num_classes**2)
        self.counts += pairs.reshape(self.num_classes, self.num_classes)

    def _count_bytes(self, pred: np.ndarray, label: np.ndarray) -> np.ndarray:
        """The same for uint8, in one pass: a histogram of pairs, three times as fast as bincount."""
        pairs = np.zeros((256, 256), np.int64)
        for start in range(0, label.size, _EXACT):  # OpenCV counts in float32
            parts = [np.ascontiguousarray(x).reshape(1, -1)[:, start : start + _EXACT] for x in (label, pred)]
            pairs += cv2.calcHist(parts, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(np.int64)
        if 0 <= self.ignore_label < 256:
            pairs[self.ignore_label] = 0
        self._classes(np.flatnonzero(pairs.any(0)), "predictions")
        self._classes(np.flatnonzero(pairs.any(1)), "labels")
        return pairs[: self.num_classes, : self.num_classes]

    def _classes(self, values: np.ndarray, what: str) -> np.ndarray:
        if values.dtype.kind not in "iu":
            raise ValueError(f"{what} must be integers, got {values.dtype}")
        if values.size and (values.min() < 0 or values.max() >= self.num_classes):
            bad = np.unique(values[(values < 0) | (values >= self.num_classes)])[:5].tolist()
            raise ValueError(f"{what} must be 0..{self.num_classes - 1}, found {bad}")
        return values.astype(np.int64)

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add another matrix's counts, e.g. of another process. Raises: ValueError if the classes differ."""
        if (other.num_classes, other.ignore_label) != (self.num_classes, self.ignore_label):
            raise ValueError("confusion matrices of different classes or ignore labels cannot be merged")
        self.counts += other.counts

    def compute(self) -> Scores:
        """IoU = intersection / (union + 1e-10) as U2PL and the paper publish it: in the mean, a class that occurs
        nowhere counts as 0.
        """
        hit = np.diag(self.counts).astype(np.float64)
        labelled, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        iou = hit / (labelled + predicted - hit + 1e-10)
        class_accuracy = hit / (labelled + 1e-10)
        return Scores(
            iou=iou,
            miou=float(iou.mean()),
            pixel_accuracy=float(hit.sum() / (labelled.sum() + 1e-10)),
            class_accuracy=class_accuracy,
            mean_class_accuracy=float(class_accuracy.mean()),
            present=labelled > 0,
        )
