"""Classes of one image of any size from a network. C classes; H, W: the image's own height and width."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import softmax

from semiseg.config.keys import EvaluationConfig
from semiseg.data.transforms import normalize
from semiseg.inference.compiled import Network
from semiseg.inference.logits import logit_strips


@dataclass(frozen=True)
class Predictor:
    """How images are predicted.

    long_side: images are brought to this long side (pixels) first, in place of the middle one of the mode's scales;
        results have the image's own size all the same.
    whole_pixels: mode whole turns to the sliding window where the network would see more pixels at the largest scale,
        so that any image fits into memory.
    """

    network: Network
    mode: EvaluationConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    long_side: int | None = None
    whole_pixels: int = 1_500_000

    def __call__(self, image: np.ndarray, keep: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """uint8 H x W x 3 RGB -> (uint8 H x W class indices, with ``keep`` float16 C x H x W probabilities)."""
        size = image.shape[:2]
        classes, probabilities, row = np.empty(size, np.uint8), None, 0
        for strip in self.strips(image):
            rows = slice(row, row + strip.shape[1])
            classes[rows] = strip.argmax(0)
            if keep:
                if probabilities is None:
                    probabilities = np.empty((len(strip), *size), np.float16)
                probabilities[:, rows] = softmax(strip, axis=0)
            row = rows.stop
        return classes, probabilities

    def strips(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """The network's logits at the image's own size, from top to bottom: uint8 H x W x 3 RGB -> C x h x W."""
        scaled = image if self.long_side is None else to_long_side(image, self.long_side)
        normalized = normalize(scaled, self.mean, self.std)
        return logit_strips(self.network, normalized, image.shape[:2], self._mode_for(scaled))

    def _mode_for(self, image: np.ndarray) -> EvaluationConfig:
        mode = self.mode
        if mode.mode != "slide":
            mode = mode.model_copy(update={"mode": "whole", "base_size": None})
        if self.long_side is not None:  # it says what size images are seen at: scales go around it
            middle = float(np.median(mode.scales))
            scales = tuple(scale / middle for scale in mode.scales)
            mode = mode.model_copy(update={"base_size": None, "scales": scales})
        seen = image.shape[0] * image.shape[1] * max(mode.scales) ** 2
        if mode.mode == "whole" and seen > self.whole_pixels:
            return mode.model_copy(update={"mode": "slide"})
        return mode


def to_long_side(image: np.ndarray, side: int) -> np.ndarray:
    """The image (uint8 H x W x 3) with a long side of ``side`` pixels; made smaller by averaging areas."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
