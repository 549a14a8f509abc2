"""Strong view of a crop: colour jitter, grayscale and blur, by Pillow's operators with factors that come in as draws.

What torchvision's ColorJitter, RandomGrayscale and Pillow's GaussianBlur do to a PIL image, as FixMatch and UniMatch
use them (https://arxiv.org/abs/2208.09910): 8-bit pixels in, 8-bit pixels out, nothing moves.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from semiseg.config.keys import JitterConfig, StrongConfig

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)  # the last one is saturation
_HUE = len(_ENHANCERS)


def strong_view(image: np.ndarray, cfg: StrongConfig, rng: np.random.Generator) -> np.ndarray:
    """uint8 H x W x 3 RGB -> the same size, distorted. Always the same number of draws, whatever happens."""
    jittered, grayed, blurred, along = rng.random(4)
    factors, order = rng.uniform(-1, 1, 4), rng.permutation(4)
    picture = Image.fromarray(np.ascontiguousarray(image))
    if cfg.jitter is not None and jittered < cfg.jitter.prob:
        operations = _colour_operations(cfg.jitter, factors)
        for place in order:
            picture = operations[place](picture)
    if grayed < cfg.grayscale:
        picture = picture.convert("L").convert("RGB")
    if cfg.blur is not None and blurred < cfg.blur.prob:
        low, high = cfg.blur.sigma
        picture = picture.filter(ImageFilter.GaussianBlur(float(low + (high - low) * along)))
    return np.asarray(picture)


def shift_hue(picture: Image.Image, turn: float) -> Image.Image:
    """Turns the hue by ``turn`` of the colour circle (-0.5..0.5), in Pillow's 8-bit HSV as torchvision does."""
    hue, saturation, value = picture.convert("HSV").split()
    turned = hue.point([(angle + int(turn * 255)) % 256 for angle in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _colour_operations(cfg: JitterConfig, factors: np.ndarray) -> list[Callable[[Image.Image], Image.Image]]:
    """Brightness, contrast, saturation and hue; ``factors``: a draw from [-1, 1) for each.

    An enhancer's factor is uniform in [max(0, 1 - strength), 1 + strength]; at strength 0 an operator does nothing, not
    even round.
    """
    operations = []
    for enhancer, strength, draw in zip(
        _ENHANCERS, (cfg.brightness, cfg.contrast, cfg.saturation), factors[:_HUE], strict=True
    ):
        low, high = max(0.0, 1 - strength), 1 + strength
        operations.append(partial(_enhanced, enhancer, low + (high - low) * (draw + 1) / 2) if strength else _unchanged)
    return [*operations, partial(shift_hue, turn=cfg.hue * factors[_HUE]) if cfg.hue else _unchanged]


def _enhanced(enhancer: type, factor: float, picture: Image.Image) -> Image.Image:
    return enhancer(picture).enhance(factor)


def _unchanged(picture: Image.Image) -> Image.Image:
    return picture
