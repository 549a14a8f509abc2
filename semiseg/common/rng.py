"""Randomness that depends on what is drawn, never on when: numpy Generators keyed by seed, purpose and indices."""

import zlib

import numpy as np


def generator(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """A fresh Generator for one draw, e.g. ``generator(seed, "cutmix", step)``.

    The same arguments give the same stream in every process, whatever was drawn before: a resumed run repeats nothing
    and skips nothing. ``keys`` are non-negative integers (step, epoch, index).
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *keys])
