"""SegmentationClassAug from PASCAL VOC 2012 and SBD: which file gives which mask, and masks as class indices.

VOC's own masks win over SBD's: they are finer and have an ignored border. Where both sets are complete that gives
12,031 masks: 10,582 to train with (train_aug) and VOC's 1,449 validation masks.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from semiseg.common.errors import DataError
from semiseg.common.files import matching, replace_file
from semiseg.data.decode import BROKEN_PICTURE
from semiseg.data.image_files import read_bytes
from semiseg.data.masks import read_mask, used_colors
from semiseg.data.pictures import index_png
from semiseg.data.specs import SPECS

MASKS, TRAIN_AUG, TRAIN, VAL = 12_031, 10_582, 1_464, 1_449
_SPEC = SPECS["pascal"]
_COLOR_SPEC = replace(_SPEC, mask_kind="color")


def find_voc(folder: Path) -> Path:
    """VOC2012 itself, given it or a folder above it. Raises: DataError if JPEGImages is not there."""
    for candidate in (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012"):
        if (candidate / "JPEGImages").is_dir():
            return candidate
    raise DataError(
        f"{folder}: no VOC2012 here; expected the folder that holds JPEGImages and SegmentationClass (--download DIR "
        "fetches it)"
    )


def find_sbd(folder: Path) -> Path:
    """SBD's folder of .mat files (cls), given it or a folder above it. Raises: DataError if there is none."""
    below = ("cls", "dataset/cls", "benchmark_RELEASE/dataset/cls", ".")
    for candidate in (folder / name for name in below):
        if candidate.is_dir() and matching(candidate, "*.mat"):
            return candidate
    raise DataError(f"{folder}: no SBD here; expected benchmark_RELEASE, which holds dataset/cls/*.mat")


def mask_sources(voc: Path, sbd: Path | None, extra: Path | None = None) -> dict[str, Path]:
    """id -> the file its mask is made from, sorted by id: SegmentationClass, else SBD, else the folder ``extra``."""
    source_of: dict[str, Path] = {}
    for folder, suffix in ((extra, "png"), (sbd, "mat"), (voc / "SegmentationClass", "png")):
        if folder is not None:
            source_of |= {path.stem: path for path in matching(folder, f"*.{suffix}")}
    return dict(sorted(source_of.items()))


def read_source(path: Path) -> np.ndarray:
    """uint8 H x W of class indices and 255 from a VOC mask (indexed or in VOC's colours) or an SBD .mat file.

    Raises: DataError naming the file if it is damaged or holds anything else.
    """
    return _read_mat(path) if path.suffix == ".mat" else _read_png(path)


def _read_png(path: Path) -> np.ndarray:
    return read_mask(path, _COLOR_SPEC if _holds_colors(path) else _SPEC)


def _holds_colors(path: Path) -> bool:
    """Whether the classes of a mask are told by its colours: RGB, or indexed with VOC's colours in another order."""
    try:
        with Image.open(io.BytesIO(read_bytes(path, "mask"))) as picture:
            if picture.mode != "P":
                return picture.mode in ("RGB", "RGBA")
            colors = used_colors(picture)
    except BROKEN_PICTURE:
        return False  # read_mask says what is wrong
    official = [tuple(color) for color in _SPEC.full_palette().tolist()]
    known = {*_SPEC.palette, _SPEC.ignore_color}
    return set(colors.values()) <= known and any(official[index] != color for index, color in colors.items())


def _read_mat(path: Path) -> np.ndarray:
    data = read_bytes(path, "mask")
    try:
        content = loadmat(io.BytesIO(data), squeeze_me=True, struct_as_record=False)
        labels = np.asarray(content["GTcls"].Segmentation)
    except Exception:  # on damaged bytes scipy's reader raises whatever it happens upon
        raise DataError(f"{path}: not a readable SBD mask (GTcls.Segmentation); extract benchmark.tgz again") from None
    if labels.ndim != 2 or labels.dtype.kind not in "iuf" or not np.isin(labels, [*range(21), 255]).all():
        raise DataError(f"{path}: GTcls.Segmentation is no picture of the 21 VOC classes; extract benchmark.tgz again")
    return labels.astype(np.uint8)


@dataclass(frozen=True)
class MaskWriter:
    """Makes the mask of an id in ``out`` from ``sources``, beside the images of ``voc``."""

    voc: Path
    out: Path
    sources: Mapping[str, Path]
    overwrite: bool = False

    def __call__(self, sample: str) -> str:
        """ "written", or "kept" where the right mask is there already.

        Raises: DataError for a damaged source, a mask of another size than its image, or another mask in the place;
            UserError if it cannot be written.
        """
        labels = read_source(self.sources[sample])
        self._check_size(sample, labels)
        target = self.out / f"{sample}.png"
        if target.exists() and not self.overwrite:
            problem = _difference(target, labels)
            if problem:
                raise DataError(f"{target}: {problem}; --overwrite replaces it, --out writes elsewhere")
            return "kept"
        replace_file(target, index_png(labels, _SPEC.full_palette()))
        return "written"

    def _check_size(self, sample: str, labels: np.ndarray) -> None:
        path = self.voc / "JPEGImages" / f"{sample}.jpg"
        if not path.exists():
            raise DataError(f"{path}: there is a mask ({self.sources[sample].name}) but no such image")
        try:
            with Image.open(io.BytesIO(read_bytes(path, "image"))) as picture:
                width, height = picture.size
        except BROKEN_PICTURE:
            raise DataError(f"{path}: not a readable image; extract VOCtrainval again") from None
        if labels.shape != (height, width):
            raise DataError(
                f"{self.sources[sample]}: mask is {labels.shape[1]} x {labels.shape[0]} pixels (width x height), its "
                f"image {width} x {height}"
            )


def _difference(target: Path, labels: np.ndarray) -> str | None:
    """Why the mask that is there already is not the one that would be written, or None."""
    if _holds_colors(target):
        return "a mask in colors is there, training needs class indices"
    try:
        there = read_mask(target, _SPEC)
    except DataError:
        return "a file that is no VOC mask is there"
    return None if np.array_equal(there, labels) else "a mask with other labels is there"


def classic_lists(train: list[str], val: list[str], masks: list[str]) -> dict[str, list[str]]:
    """The lists that follow from VOC's own: val, and split 1464 (train labelled, the rest of train_aug unlabelled)."""
    known = {*train, *val}
    rest = [sample for sample in sorted(masks) if sample not in known]
    return {"val.txt": val, "1464/labeled.txt": train, "1464/unlabeled.txt": rest}
