"""Whether one run is better than another on the same images: a paired bootstrap over the images.

N images, C classes, R resamples. A resample draws N of the images with replacement; both runs are scored on the same
draw, with mIoU over the classes that are labelled in it; one that no image shows counts as 0, as in ``metrics``.
Efron and Tibshirani, "An Introduction to the Bootstrap".
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semiseg.common.errors import DataError
from semiseg.common.files import read_file
from semiseg.common.os_errors import how_to_mend, reason
from semiseg.common.rng import generator

RESAMPLES = 10_000
_AT_ONCE = 500  # resamples; bounds memory


@dataclass(frozen=True)
class ImageCounts:
    """Scores of a run by image. ``counts``: int64 N x 3 x C, for each class pixels that are right, labelled, predicted;
    ``miou``: percent, of the whole set.
    """

    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    counts: np.ndarray
    miou: float


@dataclass(frozen=True)
class Difference:
    """Percent points, first minus second. ``above``: share of the resamples in which the first is the better one."""

    mean: float
    low: float
    high: float
    above: float
    images: int

    def __str__(self) -> str:
        return (
            f"{self.mean:+.2f}, 95% interval {self.low:+.2f} to {self.high:+.2f} (paired bootstrap over {self.images} "
            f"images, {RESAMPLES} resamples; above 0 in {self.above:.1%})"
        )


def read_counts(path: Path) -> ImageCounts:
    """The counts by image in the JSON of ``semiseg evaluate --json``.

    Raises:
        DataError: it cannot be read, or holds none.
    """
    try:
        scores = json.loads(read_file(path))
        ids, rows = zip(*scores["image_counts"].items(), strict=True)
        counts, classes = np.array(rows, np.int64), tuple(scores["iou"])
        if counts.shape != (len(ids), 3, len(classes)):
            raise ValueError
        return ImageCounts(str(path), classes, ids, counts, float(scores["miou"]))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); {how_to_mend(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path}: holds no counts by image (image_counts); expected what `semiseg evaluate --json FILE` writes"
        ) from None


def compare(first: Sequence[ImageCounts], second: Sequence[ImageCounts], seed: int = 0) -> Difference:
    """Mean mIoU of the ``first`` runs (of several seeds, say) minus that of the ``second``, and its interval.

    Raises:
        DataError: the runs were scored on other images or classes.
    """
    runs = (*first, *second)
    _require_same_images(runs)
    draw = generator(seed, "paired bootstrap")
    images = len(runs[0].ids)
    differences = []
    for _ in range(0, RESAMPLES, _AT_ONCE):
        times = draw.multinomial(images, np.full(images, 1 / images), _AT_ONCE).astype(np.float64)
        scores = [_mious(times, run.counts) for run in runs]
        differences.append(np.mean(scores[: len(first)], axis=0) - np.mean(scores[len(first) :], axis=0))
    found = np.concatenate(differences)
    low, high = np.percentile(found, (2.5, 97.5))
    whole = np.mean([run.miou for run in first]) - np.mean([run.miou for run in second])
    return Difference(float(whole), float(low), float(high), float(np.mean(found > 0)), images)


def _mious(times: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Percent of each resample: float64 R x N (how often an image is drawn) and N x 3 x C -> R."""
    hit, labelled, predicted = np.moveaxis((times @ counts.reshape(len(counts), -1)).reshape(len(times), 3, -1), 1, 0)
    iou = hit / np.maximum(labelled + predicted - hit, 1)
    occurs = labelled > 0
    nowhere = np.sum(counts[:, 1].sum(0) == 0)
    return 100 * (iou * occurs).sum(1) / np.maximum(occurs.sum(1) + nowhere, 1)


def _require_same_images(runs: Sequence[ImageCounts]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for what, here, there in (("classes", run.classes, first.classes), ("images", run.ids, first.ids)):
            if here != there:
                differing = sorted(set(here) ^ set(there)) or ["their order"]
                raise DataError(
                    f"{run.name}: scored on other {what} than {first.name} (differs: {differing[0]}); score both "
                    "with the same list"
                )
        others = np.flatnonzero((run.counts[:, 1] != first.counts[:, 1]).any(1))
        if len(others):
            raise DataError(
                f"{run.name}: scored on other labelled pixels than {first.name} (differs: {run.ids[others[0]]}); score "
                "both with the same masks and evaluation.mode (center leaves out what is not in the middle)"
            )
