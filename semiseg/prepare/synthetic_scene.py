"""One synthetic image with its label map, as a pure function of (seed, index, size).

Five shapes are the classes. Each class has two appearance modes: opposite hues and another texture. Within a mode
everything varies widely and continuously: hue, saturation, brightness, scale, rotation, stretch, shear, outline,
texture period, phase and contrast, light, blur and what lies in front. Every texture belongs to two classes, the hues
of neighbouring classes meet, and clutter wears the looks of the classes: colour is a strong cue, but neither it nor the
texture is the definition of a class, the shape is.

Shape legend: S = side of the square image; colours are RGB float32 in 0..255.
"""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from semiseg.common.rng import generator
from semiseg.prepare import synthetic_shapes as shapes

VOID = 255
MODES_PER_CLASS = 2
NOISE_SD = (8.0, 16.0)  # of 255; uniform, mean 12

# Label k + 1 is the shape at position k, in the order of the classes of specs.py.
_SHAPES: tuple[shapes.SignedDistance, ...] = (shapes.disk, shapes.ring, shapes.triangle, shapes.cross, shapes.bar)
_TEXTURES: tuple[tuple[shapes.Texture, shapes.Texture], ...] = (
    (shapes.stripes, shapes.blotches),
    (shapes.dots, shapes.plain),
    (shapes.checker, shapes.stripes),
    (shapes.blotches, shapes.dots),
    (shapes.plain, shapes.checker),
)
_HUE_STEP = 36.0  # degrees between the hues of neighbouring classes; two modes of a class are 180 apart
# Degrees, triangular about the mode's hue. The spread decides the task: up to about 14 the modes are clusters with gaps
# between them, which unlabelled images can fill in; at 20 they touch, and no method gains from unlabelled images.
_HUE_JITTER = 12.0
_HUE_CONTRAST = 25.0  # degrees by which the second colour of a surface may differ from the first
_BACKGROUND_SATURATION = 0.25  # at most; objects have 0.45 to 0.95
_OBJECT_RADIUS = (0.17, 0.3)  # of the image side
_CLUTTER = (0, 5)  # small distractors an image, upper end excluded
_TAIL = 0.45  # with it pixel shares run from 0.8 (background) to 0.005 (the rarest class)
_TAIL_SHARES = _TAIL ** np.arange(len(_SHAPES)) / (_TAIL ** np.arange(len(_SHAPES))).sum()
_SHOWN_AREA = 0.004  # share of the image from which an object counts as showing its mode (about 37 pixels at 96)


@dataclass(frozen=True)
class Rendering:
    """An image (S, S, 3) uint8 RGB, its label map (S, S) uint8 and the (class, mode) pairs that can be seen in it."""

    image: np.ndarray
    label: np.ndarray
    modes: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class _Look:
    """How a surface is painted: two colours and a texture value that blends them."""

    colour_a: np.ndarray
    colour_b: np.ndarray
    texture: shapes.Texture


def render(seed: int, index: int, size: int, long_tailed: bool = False) -> Rendering:
    """Paint image ``index`` of the set ``seed``: nothing else enters, so any image can be made again alone.

    ``long_tailed``: each class occurs ``_TAIL`` times as often as the one before it, in place of all alike.
    """
    rng = generator(seed, "synthetic image", index)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    # Lengths are in units of the image side, so that one scene looks alike at every size.
    x, y = (columns + 0.5) / size, (rows + 0.5) / size
    canvas = _background(x, y, rng)
    for _ in range(rng.integers(*_CLUTTER)):
        coverage = _placed(shapes.CLUTTER_SHAPES[rng.integers(3)], x, y, rng, rng.uniform(0.03, 0.075))
        look = _object_look(int(rng.integers(len(_SHAPES))), int(rng.integers(MODES_PER_CLASS)), rng)
        canvas = _paint(canvas, coverage, look, x, y, rng)
    canvas, owner, objects = _add_objects(canvas, x, y, rng, long_tailed)
    canvas, owner = _add_occluders(canvas, owner, x, y, rng)
    label, modes = _label_map(owner, objects)
    return Rendering(_photograph(canvas, x, y, rng), label, modes)


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB 0..255 of a hue in degrees (any turn), saturation and value clipped to [0, 1]."""
    rgb = colorsys.hsv_to_rgb((hue % 360.0) / 360.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return np.array(rgb, dtype=np.float32) * 255.0


def _object_look(kind: int, mode: int, rng: np.random.Generator) -> _Look:
    """A draw from one appearance mode of one class (``kind`` counts the classes without background)."""
    hue = kind * _HUE_STEP + mode * 180.0 + rng.triangular(-_HUE_JITTER, 0.0, _HUE_JITTER)
    saturation, value = rng.uniform(0.45, 0.95), rng.uniform(0.55, 1.0)
    contrast = rng.uniform(0.35, 0.65)
    second = _colour(
        hue + rng.uniform(-_HUE_CONTRAST, _HUE_CONTRAST), saturation * rng.uniform(0.6, 1.2), value * (1.0 - contrast)
    )
    return _Look(_colour(hue, saturation, value), second, _TEXTURES[kind][mode])


def _background(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The canvas (S, S, 3): one of twelve textures in two muted colours of any hue."""
    hue, value = rng.uniform(0.0, 360.0), rng.uniform(0.25, 0.9)
    contrast = rng.uniform(0.1, 0.45) * (1.0 if value < 0.55 else -1.0)
    look = _Look(
        _colour(hue, rng.uniform(0.0, _BACKGROUND_SATURATION), value),
        _colour(hue + rng.uniform(-90.0, 90.0), rng.uniform(0.0, _BACKGROUND_SATURATION), value + contrast),
        shapes.BACKGROUND_TEXTURES[rng.integers(len(shapes.BACKGROUND_TEXTURES))],
    )
    return _surface(look, x, y, rng, period=rng.uniform(0.06, 0.3))


def _surface(look: _Look, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, period: float) -> np.ndarray:
    """The look everywhere (S, S, 3): texture turned and shifted at random, ``period`` in image sides."""
    turned_x, turned_y = _turn(x, y, rng.uniform(0.0, 2 * np.pi))
    shift_x, shift_y = rng.uniform(0.0, 16.0, 2)
    blend = look.texture(turned_x / period + shift_x, turned_y / period + shift_y, rng)[..., None]
    return look.colour_a * blend + look.colour_b * (1.0 - blend)


def _turn(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in a frame turned by ``angle`` (radians)."""
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _placed(
    shape: shapes.SignedDistance, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, radius: float
) -> np.ndarray:
    """Coverage (S, S) in [0, 1] of a shape at a random place, turned, stretched, sheared, with a wobbling outline."""
    margin = 0.6 * radius
    centre_x, centre_y = rng.uniform(margin, 1.0 - margin, 2)
    u, v = _turn((x - centre_x) / radius, (y - centre_y) / radius, rng.uniform(0.0, 2 * np.pi))
    stretch = np.exp(rng.uniform(-0.22, 0.22))
    u, v = u * stretch, v / stretch + rng.uniform(-0.2, 0.2) * u
    amplitude, frequency, phase = rng.uniform(0.0, 0.07), rng.uniform(1.5, 3.5), rng.uniform(0.0, 2 * np.pi, 2)
    u, v = u + amplitude * np.sin(frequency * v + phase[0]), v + amplitude * np.sin(frequency * u + phase[1])
    # The distance is in radii; times radius and S it is in pixels, and one pixel of ramp smooths the edge.
    return np.clip(0.5 - shape(u, v, rng) * radius * x.shape[0], 0.0, 1.0)


def _paint(
    canvas: np.ndarray, coverage: np.ndarray, look: _Look, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The canvas with the look laid over it where the coverage says."""
    surface = _surface(look, x, y, rng, period=np.exp(rng.uniform(np.log(0.05), np.log(0.14))))
    return canvas + coverage[..., None] * (surface - canvas)


def _add_objects(
    canvas: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, long_tailed: bool
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Paint one to four objects; returns canvas, owner map (0 = nobody, k = k-th object) and (class, mode) of each."""
    owner = np.zeros(x.shape, np.uint8)
    areas: list[int] = []
    objects: list[tuple[int, int]] = []
    for _ in range(rng.integers(1, 5)):
        kind = int(rng.choice(len(_SHAPES), p=_TAIL_SHARES) if long_tailed else rng.integers(len(_SHAPES)))
        mode = int(rng.integers(MODES_PER_CLASS))
        for _attempt in range(6):
            coverage = _placed(_SHAPES[kind], x, y, rng, rng.uniform(*_OBJECT_RADIUS))
            mine = coverage >= 0.5
            still_seen = [np.count_nonzero((owner == k + 1) & ~mine) for k in range(len(areas))]
            if all(seen >= 0.6 * area for seen, area in zip(still_seen, areas, strict=True)):
                break
        else:
            continue  # no room left: the image keeps fewer objects
        canvas = _paint(canvas, coverage, _object_look(kind, mode, rng), x, y, rng)
        objects.append((kind + 1, mode))
        owner[mine] = len(objects)
        areas.append(int(np.count_nonzero(mine)))
    return canvas, owner, objects


def _add_occluders(
    canvas: np.ndarray, owner: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Lay up to two thin bars, from edge to edge of the image, over everything; they are background."""
    for _ in range(rng.integers(0, 3)):
        across, _along = _turn(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8), rng.uniform(0.0, 2 * np.pi))
        distance = np.abs(across) - rng.uniform(0.012, 0.035)
        coverage = np.clip(0.5 - distance * x.shape[0], 0.0, 1.0)
        colour = _colour(rng.uniform(0.0, 360.0), rng.uniform(0.0, 0.9), rng.uniform(0.15, 1.0))
        canvas = canvas + coverage[..., None] * (colour - canvas)
        owner = np.where(coverage >= 0.5, 0, owner).astype(np.uint8)
    return canvas, owner


def _label_map(owner: np.ndarray, objects: list[tuple[int, int]]) -> tuple[np.ndarray, frozenset[tuple[int, int]]]:
    """Class ids with a void band on every border of an object (one pixel to each side at 96), and the modes seen."""
    table = np.array([0, *(kind for kind, _ in objects)], np.uint8)
    reach = max(1, owner.shape[0] // 160)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    border = cv2.dilate(owner, kernel) != cv2.erode(owner, kernel)
    label = np.where(border, VOID, table[owner]).astype(np.uint8)
    areas = np.bincount(owner[~border], minlength=len(table))[1:]
    shown = frozenset(key for key, area in zip(objects, areas, strict=True) if area >= _SHOWN_AREA * owner.size)
    return label, shown


def _photograph(canvas: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the camera adds: uneven light, blur in half of the images, sensor noise. Returns uint8 (S, S, 3)."""
    ramp, _ = _turn(x - 0.5, y - 0.5, rng.uniform(0.0, 2 * np.pi))
    image = canvas * (rng.uniform(0.75, 1.15) + rng.uniform(0.0, 0.6) * ramp)[..., None]
    if rng.random() < 0.5:
        sigma = rng.uniform(0.003, 0.012) * x.shape[0]
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image + rng.uniform(*NOISE_SD) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
