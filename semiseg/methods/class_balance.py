"""Weights of classes in the cross entropies, from how often they occur in the labelled images."""

from collections.abc import Iterable

import numpy as np


def class_weights(masks: Iterable[np.ndarray], num_classes: int, power: float) -> np.ndarray:
    """(median frequency / frequency of the class) ** power, brought to a mean of 1 over the labelled pixels: float32 of
    ``num_classes``; 1 where no mask has the class.

    The frequency of a class is its share of the labelled pixels of the images that show it, the median is that of all
    classes that occur: median frequency balancing at power 1, nothing at power 0. Source: Eigen and Fergus, "Predicting
    Depth, Surface Normals and Semantic Labels", 2015; SegNet's weights on CamVid are these.

    Args:
        masks: uint8 H x W; values of ``num_classes`` and above are no class.
    """
    pixels, around = np.zeros(num_classes), np.zeros(num_classes)
    for mask in masks:
        counts = np.bincount(mask.ravel(), minlength=256)[:num_classes]
        pixels += counts
        around += (counts > 0) * counts.sum()
    occurs = pixels > 0
    weights = np.ones(num_classes, np.float32)
    if occurs.any():
        frequency = pixels[occurs] / around[occurs]
        relative = (np.median(frequency) / frequency) ** power
        weights[occurs] = relative * pixels.sum() / (relative * pixels[occurs]).sum()
    return weights
