"""From a file's bytes to pixels: which decoder each kind is handed to, so that none reads another picture in silence.

JPEG: libjpeg-turbo by simplejpeg, which says where OpenCV and Pillow fill what is damaged with gray. 8-bit PNG without
palette and alpha: OpenCV, the fastest. Samples of 16 bits: OpenCV (Pillow keeps the high byte alone), TIFF's separate
planes one by one (uncompressed, both decoders mix them up). Everything else: Pillow.

H, W: height and width in pixels.
"""

import io
import re
import struct
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from semiseg.data.formats import (
    OfNoUse,
    Png,
    Tiff,
    format_of,
    parse_png,
    plain_jpeg,
    tiff_planes,
    tiff_tags,
    what_it_is,
)

# What decoders raise for files that are cut off, damaged or of unknown kind; the second line comes of fuzzing them.
BROKEN_PICTURE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError),
    *(RuntimeError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
)
MAX_PIXELS = 500_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower and its advice another: ``check_size`` stands for it
_DAMAGED = ("Corrupt JPEG data", "Premature end of JPEG")
# A few bytes that belong to nothing before the end: cameras and old data sets write them, and no pixel is lost. Where
# they are many the decoder has lost its way. It names the first fault alone, so elsewhere they could hide another.
_HARMLESS = re.compile(r"Corrupt JPEG data: \d{1,2} extraneous bytes before marker 0xd9")
_PNG_MODES = {0: "I;16", 2: "RGB", 4: "LA", 6: "RGBA"}
_TRANSPOSE = {2: ("flip", 1), 3: ("rot", 2), 4: ("flip", 0), 6: ("rot", 3), 8: ("rot", 1)}


class Picture(NamedTuple):
    """``pixels``: uint8 H x W x 3 RGB as stored. ``kind``: format and mode, "PNG I;16". ``bits``: how many of 16 bits
    the values were taken to use, None where samples have 8.
    """

    pixels: np.ndarray
    kind: str
    bits: int | None = None


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture of an image file. Raises: BROKEN_PICTURE; of these ``OfNoUse`` where the file may be sound."""
    decoders = {"JPEG": _jpeg, "PNG": _png, "TIFF": _tiff}
    return decoders.get(format_of(data), _by_pillow)(data, max_pixels)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises: OfNoUse for more pixels than may be read."""
    if width * height > max_pixels:
        raise OfNoUse(
            f"{width} x {height} pixels (width x height), more than dataset.max_pixels={max_pixels}",
            "cut it into tiles, or raise the key if memory allows: an image takes at least 3 bytes a pixel",
        )


def orientation(data: bytes) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none or it is damaged: metadata never decides what can be read."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.format == "TIFF":  # Pillow turns these when it loads them
                return 1
            value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # on damaged blocks Pillow raises whatever it happens upon
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turned(pixels: np.ndarray, value: int) -> np.ndarray:
    """The upright picture of stored pixels (H x W x 3) with an EXIF orientation."""
    if value in (5, 7):  # mirrored along a diagonal
        pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels if value == 5 else pixels[::-1, ::-1])
    way, number = _TRANSPOSE.get(value, ("rot", 0))
    return np.ascontiguousarray(np.flip(pixels, number) if way == "flip" else np.rot90(pixels, number))


def to_eight_bits(values: np.ndarray, declared: int = 0) -> tuple[np.ndarray, int]:
    """(uint8, bits in use) of values of up to 16 bits.

    10, 12 and 14 bits in 16-bit files would be black or dark by their high byte. Taken are the bits that the file
    declares, if its values fit, else those of its largest value, rounded up to 8, 10, 12, 14 or 16.
    """
    needed = max(8, int(values.max(initial=0)).bit_length())
    bits = declared if needed <= declared <= 16 else needed + needed % 2
    return (values >> (bits - 8)).astype(np.uint8), bits


def _jpeg(data: bytes, max_pixels: int) -> Picture:
    plain = plain_jpeg(data)
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(plain, strict=False)
    except ValueError:  # 12 bits, lossless: Pillow says what is wrong
        return _by_pillow(plain, max_pixels)
    check_size(width, height, max_pixels)
    try:
        pixels = simplejpeg.decode_jpeg(plain, "RGB")
    except ValueError as error:
        harmless = _HARMLESS.match(str(error))
        if str(error).startswith(_DAMAGED) and not harmless:
            raise
        # Otherwise a remark on the header, or something this decoder does not know.
        pixels = simplejpeg.decode_jpeg(plain, "RGB", strict=False) if harmless else None
    if colors in ("CMYK", "YCCK"):
        return _by_pillow(plain, max_pixels)
    if pixels is None:
        pixels = _opencv(plain)
    return _by_pillow(plain, max_pixels) if pixels is None else Picture(pixels, _kind("JPEG", colors))


def _kind(name: str, colors: str) -> str:
    return f"{name} {'L' if colors == 'Gray' else 'RGB'}"


def _png(data: bytes, max_pixels: int) -> Picture:
    png = parse_png(data)
    check_size(png.width, png.height, max_pixels)
    picture = _deep_png(png) if png.bits == 16 else _plain_png(png)
    return picture or _by_pillow(png.plain, max_pixels)  # of a damaged PNG OpenCV gives nothing; Pillow says why


def _deep_png(png: Png) -> Picture | None:
    values = _opencv(png.plain, cv2.IMREAD_UNCHANGED)
    if values is None:
        return None
    pixels, bits = to_eight_bits(_three_channels(values), 16 if png.significant == 16 else 0)
    return Picture(pixels, f"PNG {_PNG_MODES.get(png.kind, png.kind)}", bits)


def _plain_png(png: Png) -> Picture | None:
    if png.kind not in (0, 2) or png.bits == 1:
        return None
    pixels = _opencv(png.plain)
    return None if pixels is None else Picture(pixels, f"PNG {'RGB' if png.kind else 'L'}")


def _opencv(data: bytes, flags: int = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) -> np.ndarray | None:
    """RGB(A) or gray from OpenCV, None where it cannot."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if pixels is None or pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _three_channels(values: np.ndarray) -> np.ndarray:
    """Gray three times; alpha is left out."""
    return np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values[..., :3]


def _tiff(data: bytes, max_pixels: int) -> Picture:
    tags = tiff_tags(data)
    check_size(tags.width, tags.height, max_pixels)
    if tags.pages > 1:
        raise OfNoUse(f"a TIFF of {tags.pages} pages", "save the page that is meant as a file of its own")
    is_rgb = tags.photometric == _RGB and tags.bands >= 3 and tags.numbers == 1 and tags.bits in (8, 16)
    if tags.separate and tags.bands > 1:
        if not is_rgb:
            raise tags.unreadable()
        return _from_planes(data, tags)
    if is_rgb and tags.bits == 16 and tags.bands <= 4:
        values = _opencv(data, cv2.IMREAD_UNCHANGED)
        if values is not None and values.dtype == np.uint16:
            pixels, bits = to_eight_bits(values[..., :3], tags.declared)
            return Picture(pixels, "TIFF RGB", bits)
    return _by_pillow(data, max_pixels, tags)


_WHITE_IS_ZERO, _RGB = 0, 2  # TIFF's PhotometricInterpretation


def _from_planes(data: bytes, tags: Tiff) -> Picture:
    planes = []
    for plane in tiff_planes(data, tags):
        with Image.open(io.BytesIO(plane)) as picture:
            planes.append(np.asarray(picture))
    pixels, bits = np.stack(planes, axis=2), None
    if tags.bits == 16:
        pixels, bits = to_eight_bits(pixels, tags.declared)
    return Picture(turned(pixels, tags.turn), "TIFF RGB", bits)  # OpenCV and Pillow turn a TIFF themselves


def _by_pillow(data: bytes, max_pixels: int, tags: Tiff | None = None) -> Picture:
    try:
        picture = Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        raise what_it_is(data) from None
    with picture:
        check_size(*picture.size, max_pixels)
        kind = f"{picture.format} {picture.mode}"
        if picture.mode == "F":
            raise OfNoUse("float gray values have no common scale", "convert the image to 8 or 16 bit")
        if not picture.mode.startswith("I"):
            return Picture(np.asarray(_to_rgb(picture)), kind)
        values = np.asarray(picture)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise OfNoUse("negative or 32-bit gray values have no common scale", "convert the image to 8 or 16 bit")
    pixels, bits = to_eight_bits(values, tags.declared if tags else 0)
    if tags and tags.photometric == _WHITE_IS_ZERO:
        pixels = 255 - pixels
    return Picture(_three_channels(pixels), kind, bits)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if "transparency" in picture.info:  # by way of RGBA, or Pillow warns; the colours themselves stay
        return picture.convert("RGBA").convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")  # convert would make a copy
