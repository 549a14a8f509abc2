"""Prototypes to look at: the pixels nearest to each, and where features and prototypes lie in a plane.

Shapes: N pixels, D channels, C classes, K prototypes a class; prototype p = class * K + number.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from semiseg.common.errors import DataError
from semiseg.common.rng import generator
from semiseg.data.pictures import jpeg
from semiseg.data.specs import DatasetSpec
from semiseg.reporting.charts import Chart, Dots, in_use, scatter
from semiseg.reporting.gallery import data_uri
from semiseg.reporting.templates import Table, class_marks, render, table

_PIXELS_A_CLASS = 200  # in the plane
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
        self.of_prototype: list[list[Near]] = [[] for _ in range(prototypes)]
        self.counts = np.zeros(prototypes, np.int64)  # pixels whose nearest prototype this is

    def add(self, name: str, image: np.ndarray, mask: np.ndarray, pixels: np.ndarray, cosines: np.ndarray) -> None:
        """One image: uint8 H x W x 3 and H x W, N pixels (row, column), N x C*K cosines."""
        self.counts += np.bincount(cosines.argmax(1), minlength=len(self.of_prototype))
        best = cosines.argmax(0)
        for prototype, index in enumerate(best):
            near, cosine = self.of_prototype[prototype], float(cosines[index, prototype])
            if len(near) == self._keep and cosine <= near[-1].cosine:
                continue
            row, column = pixels[index]
            patch = patch_around(image, int(row), int(column), self._patch)
            near.append(Near(cosine, int(mask[row, column]), name, patch))
            self.of_prototype[prototype] = sorted(near, key=lambda item: -item.cosine)[: self._keep]


class FeatureSample:
    """Keeps features of as many pixels of each class, from all of ``images`` images, for the plane."""

    def __init__(self, classes: int, images: int, seed: int):
        self._features: list[list[np.ndarray]] = [[] for _ in range(classes)]
        self._seed, self._seen = seed, 0
        self._share = max(1, -(-4 * _PIXELS_A_CLASS // images))  # of one image, so that not all come from the first

    def add(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """One image: features N x D and the label of each pixel; labels that are no class are left out."""
        for class_id in np.unique(labels[labels < len(self._features)]):
            pixels = np.flatnonzero(labels == class_id)
            rng = generator(self._seed, "show_prototypes", self._seen, int(class_id))
            self._features[class_id].append(rows[rng.permutation(pixels)[: self._share]])
        self._seen += 1

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Features M x D, at most 200 of a class, and labels M."""
        chosen = [np.concatenate(parts)[:_PIXELS_A_CLASS] if parts else None for parts in self._features]
        if all(rows is None for rows in chosen):
            raise DataError("no labelled pixel in the images that were looked at; take more (--images), or others")
        labels = [np.full(len(rows), class_id) for class_id, rows in enumerate(chosen) if rows is not None]
        return np.concatenate([rows for rows in chosen if rows is not None]), np.concatenate(labels)


def look(
    samples: Iterable[tuple[str, np.ndarray, np.ndarray]],
    feature: Callable[[np.ndarray], np.ndarray],
    prototypes: np.ndarray,
    nearest: Nearest,
    sample: FeatureSample,
) -> None:
    """Shows every image to ``nearest`` and ``sample``.

    Args:
        samples: (id, uint8 H x W x 3, uint8 H x W) of each image.
        feature: what the network makes of such an image: D x h x w.
        prototypes: C*K x D.
    """
    directions = normalised(prototypes).T
    for name, image, mask in samples:
        maps = feature(image)
        rows = maps.reshape(len(maps), -1).T
        pixels = feature_pixels(mask.shape, maps.shape[1:])
        nearest.add(name, image, mask, pixels, normalised(rows) @ directions)
        sample.add(rows, mask[pixels[:, 0], pixels[:, 1]])


def feature_pixels(size: tuple[int, int], source: tuple[int, int]) -> np.ndarray:
    """For each cell of a map of ``source`` h x w, row by row, the pixel (row, column) of the H x W image under it."""
    rows, cols = (np.rint(np.linspace(0, n - 1, m)).astype(int) for n, m in zip(size, source, strict=True))
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).reshape(-1, 2)


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


def render_prototypes(
    title: str,
    spec: DatasetSpec,
    nearest: Nearest,
    features: tuple[np.ndarray, np.ndarray],
    prototypes: np.ndarray,
    folder: str = "",
) -> str:
    """The page: every class and its prototypes, or an overview that leads to ``folder``/``page_name`` of each class.

    ``features``: N x D and the label of each; ``prototypes``: C*K x D.
    """
    groups = class_groups(spec, nearest)
    overview = table(
        ["class", "prototypes in use", "patches of the class, percent"],
        [[group["name"], group["in_use"], group["right"]] for group in groups],
        "Classes, worst first",
    )
    return render(
        "prototypes.html.j2",
        title=title,
        legend=class_marks(spec),
        plane=_plane_chart(spec, *features, prototypes),
        overview=overview,
        classes=groups,
        folder=quote(folder),
    )


def render_class(title: str, groups: Sequence[dict[str, Any]], place: int, overview: str) -> str:
    """The page of the class at ``place`` of ``groups``. ``overview``: the file name of the page one folder above."""
    return render(
        "prototype_class.html.j2",
        with_charts=False,
        title=f"{groups[place]['name']}: {title}",
        group=groups[place],
        before=groups[place - 1] if place else None,
        after=groups[place + 1] if place + 1 < len(groups) else None,
        overview=quote(overview),
    )


def page_name(index: int, name: str) -> str:
    """The file of the class with that number."""
    return f"{index:02d}_{re.sub(r'[^A-Za-z0-9]+', '_', name)}.html"


def class_groups(spec: DatasetSpec, nearest: Nearest) -> list[dict[str, Any]]:
    """For each class ``name``, ``file``, how many of its prototypes are ``in_use``, ``right`` (percent of the patches
    whose pixel has the class's label), a ``table`` and ``rows`` (captions with pictures); the class with the fewest
    right patches comes first.
    """
    per_class = len(nearest.of_prototype) // spec.num_classes
    groups = []
    for index, name in enumerate(spec.classes):
        first = index * per_class
        known = [
            near.label
            for of_one in nearest.of_prototype[first : first + per_class]
            for near in of_one
            if near.label < spec.num_classes
        ]
        groups.append(
            {
                "name": name,
                "file": page_name(index, name),
                "in_use": in_use(nearest.counts[first : first + per_class]),
                "right": 100 * known.count(index) / len(known) if known else None,
                "table": _class_table(spec, nearest, index, per_class),
                "rows": [_row(spec, nearest, index, number) for number in range(per_class)],
            }
        )
    return sorted(groups, key=lambda group: -1 if group["right"] is None else group["right"])


def _class_table(spec: DatasetSpec, nearest: Nearest, class_id: int, per_class: int) -> Table:
    """A line for each prototype of a class."""
    head = ["prototype", "share of all pixels, percent", "highest cosine", "lowest cosine", "patches of the class"]
    rows = []
    for number in range(per_class):
        prototype = class_id * per_class + number
        near = nearest.of_prototype[prototype]
        share = 100 * float(nearest.counts[prototype]) / max(1, int(nearest.counts.sum()))
        right = sum(item.label == class_id for item in near)
        cosines = (near[0].cosine, near[-1].cosine) if near else (None, None)
        rows.append([str(number + 1), share, *cosines, f"{right} of {len(near)}"])
    return table(head, rows, f"Prototypes of {spec.classes[class_id]}")


def _plane_chart(spec: DatasetSpec, features: np.ndarray, labels: np.ndarray, prototypes: np.ndarray) -> Chart:
    points, centres, share = plane(features, prototypes)
    of_class = centres.reshape(spec.num_classes, -1, 2)
    groups = [
        Dots(name, points[labels == index], spec.palette[index], of_class[index])
        for index, name in enumerate(spec.classes)
    ]
    caption = f"{len(features)} pixels (dots) and {len(prototypes)} prototypes (squares); {share:.0%} of the variance"
    return Chart(caption, scatter(groups), words=_distances(spec, points, labels, of_class))


def _distances(spec: DatasetSpec, points: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> str:
    """What the plane shows, in words: how many pixels of each class lie nearest to a prototype of their own."""
    words = []
    for index, name in enumerate(spec.classes):
        own = points[labels == index]
        if len(own):
            nearest = np.linalg.norm(own[:, None, None] - centres[None], axis=-1).min(2).argmin(1)
            words.append(f"{name} {np.mean(nearest == index):.0%}")
    return f"in this plane nearest to a prototype of their own class: {', '.join(words)}"


def _row(spec: DatasetSpec, nearest: Nearest, class_id: int, number: int) -> dict[str, Any]:
    """Caption and pictures (what it shows, data URI) of a prototype."""
    prototype = class_id * (len(nearest.of_prototype) // spec.num_classes) + number
    share = nearest.counts[prototype] / max(1, nearest.counts.sum())
    pictures = []
    for near in nearest.of_prototype[prototype]:
        known = near.label < spec.num_classes
        color = _UNKNOWN if not known else _RIGHT if near.label == class_id else _WRONG
        label = spec.classes[near.label] if known else "ignored"
        pictures.append((f"{near.cosine:.2f} {label}", data_uri("jpeg", jpeg(framed(near.patch, color), 90))))
    return {"caption": f"Prototype {number + 1}: share {share:.1%}", "pictures": pictures}


def framed(patch: np.ndarray, color: Sequence[int], width: int = 4, side: int = 96) -> np.ndarray:
    """The patch enlarged to at least ``side`` pixels, with a frame."""
    factor = max(1, -(-side // len(patch)))
    large = np.repeat(np.repeat(patch, factor, 0), factor, 1)
    return np.stack([np.pad(large[..., c], width, constant_values=value) for c, value in enumerate(color)], axis=-1)
