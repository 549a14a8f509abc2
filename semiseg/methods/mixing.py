"""Which pixels of an image are replaced (CutMix, ClassMix) or blanked (Cutout). B, H, W: images, height, width."""

import cv2
import numpy as np


def cutmix_boxes(batch: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One box of half the image's area per image, as U2PL draws them.

    Width is uniform over the integers [W // 2 + 1, W), height = round(area / width), the position uniform.

    Returns: int32 B x 4, rows of (top, left, height, width), inside the image.
    Raises: ValueError if the image is narrower than 3 pixels, where no such width exists.
    """
    if width < 3 or height < 1:
        raise ValueError(f"no half-area box fits an image of {height} x {width} pixels")
    widths = rng.integers(width // 2 + 1, width, size=batch)
    heights = np.round(height * width / 2 / widths).astype(np.int64)
    tops = rng.integers(0, height - heights + 1)
    lefts = rng.integers(0, width - widths + 1)
    return np.stack([tops, lefts, heights, widths], axis=1).astype(np.int32)


def box_masks(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool B x H x W, True inside each box of (top, left, height, width)."""
    top, left, tall, wide = (boxes[:, i, None] for i in range(4))
    rows, cols = np.arange(height)[None], np.arange(width)[None]
    in_rows = (rows >= top) & (rows < top + tall)
    in_cols = (cols >= left) & (cols < left + wide)
    return in_rows[:, :, None] & in_cols[:, None, :]


def class_masks(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool B x H x W, False on half of the classes of each image (rounded down), drawn at random: those stay.

    Source: ClassMix (https://arxiv.org/abs/2007.07936) as U2PL has it, where the kept classes are the image's own.
    """
    masks = np.ones(labels.shape, bool)
    for mask, label in zip(masks, labels, strict=True):
        classes = np.unique(label)
        mask &= ~np.isin(label, rng.permutation(classes)[: len(classes) // 2])
    return masks


def component_box(pixels: np.ndarray, min_area: float, rng: np.random.Generator) -> np.ndarray | None:
    """The bounding box (top, left, height, width) of a random connected component of more than ``min_area`` pixels.

    Args:
        pixels: bool H x W. Pixels that touch at a corner are connected.

    Returns:
        int32 of length 4, or None where no component is large enough. One number is drawn in any case.
    """
    along = rng.random()
    count, _, found, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    large = [c for c in range(1, count) if found[c, cv2.CC_STAT_AREA] > min_area]
    if not large:
        return None
    chosen = found[large[int(along * len(large))]]
    keys = (cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH)
    return chosen[list(keys)].astype(np.int32)
