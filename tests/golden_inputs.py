"""Inputs of the golden files by formula: the same bits on every machine and for every numpy, so nothing is stored."""

import zlib

import numpy as np

SIZE = (65, 64)
CLASSES, K, PLANES, WIDTH, BATCH = 4, 2, 8, 4, 2
GRID = 8
OHEM = {"thresh": 0.3, "min_kept": 1500}
RATES = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3, "times": 4.0}
STEP = 3  # of the teacher's average: decay 0.75
PROTO_MOMENTUM = 0.9


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 in [0, 1): splitmix64 of a counter that starts at the name's checksum, upper 53 bits."""
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += np.uint64(zlib.crc32(name.encode())) << np.uint64(20)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53


def between(name: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """float32 in [low, high)."""
    return (low + (high - low) * uniform(name, shape)).astype(np.float32)


def integers(name: str, shape: tuple[int, ...], count: int) -> np.ndarray:
    """int32 in 0..count-1."""
    return np.minimum(uniform(name, shape) * count, count - 1).astype(np.int32)


def weight(name: str, shape: tuple[int, ...], salt: str = "student") -> np.ndarray:
    """A parameter by its published (PyTorch) name: convolutions scaled by their fan, scales near 1, the rest small."""
    key = f"{salt} {name}"
    if len(shape) == 4:
        bound = (6 / np.prod(shape[1:])) ** 0.5
        return between(key, shape, -bound, bound)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return between(key, shape, 0.5, 1.5)
    return between(key, shape, -1, 1) if name.endswith("proto_list") else between(key, shape, -0.3, 0.3)


def blocks(name: str, count: int) -> np.ndarray:
    """Label maps B x H x W of 8 x 8 blocks."""
    small = integers(name, (BATCH, 9, 8), count)
    return small.repeat(8, 1).repeat(8, 2)[:, : SIZE[0], : SIZE[1]]


def step_inputs() -> dict[str, np.ndarray]:
    """Everything that a training step is given; shapes as in the prototype method's ``prepare``."""
    label = blocks("label", CLASSES)
    label[0, :7] = 255
    rows = np.arange(GRID)[:, None] * (SIZE[0] // GRID) + integers("rows", (GRID, GRID), SIZE[0] // GRID)
    cols = np.arange(GRID)[None, :] * (SIZE[1] // GRID) + integers("cols", (GRID, GRID), SIZE[1] // GRID)
    inputs = {
        "image_l": between("image_l", (BATCH, 3, *SIZE), -2, 2),
        "label_l": label,
        "image_u": between("image_u", (BATCH, 3, *SIZE), -2, 2),
        "label_u": blocks("label_u", CLASSES),
        "kept_u": (blocks("kept_u", 5) > 1).astype(np.float32),
        "rows": rows.ravel(),
        "cols": cols.ravel(),
    }
    for layer in range(4):
        inputs[f"dropout{layer}"] = (uniform(f"dropout{layer}", (2 * BATCH, PLANES)) >= 0.1).astype(np.float32)
    return inputs


def summary(name: str, values: np.ndarray) -> np.ndarray:
    """Five numbers of an array: four weighted sums, by patterns that its name fixes, and its norm."""
    flat = np.asarray(values, np.float64).ravel()
    patterns = uniform(f"summary {name}", (4, flat.size)) * 2 - 1
    return np.concatenate([patterns @ flat, [np.sqrt((flat**2).sum())]])
