"""Prototypes to look at: the pixels nearest to each, and where features and prototypes lie in a plane.

Shapes: N pixels, D channels, C classes, K prototypes a class; prototype p = class * K + number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semiseg.data.pictures import jpeg
from semiseg.data.specs import DatasetSpec
from semiseg.reporting import html, svg
from semiseg.reporting.gallery import data_uri

_RIGHT, _WRONG, _UNKNOWN = (46, 160, 67), (207, 34, 46), (150, 150, 150)


@dataclass(frozen=True)
class Near:
    """A pixel near a prototype: cosine, label in the mask, id of its image, and the patch around it (RGB)."""

    cosine: float
    label: int
    image: str
    patch: np.ndarray


class Nearest:
    """Keeps the ``keep`` pixels nearest to each prototype, at most one of an image, and counts whose nearest it is."""

    def __init__(self, prototypes: int, keep: int, patch: int):
        self._keep, self._patch = keep, patch
        self.found: list[list[Near]] = [[] for _ in range(prototypes)]
        self.counts = np.zeros(prototypes, np.int64)  # pixels whose nearest prototype this is

    def add(self, name: str, image: np.ndarray, mask: np.ndarray, pixels: np.ndarray, cosines: np.ndarray) -> None:
        """One image: uint8 H x W x 3 and H x W, N pixels (row, column), N x C*K cosines."""
        self.counts += np.bincount(cosines.argmax(1), minlength=len(self.found))
        best = cosines.argmax(0)
        for prototype, index in enumerate(best):
            near, cosine = self.found[prototype], float(cosines[index, prototype])
            if len(near) == self._keep and cosine <= near[-1].cosine:
                continue
            row, column = pixels[index]
            patch = patch_around(image, int(row), int(column), self._patch)
            near.append(Near(cosine, int(mask[row, column]), name, patch))
            self.found[prototype] = sorted(near, key=lambda item: -item.cosine)[: self._keep]


def patch_around(image: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """``side`` x ``side`` pixels with (row, column) in the middle; gray outside the image."""
    half = side // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), constant_values=128)
    return np.ascontiguousarray(padded[row : row + side, column : column + side])


def normalised(rows: np.ndarray) -> np.ndarray:
    """Rows at length 1; zero rows stay zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def plane(features: np.ndarray, prototypes: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Both in the plane of the features' two largest principal components (all rows at length 1 first).

    Returns: N x 2, C*K x 2, and the share of the features' variance in that plane.
    """
    features, prototypes = normalised(features), normalised(prototypes)
    mean = features.mean(0)
    _, sizes, axes = np.linalg.svd(features - mean, full_matrices=False)
    share = float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-30))
    return (features - mean) @ axes[:2].T, (prototypes - mean) @ axes[:2].T, share


def render(
    title: str, spec: DatasetSpec, nearest: Nearest, features: tuple[np.ndarray, np.ndarray], prototypes: np.ndarray
) -> str:
    """The page. ``features``: N x D and the label of each; ``prototypes``: C*K x D."""
    per_class = len(prototypes) // spec.num_classes
    note = (
        "Patches around the pixels of highest cosine, one of each image, the pixel in the middle. Frame: green where "
        "its label is the prototype's class, red where it is another, gray where it is ignored. Share: pixels to which "
        "this prototype is the nearest of all."
    )
    body = [html.heading(title, 1), html.paragraph(note, quiet=True)]
    body += html.section("plane", "Features and prototypes in a plane", _plane_parts(spec, *features, prototypes))
    for index, name in enumerate(spec.classes):
        parts = [_row(spec, nearest, index * per_class + number, number) for number in range(per_class)]
        body += html.section(f"class-{index}", name, parts)
    return html.document(title, body)


def _plane_parts(spec: DatasetSpec, features: np.ndarray, labels: np.ndarray, prototypes: np.ndarray) -> list[str]:
    points, centres, share = plane(features, prototypes)
    per_class = len(prototypes) // spec.num_classes
    groups = [
        svg.Dots(
            name, points[labels == index], spec.palette[index], centres[index * per_class : (index + 1) * per_class]
        )
        for index, name in enumerate(spec.classes)
    ]
    caption = f"{len(features)} pixels (dots) and {len(prototypes)} prototypes (squares); {share:.0%} of the variance"
    classes = zip(spec.palette, spec.classes, strict=True)
    legend = html.legend((f"rgb{color}", name, 1.0) for color, name in classes)
    return [legend, html.figure(caption, svg.scatter(groups))]


def _row(spec: DatasetSpec, nearest: Nearest, prototype: int, number: int) -> str:
    class_id = prototype // (len(nearest.found) // spec.num_classes)
    share = nearest.counts[prototype] / max(1, nearest.counts.sum())
    pictures = []
    for near in nearest.found[prototype]:
        known = near.label < spec.num_classes
        color = _UNKNOWN if not known else _RIGHT if near.label == class_id else _WRONG
        label = spec.classes[near.label] if known else "ignored"
        pictures.append((f"{near.cosine:.2f} {label}", data_uri("jpeg", jpeg(framed(near.patch, color), 90))))
    return html.strip(f"Prototype {number + 1}: share {share:.1%}", pictures)


def framed(patch: np.ndarray, color: Sequence[int], width: int = 4, side: int = 96) -> np.ndarray:
    """The patch enlarged to at least ``side`` pixels, with a frame."""
    factor = max(1, -(-side // len(patch)))
    large = np.repeat(np.repeat(patch, factor, 0), factor, 1)
    return np.stack([np.pad(large[..., c], width, constant_values=value) for c, value in enumerate(color)], axis=-1)
