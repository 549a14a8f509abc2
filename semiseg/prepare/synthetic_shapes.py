"""Shapes and textures of the synthetic images: pure functions on coordinate grids.

Shape legend: H, W = image height and width; every grid is float32 (H, W).
A shape is a signed distance (below 0 inside) in units of its own radius, a texture is a value in [0, 1].
"""

from collections.abc import Callable

import cv2
import numpy as np

Grid = np.ndarray
SignedDistance = Callable[[Grid, Grid, np.random.Generator], Grid]
Texture = Callable[[Grid, Grid, np.random.Generator], Grid]

_LATTICE = 32  # side of the random lattice behind the noise textures; it repeats beyond that


def _box(x: Grid, y: Grid, half_x: float, half_y: float) -> Grid:
    """Signed distance of an axis-parallel rectangle (outside the corners only a lower bound of it)."""
    return np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)


def disk(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """A filled circle; the caller's stretch makes it an ellipse."""
    return np.hypot(x, y) - 0.9


def ring(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """A circle with an open hole, through which the background shows."""
    half_width = rng.uniform(0.21, 0.3)
    return np.abs(np.hypot(x, y) - 0.74) - half_width


def triangle(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """An equilateral triangle: the intersection of three half planes."""
    sides = [x * np.cos(a) + y * np.sin(a) for a in np.deg2rad([90.0, 210.0, 330.0])]
    return np.maximum.reduce(sides) - 0.58


def cross(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Two bars of equal length at right angles."""
    half_width = rng.uniform(0.28, 0.38)
    return np.minimum(_box(x, y, 1.0, half_width), _box(x, y, half_width, 1.0))


def bar(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """A short thick rod."""
    return _box(x, y, 1.15, rng.uniform(0.34, 0.46))


def square(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Clutter: a filled square."""
    return _box(x, y, 0.8, 0.8)


def half_disk(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Clutter: a circle cut in two."""
    return np.maximum(np.hypot(x, y) - 1.0, y)


def corner(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Clutter: two short arms that meet in an L."""
    half_width = rng.uniform(0.2, 0.3)
    return np.minimum(_box(x, y + 0.7, 0.95, half_width), _box(x + 0.7, y, half_width, 0.95))


def plain(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """A slow ramp, nearly one colour."""
    return 0.5 + 0.25 * np.sin(0.25 * x + rng.uniform(0, 2 * np.pi))


def stripes(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Parallel stripes, from soft to hard edges."""
    return _square_wave(x, rng.uniform(1.0, 6.0))


def waves(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Stripes that swing sideways."""
    return _square_wave(x + rng.uniform(0.2, 0.5) * np.sin(rng.uniform(1.5, 3.5) * y), rng.uniform(1.0, 4.0))


def checker(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """A chessboard."""
    product = np.sin(np.pi * x) * np.sin(np.pi * y)
    return 0.5 + 0.5 * np.tanh(rng.uniform(2.0, 8.0) * product)


def dots(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Round dots on a lattice with every second row shifted by half a period."""
    row = np.floor(y)
    dx = np.mod(x + 0.5 * np.mod(row, 2), 1.0) - 0.5
    radius = rng.uniform(0.22, 0.36)
    return 0.5 + 0.5 * np.tanh(8.0 * (radius - np.hypot(dx, y - row - 0.5)))


def bricks(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Bricks two periods wide with thin joints."""
    row = np.floor(y)
    dx = np.abs(np.mod(0.5 * x + 0.5 * np.mod(row, 2), 1.0) - 0.5)
    edge = np.minimum(2.0 * (0.5 - dx), np.minimum(y - row, 1.0 - (y - row)))
    return 0.5 + 0.5 * np.tanh(14.0 * (edge - rng.uniform(0.08, 0.16)))


def hatching(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Two sets of thin crossing lines."""
    width = rng.uniform(0.1, 0.2)
    nearest = np.minimum(np.abs(np.mod(x, 1.0) - 0.5), np.abs(np.mod(y, 1.0) - 0.5))
    return 0.5 + 0.5 * np.tanh(12.0 * (nearest - width))


def circles(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Rings around a far or near centre."""
    centre_x, centre_y = rng.uniform(-4.0, 4.0, 2)
    return _square_wave(np.hypot(x - centre_x, y - centre_y), rng.uniform(0.8, 3.0))


def clouds(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Smooth noise of one octave."""
    return _noise(x, y, rng)


def speckle(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Noise of three octaves, the finest a quarter of the period."""
    octaves = [0.5**k * (_noise(x * 2**k, y * 2**k, rng) - 0.5) for k in range(3)]
    return np.clip(0.5 + 1.2 * sum(octaves), 0.0, 1.0)


def blotches(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Noise cut at a level: islands with sharp shores."""
    return 0.5 + 0.5 * np.tanh(10.0 * (_noise(x, y, rng) - rng.uniform(0.4, 0.6)))


def marble(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Veins: stripes bent by noise."""
    return _square_wave(0.5 * x + 1.5 * _noise(0.6 * x, 0.6 * y, rng), 1.0)


def mosaic(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Flat square tiles of random brightness."""
    lattice = rng.random((_LATTICE, _LATTICE), dtype=np.float32)
    return lattice[np.floor(y).astype(np.int64) % _LATTICE, np.floor(x).astype(np.int64) % _LATTICE]


BACKGROUND_TEXTURES: tuple[Texture, ...] = (
    plain,
    stripes,
    waves,
    checker,
    dots,
    bricks,
    hatching,
    circles,
    clouds,
    speckle,
    marble,
    mosaic,
)
CLUTTER_SHAPES: tuple[SignedDistance, ...] = (square, half_disk, corner)


def _square_wave(phase: Grid, hardness: float) -> Grid:
    """Period 1 in ``phase``; a sine at hardness 1, nearly a step at 6."""
    return 0.5 + 0.5 * np.tanh(hardness * np.sin(2 * np.pi * phase)) / np.tanh(hardness)


def _noise(x: Grid, y: Grid, rng: np.random.Generator) -> Grid:
    """Random lattice values with one lattice step a unit, cubic in between."""
    lattice = rng.random((_LATTICE, _LATTICE), dtype=np.float32)
    at_x, at_y = np.mod(x, _LATTICE).astype(np.float32), np.mod(y, _LATTICE).astype(np.float32)
    return np.clip(cv2.remap(lattice, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP), 0.0, 1.0)
