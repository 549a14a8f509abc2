"""What both sides of a benchmark are given: sizes, seeded arrays, a folder of images. numpy and Pillow only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, PER_CLASS, CELLS = 21, 4, 32  # VOC with the published prototype head
LR, MOMENTUM, DECAY, TIMES = 0.001, 0.9, 1e-4, 10.0
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
EVAL_SIDE, WINDOW = 513, 769


@dataclass(frozen=True)
class Batch:
    """As our streams yield it: float32 B x 3 x H x W, int32 B x H x W."""

    ids: list[str]
    images: np.ndarray
    labels: np.ndarray | None


def batch(seed: int, size: int, side: int, labelled: bool, classes: int = CLASSES) -> Batch:
    """Blocky labels with ignored pixels, images of noise."""
    rng = np.random.default_rng([seed, labelled])
    images = rng.normal(0, 1, (size, 3, side, side)).astype(np.float32)
    if not labelled:
        return Batch([f"image{i}" for i in range(size)], images, None)
    cells = rng.integers(0, classes, (size, -(-side // 40), -(-side // 40)))
    labels = cells.repeat(40, 1).repeat(40, 2)[:, :side, :side].astype(np.int32)
    labels[:, :8] = 255
    return Batch([f"image{i}" for i in range(size)], images, labels)


def crops(count: int, side: int) -> list[np.ndarray]:
    """uint8 side x side x 3: smooth colours with edges, as photographs have."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse]


def write_images(folder: Path, count: int, height: int, width: int) -> None:
    """A VOC-layout folder of photographs-sized JPEG and indexed PNG files, named in val.txt; kept if it is there."""
    if (folder / "val.txt").is_file():
        return
    rng = np.random.default_rng(0)
    for part in ("JPEGImages", "SegmentationClassAug"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    names = [f"image_{i:03}" for i in range(count)]
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        picture = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "JPEGImages" / f"{name}.jpg", quality=90)
        cells = rng.integers(0, CLASSES, (-(-height // 60), -(-width // 60)), dtype=np.uint8)
        mask = cells.repeat(60, 0).repeat(60, 1)[:height, :width].copy()
        mask[:4] = 255
        Image.fromarray(mask).save(folder / "SegmentationClassAug" / f"{name}.png")
    (folder / "val.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
