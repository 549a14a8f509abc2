"""Reading image and mask files as people have them: any common kind, and one that is damaged is refused by name.

H, W: height and width in pixels.
"""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from semiseg.common.errors import DataError
from semiseg.common.text import shortened
from semiseg.data.specs import DatasetSpec

# What Pillow raises for files that are cut off, damaged, of unknown kind, or absurdly large.
BROKEN_PICTURE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def read_image(path: Path, size: tuple[int, int] | None = None, upright: bool = False) -> np.ndarray:
    """uint8 H x W x 3 RGB of any common image file: gray, CMYK, palette, transparent and 16-bit ones are converted.

    EXIF orientation is applied only if that gives ``size`` (H, W) where the stored pixels do not, or if ``upright`` is
    asked for.

    Raises: DataError if the file is missing, cut off, damaged or no image.
    """
    data = _read_bytes(path, "image")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            pixels = _decode_fast(picture, data)
            if pixels is None:
                pixels = np.asarray(_to_rgb(picture))
            turned = size is not None and pixels.shape[:2] != tuple(size) == pixels.shape[1::-1]
            if (turned or upright) and picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                pixels = np.asarray(_to_rgb(ImageOps.exif_transpose(picture)))
    except BROKEN_PICTURE as error:
        raise DataError(
            f"{path}: not a complete, readable image ({_reason(error)}); copy or download it again"
        ) from None
    return pixels


def _read_bytes(path: Path, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such {what}; check the data root and the list that names it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read this {what} ({error.strerror})") from None


def _decode_fast(picture: Image.Image, data: bytes) -> np.ndarray | None:
    """OpenCV's decoder (about 1.6 times as fast as Pillow's) where both give the same pixels, else None.

    OpenCV returns the upper part of a truncated JPEG without a word, so the end marker is looked for first. Of a
    damaged PNG it returns nothing; Pillow then finds the reason.
    """
    if picture.mode not in ("RGB", "L") or picture.format not in ("JPEG", "PNG"):
        return None
    if picture.format == "JPEG" and not _jpeg_is_complete(data):
        raise OSError("the JPEG data end early")
    if picture.format == "PNG" and b"IEND" not in data[-12:]:
        return None
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _jpeg_is_complete(data: bytes) -> bool:
    """Whether an end-of-image marker follows the start of the main scan (a thumbnail's own marker comes before it)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
        elif data[at + 1] == 0xDA:  # start of scan; inside it 0xFF is always escaped, so 0xFFD9 is the real end
            return data.find(b"\xff\xd9", at) >= 0
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit gray: the high byte, as every viewer shows it
        values = np.asarray(picture)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("32-bit gray values have no common scale; convert the image to 8 or 16 bit")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("float gray values have no common scale; convert the image to 8 or 16 bit")
    if "transparency" in picture.info:  # by way of RGBA, or Pillow warns; the colours themselves stay
        return picture.convert("RGBA").convert("RGB")
    return picture.convert("RGB")


def _reason(error: Exception) -> str:
    return (
        "no image format that is known" if isinstance(error, Image.UnidentifiedImageError) else str(error) or "damaged"
    )


def read_mask(path: Path, spec: DatasetSpec) -> np.ndarray:
    """uint8 H x W of class indices 0..C-1 and ``spec.ignore_label``, from an indexed, gray (8, 16 bit) or colour mask.

    Raises: DataError if the file is missing, damaged, of another kind than ``spec.mask_kind``, or holds other labels or
    colours.
    """
    data = _read_bytes(path, "mask")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            mode = picture.mode
            # as it is: of mode P that is the indices, not the palette's colours
            values = np.asarray(_to_rgb(picture) if spec.mask_kind == "color" else picture)
    except BROKEN_PICTURE as error:
        raise DataError(f"{path}: not a complete, readable mask ({_reason(error)}); copy or make it again") from None
    if spec.mask_kind == "color":
        return _colors_to_labels(values, path, spec)
    if values.ndim != 2:
        raise DataError(
            f"{path}: this mask is a color picture ({mode}), not class indices; convert it (VOC: tools/prepare_voc.py) "
            "or, for your own data set, give mask_kind: color and its colors"
        )
    if values.dtype.kind not in "iub":
        raise DataError(
            f"{path}: mask values are {values.dtype}, expected class indices; save it as 8-bit gray or indexed PNG"
        )
    return _check_labels(values, path, spec)


def _check_labels(values: np.ndarray, path: Path, spec: DatasetSpec) -> np.ndarray:
    """``values`` as uint8, after a look at which values occur (a histogram: 0.05 ms for a VOC mask)."""
    if values.dtype == np.uint8:
        occurring = np.flatnonzero(cv2.calcHist([np.ascontiguousarray(values)], [0], None, [256], [0, 256]))
    else:
        occurring = np.unique(values)
    bad = [int(v) for v in occurring if not 0 <= v < spec.num_classes and v != spec.ignore_label]
    if bad:
        shown = shortened(bad, 8)
        raise DataError(
            f"{path}: label values {shown} are neither one of the {spec.num_classes} classes 0..{spec.num_classes - 1} "
            f"nor the ignore label {spec.ignore_label}; {_likely_cause(bad, path, spec)}"
        )
    return values.astype(np.uint8)  # a copy: Pillow's own pixels are read-only


def _likely_cause(bad: Sequence[int], path: Path, spec: DatasetSpec) -> str:
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return "JPEG changes label values: masks must be PNG"
    if spec.name == "cityscapes" and max(bad) <= 33:
        return "these look like labelIds, not labelTrainIds: run tools/prepare_cityscapes.py"
    if bad == [255]:
        return (
            "if 255 marks ignored pixels here, set ignore_label: 255; a 0/255 mask of 2 classes needs mask_kind: color"
        )
    if bad == [65535]:
        return "65535 marks ignored pixels in some 16-bit masks: save them as 8 bit with 255 there"
    if bad == [spec.num_classes] and spec.num_classes > 1:
        return "are labels counted from 1? they must start at 0"
    return "is it a color or gray picture of the classes instead of their indices, or a mask of another data set?"


def _colors_to_labels(rgb: np.ndarray, path: Path, spec: DatasetSpec) -> np.ndarray:
    """Index of each pixel's colour in the palette; H x W x 3 -> H x W."""
    colors = [*spec.palette, *([spec.ignore_color] if spec.ignore_color is not None else [])]
    labels = np.array([*range(spec.num_classes), spec.ignore_label][: len(colors)], np.uint8)
    weights = np.array([1 << 16, 1 << 8, 1], np.int32)
    codes = np.array(colors, np.int32) @ weights
    order = np.argsort(codes)
    codes, labels = codes[order], labels[order]
    pixels = rgb.astype(np.int32) @ weights
    index = np.minimum(np.searchsorted(codes, pixels), len(codes) - 1)
    known = codes[index] == pixels
    if not known.all():
        others = np.unique(rgb[~known], axis=0)
        shown = shortened(map(tuple, others.tolist()))
        raise DataError(
            f"{path}: {len(others)} colors are not in the palette of {spec.name}: {shown} ({(~known).mean():.1%} of "
            "the pixels); add them to colors, or give the color of ignored pixels as ignore_color (smoothed or JPEG "
            "masks cannot be read)"
        )
    return labels[index]
