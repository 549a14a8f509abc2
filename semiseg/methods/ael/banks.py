"""What AEL remembers of classes: how confidently each is learnt, and which unlabelled images hold it.

Source: Hu et al., "Semi-Supervised Semantic Segmentation via Adaptive Equalization Learning", NeurIPS 2021.
C classes, U unlabelled images.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from semiseg.common.host_array import HostArray


class ConfidenceBank:
    """Per class the mean probability that the student gives the true class, as a moving average over the steps.

    It starts at 0, where all classes count as unlearnt alike (in the published code at random numbers), and a class
    that a step says nothing of keeps its value.
    """

    def __init__(self, num_classes: int, momentum: float):
        self._values, self._momentum = HostArray("adaptive.confidence", np.zeros(num_classes, np.float32)), momentum

    @property
    def values(self) -> np.ndarray:
        """float32 C, 0 to 1: a copy."""
        return self._values.array.copy()

    def update(self, sums: np.ndarray, counts: np.ndarray) -> None:
        """Takes in a step: per class the sum of probabilities of the true class, and how many were added up."""
        seen = counts > 0
        means = sums[seen] / counts[seen]
        values = self._values.array
        values[seen] = self._momentum * values[seen] + (1 - self._momentum) * means

    def mixing_probabilities(self) -> np.ndarray:
        """float64 C, sum 1: how often adaptive CutMix draws each class, softmax(1 - confidence)."""
        return softmax(1 - self._values.array.astype(np.float64))

    def pasting_probabilities(self, leave_out: Sequence[int]) -> np.ndarray:
        """The same of copy-paste: softmax(sqrt(1 - confidence)) over the classes not left out, 0 for those."""
        pasted = np.setdiff1d(np.arange(len(self._values.array)), leave_out)
        probabilities = np.zeros(len(self._values.array))
        probabilities[pasted] = softmax(np.sqrt(np.maximum(1 - self._values.array[pasted].astype(np.float64), 0)))
        return probabilities

    def sampling_probabilities(self, exponent: float) -> np.ndarray:
        """float32 C: the probability that a pixel predicted as each class stays in the unsupervised loss.

        ((1 - confidence) / largest of those) ** exponent: 1 for the worst learnt class.
        """
        missing = 1 - self._values.array
        return ((missing / (missing.max() + 1e-12)) ** exponent).astype(np.float32)

    def state(self) -> dict[str, HostArray]:
        return {self._values.name: self._values}


class ImageBank:
    """C x U marks: which unlabelled image showed which class when it was last seen, by the teacher's prediction."""

    def __init__(self, num_classes: int, images: int):
        self._marks = HostArray("adaptive.images", np.zeros((num_classes, images), np.int32))

    def draw(self, probabilities: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
        """(class, image): a class by its probability, then an image marked with it, any image where none is.

        Two numbers are drawn in any case.
        """
        of_class, of_image = rng.random(2)
        class_id = min(int(np.searchsorted(np.cumsum(probabilities), of_class, side="right")), len(probabilities) - 1)
        holding = np.flatnonzero(self._marks.array[class_id])
        if not len(holding):
            return class_id, int(of_image * self._marks.shape[1])
        return class_id, int(holding[int(of_image * len(holding))])

    def shown(self, prediction: np.ndarray, min_area: float) -> np.ndarray:
        """bool C: the classes that cover at least ``min_area`` of a prediction (integers, H x W)."""
        known = prediction[prediction < len(self._marks.array)]  # outside the image there is no class
        areas = np.bincount(known, minlength=len(self._marks.array))
        return (areas > 0) & (areas >= min_area * prediction.size)

    def mark(self, image: int, classes: np.ndarray) -> None:
        """Notes which classes (0 or 1, C) an image shows, in place of what was noted."""
        self._marks.array[:, image] = classes

    def state(self) -> dict[str, HostArray]:
        return {self._marks.name: self._marks}
