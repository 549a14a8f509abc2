"""Damage to a file: to its bytes, whatever they are, and to its structure, format by format.

Everything is drawn from the generator that is given, so that an input can be made again from its number alone.
"""

import io
import json
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from fuzz_inputs import Sound
from image_makers import chunk
from mindspore.train.checkpoint_pb2 import Checkpoint

Rng = np.random.Generator
NUMBERS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 4095, 32767, 65535, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


class Damaged(NamedTuple):
    """``consistent``: checksums were made anew, so that none can tell the damage."""

    data: bytes
    how: str
    consistent: bool = False


def damage(sounds: Sequence[Sound], kind: str, rng: Rng) -> tuple[Sound, Damaged]:
    """One of the sound files of a kind, and a damaged copy of it."""
    sound = sounds[rng.integers(len(sounds))]
    structural = STRUCTURE.get(format_of(sound.data, kind))
    if structural and rng.random() < 0.5:
        return sound, structural(sound.data, rng)
    data, how = sound.data, []
    sounds = [other for other in sounds if other.checked == sound.checked]  # what is spliced in has a checksum as well
    for _ in range(_one_of(rng, [1, 1, 1, 2, 4])):
        name = str(_one_of(rng, list(BYTES)))
        data, how = BYTES[name](data, sounds, rng), [*how, name]
    return sound, Damaged(data, ", ".join(how))


def _one_of(rng: Rng, choices: Sequence[Any]) -> Any:
    """As it is; NumPy's own choice makes a float of a large number."""
    return choices[rng.integers(len(choices))]


# ---- bytes


def _place(data: bytes, rng: Rng) -> int:
    """Anywhere, as often in the first bytes, where headers are."""
    end = max(1, len(data))
    return int(rng.integers(min(end, 64) if rng.random() < 0.4 else end))


def _piece(data: bytes, rng: Rng) -> tuple[int, int]:
    start = _place(data, rng)
    return start, start + int(_one_of(rng, [1, 2, 4, 16, 64, 512]))


def flip(data: bytes, _: Sequence[Sound], rng: Rng) -> bytes:
    """One bit."""
    at = _place(data, rng)
    return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :] if data else data


def overwrite(data: bytes, _: Sequence[Sound], rng: Rng) -> bytes:
    """A piece with zeros, ones or noise."""
    start, end = _piece(data, rng)
    size = min(end, len(data)) - start
    fill = (bytes(size), b"\xff" * size, rng.bytes(max(0, size)))[rng.integers(3)]
    return data[:start] + fill + data[end:]


def number(data: bytes, _: Sequence[Sound], rng: Rng) -> bytes:
    """A number of 1 to 8 bytes, at an edge of its range."""
    at, size = _place(data, rng), int(_one_of(rng, [1, 2, 4, 8]))
    value = int(_one_of(rng, NUMBERS)) % 256**size
    return data[:at] + value.to_bytes(size, str(_one_of(rng, ["big", "little"]))) + data[at + size :]


def cut(data: bytes, _: Sequence[Sound], rng: Rng) -> bytes:
    """The end is missing."""
    return data[: _place(data, rng)]


def drop(data: bytes, _: Sequence[Sound], rng: Rng) -> bytes:
    """A piece is missing."""
    start, end = _piece(data, rng)
    return data[:start] + data[end:]


def insert(data: bytes, _: Sequence[Sound], rng: Rng) -> bytes:
    """Noise in between."""
    start, end = _piece(data, rng)
    return data[:start] + rng.bytes(end - start) + data[start:]


def twice(data: bytes, _: Sequence[Sound], rng: Rng) -> bytes:
    """A piece is there twice, or very often."""
    start, end = _piece(data, rng)
    return data[:end] + data[start:end] * int(_one_of(rng, [1, 1, 1, 300])) + data[end:]


def splice(data: bytes, sounds: Sequence[Sound], rng: Rng) -> bytes:
    """The beginning of one file, the end of another."""
    other = sounds[rng.integers(len(sounds))].data
    at = _place(data, rng)
    return data[:at] + other[at if rng.random() < 0.5 else _place(other, rng) :]


BYTES: dict[str, Callable[[bytes, Sequence[Sound], Rng], bytes]] = {
    function.__name__: function for function in (flip, overwrite, number, cut, drop, insert, twice, splice)
}

# ---- structure


def format_of(data: bytes, kind: str) -> str:
    """Whose structure a file has."""
    if kind in ("lists", "yaml", "safetensors", "ckpt"):
        return kind
    starts = {b"\xff\xd8": "jpeg", b"\x89PNG": "png", b"II*\0": "tiff", b"PK": "zip", b"\x80": "pickle"}
    return next((name for start, name in starts.items() if data.startswith(start)), "")


def png(data: bytes, rng: Rng) -> Damaged:
    """Chunks: dropped, twice, moved, of another length or content; headers that declare another picture."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at : at + 12 + size])
        at += 12 + size
    ways = ["drop", "twice", "move", "length", "crc", "content", "header", "pixels"]
    index, how = int(rng.integers(len(chunks))), str(_one_of(rng, ways))
    whole = chunks[index]
    name, content = whole[4:8], bytearray(whole[8:-4])
    consistent = True
    if how == "drop":
        del chunks[index]
    elif how == "twice":
        chunks.insert(index, whole)
    elif how == "move":
        chunks.insert(int(rng.integers(len(chunks))), chunks.pop(index))
    elif how == "length":
        chunks[index], consistent = struct.pack(">I", int(_one_of(rng, NUMBERS))) + whole[4:], False
    elif how == "crc":
        chunks[index], consistent = whole[:-1] + bytes([whole[-1] ^ 1]), False
    elif how == "header":
        content = bytearray(chunks[0][8:-4])
        field = int(rng.integers(7))
        place = slice(4 * field, 4 * field + 4) if field < 2 else slice(field + 6, field + 7)
        size = place.stop - place.start
        content[place] = (int(_one_of(rng, NUMBERS)) % 256**size).to_bytes(size, "big")
        chunks[0] = chunk(b"IHDR", bytes(content))
    elif how == "pixels":
        raw = bytearray(zlib.decompress(b"".join(c[8:-4] for c in chunks if c[4:8] == b"IDAT")))
        for _ in range(3):
            raw[rng.integers(len(raw))] = int(rng.integers(256))  # also filters that there are not
        raw = raw[: rng.integers(len(raw))] if rng.random() < 0.3 else raw * int(_one_of(rng, [1, 1, 40]))
        first = next(i for i, c in enumerate(chunks) if c[4:8] == b"IDAT")
        kept = [c for c in chunks if c[4:8] != b"IDAT"]
        chunks = [*kept[:first], chunk(b"IDAT", zlib.compress(bytes(raw))), *kept[first:]]
    elif content:
        content[rng.integers(len(content))] = int(rng.integers(256))
        chunks[index] = chunk(name, bytes(content))
    return Damaged(data[:8] + b"".join(chunks), f"chunks: {how}", consistent)


def jpeg(data: bytes, rng: Rng) -> Damaged:
    """Segments: dropped, twice, moved, of another length or content; another size; many components."""
    parts, at = [data[:2]], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append(data[at:end])
        at = end
    scan, index = data[at:], 1 + int(rng.integers(len(parts) - 1))
    how = str(_one_of(rng, ["drop", "twice", "move", "length", "content", "size", "end", "trailing"]))
    if how == "drop":
        del parts[index]
    elif how == "twice":
        parts.insert(index, parts[index])
    elif how == "move":
        parts.insert(1 + int(rng.integers(len(parts) - 1)), parts.pop(index))
    elif how == "length":
        parts[index] = parts[index][:2] + struct.pack(">H", int(_one_of(rng, NUMBERS)) % 65536) + parts[index][4:]
    elif how == "size":
        frame = next(i for i, part in enumerate(parts) if part[:1] == b"\xff" and part[1] in (0xC0, 0xC1, 0xC2))
        field = int(rng.integers(5, 10))
        parts[frame] = overwritten(parts[frame], field, int(_one_of(rng, NUMBERS)) % 256)
    elif how == "end":
        scan = scan[: int(rng.integers(len(scan)))] + b"\xff\xd9"
    elif how == "trailing":
        scan += rng.bytes(int(_one_of(rng, [1, 100, 5000])))
    else:
        parts[index] = overwritten(parts[index], int(rng.integers(4, len(parts[index]))), int(rng.integers(256)))
    return Damaged(b"".join([*parts, scan]), f"segments: {how}")


def overwritten(data: bytes, at: int, value: int) -> bytes:
    """With another byte at a place."""
    return data[:at] + bytes([value]) + data[at + 1 :]


def tiff(data: bytes, rng: Rng) -> Damaged:
    """Tags: another number, type, count or value; directories that follow each other in a circle."""
    at = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[at : at + 2])[0]
    entry = at + 2 + 12 * int(rng.integers(count))
    how = str(_one_of(rng, ["tag", "type", "count", "value", "next", "many"]))
    place, size = {"tag": (entry, 2), "type": (entry + 2, 2), "count": (entry + 4, 4), "value": (entry + 8, 4)}.get(
        how, (at + 2 + 12 * count, 4) if how == "next" else (at, 2)
    )
    value = at if how == "next" and rng.random() < 0.5 else int(_one_of(rng, [*NUMBERS, *range(254, 345)]))
    return Damaged(data[:place] + (value % 256**size).to_bytes(size, "little") + data[place + size :], f"tags: {how}")


def zipped(data: bytes, rng: Rng) -> Damaged:
    """Members of an archive: dropped, twice, renamed, much larger unpacked, other content; then written with right
    checksums.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    index = int(rng.integers(len(members)))
    name, content = members[index]
    how = str(_one_of(rng, ["drop", "twice", "rename", "bomb", "content", "structure", "structure"]))
    if how == "drop":
        del members[index]
    elif how == "twice":
        members.append((name, content[::-1]))
    elif how == "rename":
        names = ["archive/data/0", "../x", "archive/constants.pkl", name + "x", "x" * 300]
        members[index] = (str(_one_of(rng, names)), content)
    elif how == "bomb":
        members[index] = (name, content + bytes(24 << 20))
    elif how == "structure" and name.endswith(".pkl"):
        members[index] = (name, pickled(content, rng).data)
    else:
        members[index] = (name, BYTES[str(_one_of(rng, list(BYTES)))](content, [Sound("", content)], rng))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if how == "bomb" else zipfile.ZIP_STORED) as archive:
        archive._didModify = True
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = archive.compression
            archive.writestr(info, content)
    return Damaged(out.getvalue(), f"members: {how}", consistent=True)


def pickled(data: bytes, rng: Rng) -> Damaged:
    """Opcodes: dropped, twice, moved; numbers and names replaced; containers in each other."""
    try:
        starts = [position for _, _, position in pickletools.genops(data)]
    except Exception:  # of a legacy file the end is no pickle
        starts = list(range(0, min(len(data), 400), 7))
    ends = [*starts[1:], len(data) if len(starts) < 2 else starts[-1] + 1]
    index = int(rng.integers(len(starts)))
    start, end = starts[index], ends[index]
    how = str(_one_of(rng, ["drop", "twice", "number", "name", "deep", "memo", "move"]))
    if how == "drop":
        data = data[:start] + data[end:]
    elif how == "twice":
        data = data[:end] + data[start:end] * int(_one_of(rng, [1, 1, 50])) + data[end:]
    elif how == "number":
        value = int(_one_of(rng, NUMBERS)) - 2**31 if rng.random() < 0.3 else int(_one_of(rng, NUMBERS[:15]))
        data = data[:start] + b"J" + struct.pack("<i", value) + data[end:]
    elif how == "name":
        names = [
            b"cos\nsystem\n",
            b"cbuiltins\neval\n",
            b"ctorch\nFloatStorage\n",
            b"ctorch\nTensor\n",
            b"cnumpy\nndarray\n",
        ]
        data = data[:start] + names[rng.integers(len(names))] + data[end:]
    elif how == "deep":
        depth = int(_one_of(rng, [10, 2000, 100_000]))
        data = data[:start] + b"]" * depth + b"a" * (depth - 1) + data[start:]
    elif how == "memo":
        data = data[:start] + b"r" + struct.pack("<I", int(_one_of(rng, NUMBERS))) + data[start:]
    else:
        other = int(rng.integers(len(starts)))
        data = data[:start] + data[starts[other] : ends[other]] + data[start:]
    return Damaged(data, f"opcodes: {how}", consistent=True)


def ckpt(data: bytes, rng: Rng) -> Damaged:
    """Entries of the message: other dimensions, types, names, content; with a right checksum or the old one."""
    marked = data[-17:].startswith(b"crc_num")
    body, message = data[:-17] if marked else data, Checkpoint()
    message.ParseFromString(body)
    entry = message.value[rng.integers(len(message.value))]
    how = str(_one_of(rng, ["dims", "type", "name", "content", "drop", "twice", "empty"]))
    if how == "dims":
        entry.tensor.dims[:] = [int(_one_of(rng, [*NUMBERS, -1])) for _ in range(rng.integers(6))]
    elif how == "type":
        entry.tensor.tensor_type = str(
            _one_of(rng, ["Float32", "Float16", "Int64", "str", "BFloat16", "Bool", "x" * 99])
        )
    elif how == "name":
        entry.tag = str(_one_of(rng, [message.value[0].tag, "semiseg.record", "", "木" * 50, "a\0b"]))
    elif how == "content":
        content = entry.tensor.tensor_content
        entry.tensor.tensor_content = BYTES[str(_one_of(rng, list(BYTES)))](content, [Sound("", content)], rng)
    elif how == "drop":
        del message.value[rng.integers(len(message.value))]
    elif how == "twice":
        message.value.add().CopyFrom(entry)
    else:
        del message.value[:]
    new = message.SerializeToString()
    consistent = bool(rng.random() < 0.5) or new == body
    checksum = zlib.crc32(new).to_bytes(10, "big") if consistent else data[-10:]
    return Damaged(new + (b"crc_num" + checksum if marked else b""), f"entries: {how}", consistent)


def safetensors(data: bytes, rng: Rng) -> Damaged:
    """The header: its length, offsets, shapes and types, keys twice, depth."""
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    names = [name for name in header if name != "__metadata__"]
    entry = header[names[rng.integers(len(names))]]
    how = str(_one_of(rng, ["length", "offsets", "shape", "type", "twice", "deep", "drop", "body"]))
    if how == "length":
        return Damaged(struct.pack("<Q", int(_one_of(rng, [*NUMBERS, 2**63, 2**64 - 1]))) + data[8:], "header: length")
    if how == "offsets":
        entry["data_offsets"] = [int(_one_of(rng, NUMBERS)) for _ in range(2)]
    elif how == "shape":
        entry["shape"] = [int(_one_of(rng, [*NUMBERS, 2**40, 2**63 - 1])) for _ in range(rng.integers(6))]
    elif how == "type":
        entry["dtype"] = str(_one_of(rng, ["F32", "F16", "BF16", "I64", "F8_E4M3", "BOOL", "X", "U64"]))
    elif how == "drop":
        entry.pop(str(_one_of(rng, list(entry))))
    elif how == "body":
        body = body[: rng.integers(len(body))]
    text = json.dumps(header)
    if how == "twice":
        text = text[:-1] + "," + text[1:]
    elif how == "deep":
        text = '{"a":' + "[" * int(_one_of(rng, [10, 200, 50_000])) + text
    return Damaged(struct.pack("<Q", len(text)) + text.encode() + body, f"header: {how}")


_VALUES = (
    *("null", "[]", "{}", "-1", "1e999", "0x7f", "1_16", "~", ".nan", "'", "!!python/object:os.system x", "*a"),
    *("&a [*a]", "9" * 5000, "2026-01-01", "true", '"\\ud800"', '"a\\0b"', "[1, 2, [3]]", "!!binary abc", "<<", "? x"),
    *("\t", "%YAML 2.0", "/", "~root/x", "~nobody_at_all/x", "..", "a\u2028b", "[0, 0]", "[-5, 7]", "0", "0.0"),
    *("1e-320", "!!set {a}", "|", "inf"),
)


def _disorder(lines: list, index: int, how: str, rng: Rng) -> None:
    """One line of text or bytes is dropped, repeated or moved."""
    if how == "drop":
        del lines[index]
    elif how == "twice":
        lines.insert(index, lines[index])
    else:
        lines.insert(int(rng.integers(len(lines))), lines.pop(index))


def configuration(data: bytes, rng: Rng) -> Damaged:
    """Lines: dropped, twice, moved, indented; values of other kinds; anchors in each other, depth, tags."""
    lines = data.decode("utf-8", "replace").splitlines() or [""]
    index = int(rng.integers(len(lines)))
    how = str(
        _one_of(rng, ["drop", "twice", "move", "indent", "value", "value", "value", "anchors", "deep", "key", "long"])
    )
    if how in ("drop", "twice", "move"):
        _disorder(lines, index, how, rng)
    elif how == "indent":
        lines[index] = " " * int(rng.integers(6)) + lines[index].lstrip()
    elif how == "value":
        key, colon, _ = lines[index].partition(":")
        lines[index] = f"{key}{colon or ':'} {_VALUES[rng.integers(len(_VALUES))]}"
    elif how == "key":
        lines[index] = re.sub(
            r"[a-z_]+(?=:)", str(_one_of(rng, ["base", "seed", "x" * 2000, "1", "null", "[a]"])), lines[index]
        )
    elif how == "anchors":
        width, depth = int(rng.integers(2, 12)), int(rng.integers(3, 12))
        lines[:0] = ["a0: &a0 {seed: 1, b: [1, 2, 3]}"]
        lines[1:1] = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
        where = str(_one_of(rng, ["dataset", "trainer", "net", "base", "x"]))
        lines.append(f"{where}: *a{depth - 1}")
    elif how == "deep":
        lines.insert(index, "x: " + str(_one_of(rng, ["[", "{a: ", "- "])) * int(_one_of(rng, [10, 900, 20_000])))
    else:
        lines[index] += " " * 5000 + "x" * 50_000
    return Damaged("\n".join(lines).encode("utf-8", "replace"), f"lines: {how}")


_WORDS = (
    *(
        b"../x",
        b"\xff\xfe",
        b'{"a": [1]}',
        b"image,mask",
        b"# x",
        b"#",
        b'"a b", c',
        b"\0",
        b"a.png b.png c.png",
        b"\xc3",
    ),
    *(
        b"C:\\x",
        b"\r",
        b"\x1a",
        b"\x0b",
        b"\xe2\x80\xa8",
        b" ",
        b"a.jpg",
        b"/",
        b"//",
        b".",
        b"leftImg8bit/_leftImg8bit.png",
    ),
)


def listing(data: bytes, rng: Rng) -> Damaged:
    """Lines: dropped, twice, moved, joined, very long; columns, quotes, other encodings."""
    lines = data.splitlines(keepends=True) or [b""]
    index = int(rng.integers(len(lines)))
    how = str(_one_of(rng, ["drop", "twice", "move", "join", "long", "columns", "text"]))
    word = _WORDS[rng.integers(len(_WORDS))]
    if how in ("drop", "twice", "move"):
        _disorder(lines, index, how, rng)
    elif how == "join":
        lines[index] = lines[index].strip() + word * int(_one_of(rng, [1, 3]))
    elif how == "long":
        lines[index] = (word + bytes(_one_of(rng, [b" ", b",", b"", b".png "]))) * int(
            _one_of(rng, [10, 1000, 20_000])
        ) + lines[index]
    elif how == "columns":
        lines = [
            line.replace(b" ", b"").rstrip() + bytes(_one_of(rng, [b",", b";", b"\t", b" "])) + word + b"\n"
            for line in lines
        ]
    else:
        lines.insert(index, word + b"\n")
    return Damaged(b"".join(lines), f"lines: {how}")


STRUCTURE: dict[str, Callable[[bytes, Rng], Damaged]] = {
    **{"png": png, "jpeg": jpeg, "tiff": tiff, "zip": zipped, "pickle": pickled, "ckpt": ckpt},
    **{"safetensors": safetensors, "yaml": configuration, "lists": listing},
}
