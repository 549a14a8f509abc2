"""Which classes the labelled masks show: masks that cannot be meant are named before the first step."""

from contextlib import closing
from typing import NamedTuple

import numpy as np

from semiseg.common.errors import DataError
from semiseg.common.text import counted, shortened
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.masks import read_mask
from semiseg.data.read_ahead import or_error, read_ahead
from semiseg.data.specs import DatasetSpec

MOST_MASKS = 1000  # a few seconds; usually a few dozen show every class


class LabelsSeen(NamedTuple):
    """Pixels of each label value (256) in ``masks`` of the ``listed`` masks."""

    pixels: np.ndarray
    masks: int
    listed: int


class LabelProblem(NamedTuple):
    """``hopeless``: one class alone is labelled, so that there is nothing to learn."""

    text: str
    hopeless: bool


def check_labels(part: SegmentationDataset, workers: int, skip: bool) -> list[str]:
    """Notes on labelled masks in which a class never occurs while ignored pixels do.

    Masks are opened, spread over the list, until every class was seen, at most ``MOST_MASKS``. With ``skip`` those that
    cannot be read are passed over.

    Raises: DataError if one class alone is labelled, or for a mask that cannot be read.
    """
    problem = label_problem(part.spec, see_labels(part, workers, skip))
    if problem and problem.hopeless:
        raise DataError(f"{part.root}: {problem.text}")
    return [problem.text] if problem else []


def see_labels(part: SegmentationDataset, workers: int, skip: bool) -> LabelsSeen:
    """The labels of masks, until every class was seen. Raises: DataError, see ``check_labels``."""
    spread = np.argsort(np.arange(len(part)) * 0.6180339887 % 1, kind="stable")[:MOST_MASKS]
    pixels, seen = np.zeros(256, np.int64), 0

    def look(index: int) -> np.ndarray:
        mask = read_mask(part.mask_path(index), part.spec, part.max_pixels)
        return np.bincount(mask.ravel(), minlength=256)

    with closing(read_ahead(or_error(look), spread.tolist(), workers)) as histograms:
        for histogram in histograms:
            if isinstance(histogram, DataError):
                if not skip:
                    raise histogram
                continue
            pixels, seen = pixels + histogram, seen + 1
            if pixels[: part.spec.num_classes].all():
                break
    return LabelsSeen(pixels, seen, len(part))


def label_problem(spec: DatasetSpec, seen: LabelsSeen) -> LabelProblem | None:
    """A class that never occurs while the ignore label does may be drawn with that value, as in 0/255 masks."""
    missing = [name for name, count in zip(spec.classes, seen.pixels, strict=False) if not count]
    ignored = seen.pixels[spec.ignore_label]
    if not missing or not ignored:
        return None
    looked = f"looked at {seen.masks} of {counted(seen.listed, 'labelled mask')}"
    what = (
        f"no labelled pixel of {shortened(missing, 6)}, while {ignored / seen.pixels.sum():.1%} of the pixels hold the "
        f"ignore label {spec.ignore_label} ({looked}): "
    )
    if len(missing) == spec.num_classes - 1:
        fix = (
            f"if {spec.ignore_label} is a class in these masks, as in 0/255 masks, write dataset.custom.mask_kind: "
            f"color and colors, e.g. [[0, 0, 0], [{', '.join(3 * [str(spec.ignore_label)])}]]; else label other images"
        )
        return LabelProblem(what + fix, hopeless=True)
    fix = "is a class drawn with that value? Else another split, or make-splits --class-aware, may show every class"
    return LabelProblem(what + fix, hopeless=False)
