"""Reading image files as people have them: any common kind, and one that is damaged is refused by name.

H, W: height and width in pixels.
"""

import warnings
from pathlib import Path

import numpy as np

from semiseg.common.errors import DataError, Note
from semiseg.common.files import read_file
from semiseg.common.os_errors import how_to_mend, reason
from semiseg.data.decode import BROKEN_PICTURE, MAX_PIXELS, Picture, decode, orientation, turned
from semiseg.data.formats import OfNoUse


def read_image(
    path: Path, size: tuple[int, int] | None = None, upright: bool = False, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """uint8 H x W x 3 RGB of any common image file; see ``read_picture``."""
    return read_picture(path, size, upright, max_pixels).pixels


def read_picture(
    path: Path, size: tuple[int, int] | None = None, upright: bool = False, max_pixels: int = MAX_PIXELS
) -> Picture:
    """The picture of an image file: gray, CMYK, palette, transparent and 16-bit ones become RGB of 8 bits.

    EXIF orientation is applied only if that gives ``size`` (H, W) where the stored pixels do not, or if ``upright`` is
    asked for. A note is given where samples of 16 bits use fewer.

    Raises: DataError if the file is missing, cut off, damaged, no image, or has more than ``max_pixels``.
    """
    data = read_bytes(path, "image")
    try:
        picture = decode(data, max_pixels)
    except BROKEN_PICTURE as error:
        raise not_readable(path, "image", error, "copy or download it again") from None
    if picture.bits not in (None, 16):
        warnings.warn(
            Note(f"16-bit images whose values fit into {picture.bits} bits are scaled by these"), stacklevel=1
        )
    pixels = picture.pixels
    fits_turned = size is not None and pixels.shape[:2] != tuple(size) == pixels.shape[1::-1]
    if fits_turned or upright:
        picture = picture._replace(pixels=turned(pixels, orientation(data)))
    return picture


def is_turned(path: Path) -> bool:
    """Whether an image that can be read carries an EXIF orientation other than upright."""
    return orientation(read_bytes(path, "image")) != 1


def read_bytes(path: Path, what: str) -> bytes:
    """The content of an ``image`` or a ``mask``. Raises: DataError if it is missing or cannot be read."""
    try:
        return read_file(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such {what}; check the data root and the list that names it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read this {what} ({reason(error)}); {how_to_mend(error)}") from None


def not_readable(path: Path, what: str, error: Exception, advice: str) -> DataError:
    """The error to raise for a file that a decoder refused: one line with the reason and what to do."""
    reason = " ".join(str(error).split()) or "damaged"
    if isinstance(error, OfNoUse):
        return DataError(f"{path}: of no use as {what}: {reason}; {error.advice}")
    return DataError(f"{path}: not a complete, readable {what} ({reason}); {advice}")
