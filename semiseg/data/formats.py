"""What a file is, told by its bytes: formats by their first bytes, chunks of PNG, segments of JPEG, tags of TIFF.

Nothing here decodes pixels. Metadata that does not change pixels is taken out before any decoder sees the file, so that
broken or huge metadata never decides whether an image can be read.
"""

import io
import re
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

from PIL import TiffImagePlugin

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Chunks of a PNG that change its pixels: the critical ones begin with a capital; tRNS is transparency.
_TRANSPARENCY = b"tRNS"
# What is known to change no pixel and is passed over whatever its checksum says. A name that is not known and has a
# wrong checksum may be a damaged one of the others.
_METADATA = frozenset(
    b"tEXt zTXt iTXt eXIf tIME iCCP gAMA cHRM sRGB cICP mDCV cLLI bKGD hIST sPLT pHYs oFFs pCAL sCAL sTER "
    b"gIFg gIFt gIFx acTL fcTL fdAT iDOT vpAg orNT caNv caBX dSIG meTa".split()
)

# First bytes of files that are often given for an image, what they are, and what to do.
_NO_IMAGE = (
    (b"PK\x03\x04", "a ZIP archive, a PyTorch checkpoint or an Office file", "unpack it, or name the image itself"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it"),
    (b"\x89HDF\r\n", "an HDF5 file", "save its images as PNG"),
    (b"CDF", "a NetCDF file", "save its images as PNG"),
    (b"\x93NUMPY", "a NumPy array", "save it as PNG"),
    (b"%PDF", "a PDF", "save its pages as PNG"),
    (b"8BPS", "a Photoshop document", "export it as PNG"),
    (b"SIMPLE  =", "a FITS file", "save it as 8- or 16-bit PNG"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "run git lfs pull"),
    (b"<svg", "an SVG drawing", "export it as PNG"),
)
_JPEG_2000_STARTS = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_SAMPLE_KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floating point numbers", 6: "complex numbers"}


def format_of(data: bytes) -> str:
    """ "JPEG", "PNG", "TIFF", or "" for everything else."""
    if data.startswith(_JPEG_START):
        return "JPEG"
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    return "TIFF" if data.startswith(_TIFF_STARTS) else ""


def changes_values(data: bytes) -> str:
    """The name of a format that does not surely keep the values of pixels (JPEG, lossy WebP, AVIF, HEIF), else ""."""
    if data.startswith(_JPEG_START):
        return "JPEG"
    if (data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8 ") or (data[12:16] == b"VP8X" and b"VP8 " in data[16:4096]):
        return "lossy WebP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1"):
        return "AVIF or HEIF"
    if data.startswith(_JPEG_2000_STARTS):
        return "JPEG 2000"
    if format_of(data) == "TIFF" and tiff_tags(data).compression in (6, 7, 33003, 33005, 34712, 34892):
        return "TIFF with JPEG inside"
    return ""


def pgm_maximum(data: bytes) -> int | None:
    """The largest value that a PGM's header announces; None of everything else."""
    if data[:2] not in (b"P2", b"P5"):
        return None
    words = re.sub(rb"#[^\n]*", b"", data[2:1024]).split(None, 3)
    return int(words[2]) if len(words) > 2 and words[2].isdigit() else None


class OfNoUse(ValueError):
    """A file that may be sound and still cannot be used; ``advice`` says what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


def what_it_is(data: bytes) -> ValueError:
    """What a file is that no decoder knows as an image; ``OfNoUse`` where copying it again would not help."""
    if not any(data[:65536]):
        return ValueError("the file is empty" if not data else "the file begins with zeros alone")
    for start, what, advice in _NO_IMAGE:
        if data.startswith(start):
            return OfNoUse(what, advice)
    if _is_safetensors(data):
        return OfNoUse("a .safetensors file of weights", "images are PNG, JPEG or TIFF; weights go to --checkpoint")
    if data.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return ValueError("a web page or XML, perhaps a server's answer instead of the file")
    if data[4:8] == b"ftyp":
        return OfNoUse(f"a {data[8:12].decode('latin-1').strip()} file: HEIF or a film", "save it as PNG or JPEG")
    if format_of(data) == "TIFF":
        return tiff_tags(data).unreadable()
    return ValueError("no image format that is known")


def _is_safetensors(data: bytes) -> bool:
    """A header of JSON after its length in eight bytes."""
    return len(data) > 9 and data[8:9] == b"{" and 2 <= struct.unpack("<Q", data[:8])[0] <= 100_000_000


# ---- JPEG


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments before the first scan; the scan itself is (0xDA, start, start).

    Bytes between two segments belong to neither: some cameras pad there.

    Raises: OSError where the data end before the scan begins.
    """
    at = 2
    while 0 <= (at := data.find(b"\xff", at)) <= len(data) - 4:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            yield marker, at, at
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        at = end
    raise OSError("the JPEG data end early")


def plain_jpeg(data: bytes) -> bytes:
    """The same picture without metadata: of the application segments JFIF's and Adobe's alone say how colours are kept.

    Raises: OSError where the data end early (in a scan 0xFF is always escaped, so 0xFFD9 is the real end; a thumbnail's
        own end comes before it).
    """
    kept, scan = [data[:2]], None
    for marker, start, end in jpeg_segments(data):
        if marker == 0xDA:
            scan = start
        elif not (0xE1 <= marker <= 0xEF and marker != 0xEE) and marker != 0xFE:
            kept.append(data[start:end])
    if scan is None or data.find(b"\xff\xd9", scan) < 0:
        raise OSError("the JPEG data end early")
    return b"".join([*kept, data[scan:]])


# ---- PNG


class Png(NamedTuple):
    """``plain``: the file without what does not change pixels. ``bits``: of a sample. ``kind``: PNG's number of the
    colour type. ``significant``: bits that sBIT names, 0 without it.
    """

    plain: bytes
    width: int
    height: int
    bits: int
    kind: int
    significant: int


def parse_png(data: bytes) -> Png:
    """Raises: OSError where the data end early, do not begin with a header, or differ from their checksum, which OpenCV
    and Pillow do not always look at.
    """
    kept, significant, at, view = [PNG_SIGNATURE], 0, len(PNG_SIGNATURE), memoryview(data)
    while True:
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise OSError("the PNG data end early")
        if name not in _METADATA and crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise OSError(f"the PNG's checksum of {name.decode('latin-1')} does not fit")
        if name == b"IHDR" and len(kept) == 1:
            header = struct.unpack(">IIBB", data[at + 8 : at + 18])
        elif len(kept) == 1:
            raise OSError("the PNG begins without a header")
        elif name == b"sBIT":
            significant = max(data[at + 8 : at + 8 + min(length, 3)], default=0)
        if name[:1].isupper() or name == _TRANSPARENCY:
            kept.append(data[at:end])
        if name == b"IEND":
            break
        at = end
    plain = data if sum(map(len, kept)) == len(data) else b"".join(kept)
    width, height, bits, kind = header
    return Png(plain, width, height, bits, kind, significant)


# ---- TIFF


class Tiff(NamedTuple):
    """Tags of the first picture of a TIFF. ``pages``: pictures that are no smaller copies or masks of another one."""

    width: int
    height: int
    bands: int
    bits: int
    numbers: int  # SampleFormat
    photometric: int
    separate: bool
    compression: int
    declared: int  # bits that MaxSampleValue names, 0 without it
    pages: int
    turn: int  # orientation, 1 to 8
    first: TiffImagePlugin.ImageFileDirectory_v2

    def unreadable(self) -> OfNoUse:
        """What it is, and what to do."""
        kind = _SAMPLE_KINDS.get(self.numbers, "numbers of unknown kind")
        bands = "1 band" if self.bands == 1 else f"{self.bands} bands"
        planes = " in separate planes" if self.separate else ""
        return OfNoUse(
            f"a TIFF of {bands} of {self.bits}-bit {kind}{planes}",
            "save one band, or red, green and blue, as 8- or 16-bit unsigned integers, scaled as they should be seen "
            "(gdal_translate -b 1 -b 2 -b 3 -ot Byte -scale IN OUT)",
        )


def tiff_tags(data: bytes) -> Tiff:
    """Raises: OSError for damaged tags."""
    try:
        stream = io.BytesIO(data)
        first = TiffImagePlugin.ImageFileDirectory_v2(data[:16] if data[2:4] in (b"+\0", b"\0+") else data[:8])
        stream.seek(first.next)
        first.load(stream)
        pages, following, seen = 1, first.next, set()
        while following and following not in seen and len(seen) < 10_000:
            seen.add(following)
            page = TiffImagePlugin.ImageFileDirectory_v2(data[:16] if data[2:4] in (b"+\0", b"\0+") else data[:8])
            stream.seek(following)
            page.load(stream)
            pages += page.get(254, 0) & 5 == 0  # 1: a smaller copy, 4: a mask of transparency
            following = page.next
        bits, most = first.get(258, (1,)), first.get(281, 0)
        return Tiff(
            *(int(first[256]), int(first[257]), int(first.get(277, 1))),
            *(int(max(_numbers(bits))), int(_numbers(first.get(339, 1))[0]), int(first.get(262, 1))),
            *(first.get(284, 1) == 2, int(first.get(259, 1)), int(max(_numbers(most))).bit_length(), pages),
            *(_numbers(first.get(274, 1))[0], first),
        )
    except Exception as error:  # on damaged bytes Pillow's reader raises whatever it happens upon
        raise OSError(f"damaged TIFF tags: {error}") from None


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) and value else (value,) if isinstance(value, int) else (0,)


def tiff_planes(data: bytes, tags: Tiff) -> list[bytes]:
    """A TIFF of separate planes as one gray TIFF for each of its first three planes, over the same pixel data."""
    return [_plane(data, tags, number) for number in range(min(3, tags.bands))]


def _plane(data: bytes, tags: Tiff, number: int) -> bytes:
    values = {tag: _numbers(value) for tag, value in tags.first.items() if tag in _SHARED_TAGS}
    for tag in _PLACE_TAGS:
        if tag in tags.first:
            places = _numbers(tags.first[tag])
            share = len(places) // tags.bands
            values[tag] = places[number * share : (number + 1) * share]
    values |= {258: (tags.bits,), 262: (1,), 277: (1,), 284: (1,), 339: (tags.numbers,)}
    order = "<" if data[:2] == b"II" else ">"
    at = len(data) + len(data) % 2
    start = data[:2] + struct.pack(f"{order}HI", 42, at) + data[8:]
    return start.ljust(at, b"\0") + _directory(values, order, at)


def _directory(values: Mapping[int, tuple[int, ...]], order: str, at: int) -> bytes:
    """Tags as 4-byte integers, in a directory that begins at byte ``at`` of its file."""
    entries, behind = struct.pack(f"{order}H", len(values)), b""
    first = at + 2 + 12 * len(values) + 4
    for tag in sorted(values):
        packed = struct.pack(f"{order}{len(values[tag])}I", *values[tag])
        inline = packed if len(packed) == 4 else struct.pack(f"{order}I", first + len(behind))
        entries += struct.pack(f"{order}HHI", tag, _LONG, len(values[tag])) + inline
        behind += b"" if len(packed) == 4 else packed
    return entries + bytes(4) + behind


_LONG = 4  # TIFF's number of the type
# Size, compression, rows of a strip, predictor, tile size; and where strips or tiles lie.
_SHARED_TAGS = frozenset({256, 257, 259, 278, 317, 322, 323})
_PLACE_TAGS = (273, 279, 324, 325)
