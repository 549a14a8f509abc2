"""Images and VOC masks for tests of reading, also such as Pillow cannot write."""

import struct
import zlib

import numpy as np
from PIL import Image

from semiseg.data.specs import get_spec

VOC = get_spec("pascal")


def picture(height=30, width=40, seed=0):
    """A smooth colour image, so that JPEG hardly changes it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(30, 220, (4, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def labels(height=30, width=40, seed=0):
    values = np.random.default_rng(seed).integers(0, 21, (height, width)).astype(np.uint8)
    values[0] = 255
    return values


def indexed(values):
    mask = Image.fromarray(values)
    mask.putpalette(VOC.full_palette().tobytes())
    return mask


def close(image, reference, mean=3.0):
    """Equal up to what JPEG and colour conversion change."""
    difference = np.abs(image.astype(int) - np.asarray(reference).astype(int))
    return image.shape == np.asarray(reference).shape and difference.mean() < mean


def tiff_bytes(values, separate=False, photometric=None, numbers=1, deflate=False, rows=None, **tags):
    """A TIFF of H x W or H x W x bands in any type of numbers; ``tags``: t281=[4095]."""
    values = values if values.ndim == 3 else values[..., None]
    height, width, bands = values.shape
    rows = rows or height
    planes = [values[..., band] for band in range(bands)] if separate else [values]
    strips = [np.ascontiguousarray(p[top : top + rows]).tobytes() for p in planes for top in range(0, height, rows)]
    strips = [zlib.compress(strip) if deflate else strip for strip in strips]
    bits = 8 * values.dtype.itemsize
    offsets = np.cumsum([8, *map(len, strips)])[:-1].tolist()
    table = {256: [width], 257: [height], 258: [bits] * bands, 259: [8 if deflate else 1], 273: offsets}
    table |= {262: [(2 if bands >= 3 else 1) if photometric is None else photometric], 277: [bands], 278: [rows]}
    table |= {279: list(map(len, strips)), 284: [2 if separate else 1], 339: [numbers] * bands}
    table |= {338: [0] * (bands - 3)} if bands > 3 else {}
    table |= {int(tag[1:]): content for tag, content in tags.items()}
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    at = 8 + len(body)
    behind, entries = b"", struct.pack("<H", len(table))
    for tag, content in sorted(table.items()):
        packed = struct.pack(f"<{len(content)}I", *content)
        place = struct.pack("<I", at + 2 + 12 * len(table) + 4 + len(behind))
        entries += struct.pack("<HHI", tag, 4, len(content)) + (packed if len(packed) == 4 else place)
        behind += b"" if len(packed) == 4 else packed
    return b"II*\0" + struct.pack("<I", at) + body + entries + bytes(4) + behind


def chunk(name, content):
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_bytes(gray, bits, *chunks):
    """A gray PNG of H x W with 1, 2, 4, 8 or 16 bits; ``chunks`` come before the pixels."""
    height, width = gray.shape
    if bits < 8:
        lines = [np.packbits(np.unpackbits(line[:, None], axis=1)[:, 8 - bits :].ravel()) for line in gray]
    else:
        lines = gray.astype(">u2" if bits == 16 else np.uint8)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    middle = b"".join(chunks) + chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IEND", b"")
