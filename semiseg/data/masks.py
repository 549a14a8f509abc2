"""Reading masks as class indices, and refusing those that cannot be meant as they are read.

H, W: height and width in pixels. What is refused is what two programs would read differently: JPEG and its like,
indices that their own palette contradicts, transparent pixels of colour masks, gray of less than 8 bits.
"""

import io
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.common.text import counted, shortened
from semiseg.data.decode import BROKEN_PICTURE, MAX_PIXELS, check_size
from semiseg.data.formats import OfNoUse, changes_values, format_of, parse_png, pgm_maximum, tiff_tags, what_it_is
from semiseg.data.image_files import not_readable, read_bytes
from semiseg.data.specs import Color, DatasetSpec

_CODE = np.array([1 << 16, 1 << 8, 1], np.int32)  # a colour as one number
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_HOW_TO_CONVERT = (
    "convert it (VOC: tools/prepare_voc.py) or, for your own data set, give mask_kind: color and its colors"
)


def read_mask(path: Path, spec: DatasetSpec, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """uint8 H x W of class indices 0..C-1 and ``spec.ignore_label``, from an indexed, gray (8, 16 bit) or colour mask.

    Raises: DataError if the file is missing, damaged, of another kind than ``spec.mask_kind``, holds other labels or
    colours, or contradicts itself.
    """
    data = read_bytes(path, "mask")
    try:
        _refuse_lossy(data, path)
        with _open(data, spec, max_pixels) as picture:
            _refuse_contradictions(picture, path, spec)
            mode = picture.mode
            if spec.mask_kind == "color":
                _refuse_deep_gray(picture)
            # as it is: of mode P that is the indices, not the palette's colours
            values = np.asarray(picture.convert("RGB") if spec.mask_kind == "color" else picture)
    except BROKEN_PICTURE as error:
        raise not_readable(path, "mask", error, "copy or make it again") from None
    if spec.mask_kind == "color":
        return _colors_to_labels(values, path, spec)
    if values.ndim != 2:
        raise DataError(f"{path}: this mask is a color picture ({mode}), not class indices; {_HOW_TO_CONVERT}")
    if values.dtype.kind not in "iub":
        raise DataError(
            f"{path}: mask values are {values.dtype}, expected class indices; save it as 8-bit gray or indexed PNG"
        )
    return _check_labels(values, path, spec)


class MaskContent(NamedTuple):
    """What a mask holds before anybody has said what it means, each with its number of pixels.

    values: of a picture with one band (of mode P: indices), None for a colour picture; as ``read_mask`` sees them where
    masks are indices, and so are ``colors`` where they are colours. palette: colour of each index in use, for mode P.
    one_bit: gray of 1 bit, whose white is 1 as an index. solid: colours that fill 2 x 2 pixels, None: unknown.
    """

    values: Counter[int] | None
    colors: Counter[Color]
    palette: dict[int, Color | None]
    one_bit: bool = False
    solid: frozenset[Color] | None = None


def look_at_mask(path: Path, max_pixels: int = MAX_PIXELS) -> MaskContent:
    """The values and colours of a mask, whatever they mean.

    Raises: DataError if the file is missing, damaged, or of a kind that no mask can be.
    """
    data = read_bytes(path, "mask")
    try:
        _refuse_lossy(data, path)
        with _open(data, None, max_pixels) as picture:
            palette = used_colors(picture) if picture.mode == "P" else {}
            one_bit = picture.mode == "1"
            values = np.asarray(picture).astype(np.uint8) if one_bit else np.asarray(picture)
            _refuse_deep_gray(picture, many_are_fine=True)
            rgb = np.asarray(picture.convert("RGB"))
    except BROKEN_PICTURE as error:
        raise not_readable(path, "mask", error, "copy or make it again") from None
    coded = rgb.astype(np.int32) @ _CODE
    codes, counts = np.unique(coded, return_counts=True)
    colors = _decoded(codes)
    bands = None
    if values.ndim == 2 and values.dtype.kind in "iub":
        bands = Counter(dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True)))
    return MaskContent(bands, Counter(dict(zip(colors, counts.tolist(), strict=True))), palette, one_bit, _solid(coded))


def _decoded(codes: np.ndarray) -> list[Color]:
    return [(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()]


def _solid(coded: np.ndarray) -> frozenset[Color]:
    """The colours that fill 2 x 2 pixels somewhere."""
    first = coded[:-1, :-1]
    alike = (first == coded[1:, :-1]) & (first == coded[:-1, 1:]) & (first == coded[1:, 1:])
    return frozenset(_decoded(np.unique(first[alike])))


def _refuse_lossy(data: bytes, path: Path) -> None:
    lossy = changes_values(data)
    if lossy:
        raise DataError(f"{path}: {lossy} changes label values: masks must be PNG; export them anew, not by renaming")


def _open(data: bytes, spec: DatasetSpec | None, max_pixels: int) -> Image.Image:
    """Pillow's picture, not decoded yet; without a spec gray of any depth. Raises: BROKEN_PICTURE."""
    name = format_of(data)
    bits, colored = 8, False
    if name == "PNG":
        png = parse_png(data)
        bits, colored = png.bits, png.kind != 0
        by_index = spec is not None and spec.mask_kind == "index"
        if by_index and png.kind == 0 and (png.bits in (2, 4) or (png.bits == 1 and _multi(spec))):
            raise OfNoUse(
                f"gray of {counted(png.bits, 'bit')}: white is 255 by its value and {2**png.bits - 1} by its index",
                "save it as 8-bit gray or indexed PNG",
            )
        data = png.plain
    elif name == "TIFF":
        tags = tiff_tags(data)
        bits, colored = tags.bits, tags.bands > 1
        if tags.pages > 1:
            raise OfNoUse(f"a TIFF of {tags.pages} pages", "save the page that is meant as a file of its own")
    elif (largest := pgm_maximum(data)) not in (None, 255, 65535):  # Pillow stretches it to 255, each file by itself
        raise OfNoUse(f"a PGM whose largest value is {largest}, not 255", "save it as 8-bit PNG")
    try:
        picture = Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        raise what_it_is(data) from None
    check_size(*picture.size, max_pixels)
    if bits == 16 and (colored or (spec is not None and spec.mask_kind == "color")):
        _refuse_deep_colors(data, colored)
    return picture


def _refuse_deep_colors(data: bytes, colored: bool) -> None:
    """Of 16 bits Pillow keeps the high byte of a color, and takes gray above 255 for white: right for 65535 alone."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    others = None if values is None else values % 257 if colored else (values > 255) & (values < 65535)
    if others is None or others.any():
        raise OfNoUse("colors of 16 bits a channel that are none of 8 bits", "save it with 8 bits a channel")


def _refuse_deep_gray(picture: Image.Image, many_are_fine: bool = False) -> None:
    """Pillow cuts gray of 32 bits to whole numbers of 0 to 255. With ``many_are_fine`` whole numbers above, which are
    those of single objects, are left to others.
    """
    if picture.mode not in ("F", "I"):
        return
    values = np.unique(np.asarray(picture))
    cut = (values != np.round(values)) | (values < 0)
    above = values > 255
    if picture.mode == "F" or (not many_are_fine and above.sum() > 1):
        cut |= above
    if cut.any():
        raise OfNoUse(
            f"gray values such as {values[cut][0]:g}, which 8 bits do not hold",
            "save a whole number of 0 to 255 for each class, as 8-bit PNG",
        )


def _multi(spec: DatasetSpec) -> bool:
    """Whether white in a mask of two values may mean the ignore label as well as class 1."""
    return spec.num_classes > 2 and spec.ignore_label == 255


def _refuse_contradictions(picture: Image.Image, path: Path, spec: DatasetSpec) -> None:
    if spec.mask_kind == "color":
        if picture.mode in _ALPHA or "transparency" in picture.info:
            alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
            if alpha.min(initial=255) < 255:
                raise DataError(
                    f"{path}: {(alpha < 255).mean():.1%} of the pixels are transparent, so that their colors say "
                    "nothing; save the mask without transparency, with ignore_color where pixels do not count"
                )
    elif picture.mode == "P":
        problem = palette_contradiction(picture, spec)
        if problem:
            raise DataError(f"{path}: {problem}")


def palette_contradiction(picture: Image.Image, spec: DatasetSpec) -> str | None:
    """Why an indexed picture cannot be read by its indices, or None: its palette names other classes than they do.

    Lossless optimizers (oxipng, pngquant, optipng) keep colours and renumber them. Refused and not mapped by colour,
    because only the owner knows which of the two is right. Palettes that name no classes do not matter.
    """
    if not _may_contradict(tuple(palette_of(picture)), spec):  # as always, so that pixels need not be looked at
        return None
    colors = {index: color for index, color in used_colors(picture).items() if index < spec.num_classes}
    labels = {color: index for index, color in enumerate(spec.palette)}
    void = {(255, 255, 255), (224, 224, 192), spec.ignore_color} - labels.keys()
    shown = {index: color for index, color in colors.items() if color not in void}
    wrong = [(index, labels[color]) for index, color in shown.items() if labels.get(color, index) != index]
    if wrong and all(color in labels for color in shown.values()):
        index, meant = wrong[0]
        return (
            f"its palette shows index {index} in the color of {spec.classes[meant]!r}, which is class {meant}: indices "
            f"and colors contradict each other, as after a lossless optimizer; if the colors are right, "
            f"{_HOW_TO_CONVERT}; if the indices are, save it with the palette of the data set or as 8-bit gray"
        )
    grays = _gray_labels(palette_of(picture), spec)
    wrong = [(index, grays[index]) for index in colors if grays.get(index, index) != index]
    if wrong and all(index in grays for index in colors) and any(0 < grays[i] < spec.num_classes for i in colors):
        index, gray = wrong[0]
        return (
            f"its palette shows index {index} as gray {gray}, which is a label as well: indices and gray values "
            "contradict each other, as after a lossless optimizer; save it as 8-bit gray"
        )
    return None


@lru_cache(maxsize=64)
def _may_contradict(palette: tuple[tuple[int, ...], ...], spec: DatasetSpec) -> bool:
    """Whether an index of a class is shown in the colour, or as the gray value, of another label."""
    labels = {color: index for index, color in enumerate(spec.palette)}
    grays = _gray_labels(palette, spec)
    indices = range(min(len(palette), spec.num_classes))
    return any(labels.get(palette[i], i) != i or grays.get(i, i) != i for i in indices)


def _gray_labels(palette: Sequence[tuple[int, ...]], spec: DatasetSpec) -> dict[int, int]:
    """Index -> the label that its gray would be. A gray that several indices have tells nothing; black is padding."""
    labels = {*range(spec.num_classes), spec.ignore_label}
    counts = Counter(palette)
    return {
        index: color[0]
        for index, color in enumerate(palette)
        if len(set(color)) == 1 and color[0] in labels and (counts[color] == 1 or not any(color))
    }


def used_colors(picture: Image.Image) -> dict[int, tuple[int, ...] | None]:
    """Index -> its colour in the palette, None beyond its end, for the indices that occur in a picture of mode P."""
    palette = palette_of(picture)
    used = np.flatnonzero(picture.histogram()[:256]).tolist()
    return {index: palette[index] if index < len(palette) else None for index in used}


def palette_of(picture: Image.Image) -> list[tuple[int, ...]]:
    """The colours of a picture of mode P, by index."""
    channels = picture.getpalette("RGB") or []
    return list(zip(channels[::3], channels[1::3], channels[2::3], strict=False))


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
            f"nor the ignore label {spec.ignore_label}; {_likely_cause(bad, set(occurring.tolist()), spec)}"
        )
    return values.astype(np.uint8)  # a copy: Pillow's own pixels are read-only


def _likely_cause(bad: Sequence[int], occurring: Collection[int], spec: DatasetSpec) -> str:
    if spec.name == "cityscapes" and max(bad) <= 33:
        return "these look like labelIds, not labelTrainIds: run tools/prepare_cityscapes.py"
    if bad == [255]:
        return (
            "if 255 marks ignored pixels here, set ignore_label: 255; a 0/255 mask of 2 classes needs mask_kind: color"
        )
    if bad == [65535]:
        return "65535 marks ignored pixels in some 16-bit masks: save them as 8 bit with 255 there"
    if bad == [spec.num_classes] and 0 not in occurring:
        return "are labels counted from 1? they must start at 0"
    if bad == [spec.num_classes]:
        return "is a class missing in the list of classes, or does this value mark ignored pixels?"
    return "is it a color or gray picture of the classes instead of their indices, or a mask of another data set?"


def _colors_to_labels(rgb: np.ndarray, path: Path, spec: DatasetSpec) -> np.ndarray:
    """Index of each pixel's colour in the palette; H x W x 3 -> H x W."""
    colors = [*spec.palette, *([spec.ignore_color] if spec.ignore_color is not None else [])]
    labels = np.array([*range(spec.num_classes), spec.ignore_label][: len(colors)], np.uint8)
    codes = np.array(colors, np.int32) @ _CODE
    order = np.argsort(codes)
    codes, labels = codes[order], labels[order]
    pixels = rgb.astype(np.int32) @ _CODE
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
