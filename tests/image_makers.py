"""Images and VOC masks for tests of reading."""

import numpy as np
from PIL import Image

from semiseg.data.specs import get_spec

VOC = get_spec("pascal")


def picture(height=30, width=40, seed=0):
    """A smooth colour image, so that JPEG hardly changes it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(30, 220, (4, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def labels(height=30, width=40, seed=0):
    values = np.random.default_rng(seed).integers(0, 21, (height, width)).astype(np.uint8)
    values[0] = 255
    return values


def indexed(values):
    mask = Image.fromarray(values)
    mask.putpalette(VOC.full_palette().tobytes())
    return mask


def close(image, reference, mean=3.0):
    """Equal up to what JPEG and colour conversion change."""
    difference = np.abs(image.astype(int) - np.asarray(reference).astype(int))
    return image.shape == np.asarray(reference).shape and difference.mean() < mean
