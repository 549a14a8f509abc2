"""Reading MindSpore's .ckpt without MindSpore's loader, which crashes the process on some damaged files.

No other library reads the format; the parsing itself is protobuf's, over MindSpore's own description of the message.

The file is one protobuf message: a list of (name, dimensions, type name, raw bytes), then, where it was asked for, the
word crc_num and ten bytes of CRC-32. A tensor above 512 MB comes in several entries of one name, one after the other.
"""

import math
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from google.protobuf.message import DecodeError
from mindspore.train.checkpoint_pb2 import Checkpoint

_TYPES = {f"{kind}{bits}": f"<{letter}{bits // 8}" for kind, letter, sizes in (
    ("Int", "i", (8, 16, 32, 64)), ("UInt", "u", (8, 16, 32, 64)), ("Float", "f", (16, 32, 64))
) for bits in sizes} | {"Bool": "?"}  # fmt: skip
_MARK, _TRAILER = b"crc_num", 17


class DamagedFile(Exception):
    """The content is no whole checkpoint; the message says why, without the path."""


class Content(NamedTuple):
    """Arrays and texts by name, and whether a checksum vouches for them."""

    arrays: dict[str, np.ndarray]
    texts: dict[str, str]
    checked: bool


def read_ckpt(path: Path) -> Content:
    """Everything in a .ckpt. bfloat16 becomes float32. Raises DamagedFile, or OSError where it cannot be read."""
    raw = path.read_bytes()
    checked = raw[-_TRAILER:].startswith(_MARK)
    if checked:
        raw, expected = raw[:-_TRAILER], int.from_bytes(raw[-10:], "big")
        if crc32(raw) != expected:
            raise DamagedFile("its checksum does not fit")
    message = Checkpoint()
    try:
        message.ParseFromString(raw)
    except (DecodeError, UnicodeDecodeError):
        raise DamagedFile("no MindSpore checkpoint, or cut off") from None
    parts: dict[str, list] = {}
    for entry in message.value:
        parts.setdefault(entry.tag, []).append(entry.tensor)
    if not parts:
        raise DamagedFile("it holds no parameter")
    arrays, texts = {}, {}
    for name, tensors in parts.items():
        content = b"".join(tensor.tensor_content for tensor in tensors)
        if tensors[0].tensor_type == "str":
            texts[name] = _text(name, content)
        else:
            arrays[name] = _array(name, tuple(tensors[0].dims), tensors[0].tensor_type, content)
    return Content(arrays, texts, checked)


def _array(name: str, dims: tuple[int, ...], kind: str, content: bytes) -> np.ndarray:
    if dims == (0,) and content:  # how a scalar is written
        dims = ()
    half = kind == "BFloat16"
    dtype = np.dtype("<u2" if half else _TYPES.get(kind, "V1"))
    if dtype.kind == "V" or any(d < 0 for d in dims) or math.prod(dims) * dtype.itemsize != len(content):
        raise DamagedFile(f"{name[:80]!r} has {len(content)} bytes for {list(dims)[:8]} numbers of type {kind[:20]!r}")
    array = np.frombuffer(content, dtype).reshape(dims)
    return (array.astype(np.uint32) << 16).view(np.float32) if half else array.copy()


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-32-le").rstrip("\0")
    except UnicodeDecodeError:
        raise DamagedFile(f"{name[:80]!r} is no text") from None
