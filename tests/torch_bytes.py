"""Bytes of .pth files without torch: a few pickle opcodes by hand, in the zip and in the legacy container."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class Global(NamedTuple):
    module: str
    name: str


class Call(NamedTuple):
    function: Any
    args: tuple


class Build(NamedTuple):
    target: Any
    state: Any


class Persistent(NamedTuple):
    pid: tuple


def tensor(kind: str, key: str, numel: int, size: tuple, stride: tuple, offset: int = 0, view=None) -> Call:
    """A tensor as torch.save describes it; ``view`` = (key, offset, numel) makes it a legacy storage view."""
    pid = ("storage", Global("torch", f"{kind}Storage"), key, "cpu", numel)
    storage = Persistent(pid + ((view,) if view is not None else ()))
    hooks = Call(Global("collections", "OrderedDict"), ())
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (storage, offset, size, stride, False, hooks))


def opcodes(value: Any) -> bytes:
    """Protocol 2 opcodes that leave ``value`` on the stack."""
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return opcodes(value.function) + opcodes(value.args) + b"R"
    if isinstance(value, Build):
        return opcodes(value.target) + opcodes(value.state) + b"b"
    if isinstance(value, Persistent):
        return opcodes(value.pid) + b"Q"
    if isinstance(value, dict):
        return b"}(" + b"".join(opcodes(k) + opcodes(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    return pickle.dumps(value, 2)[2:-1]


def stream(value: Any) -> bytes:
    return b"\x80\x02" + opcodes(value) + b"."


def write_zip(path: Path, value: Any, storages: dict[str, bytes], **members: bytes) -> Path:
    """A zip .pth; ``members`` adds files beside data.pkl or replaces them."""
    files = {"data.pkl": stream(value), "version": b"3\n"} | {f"data/{k}": raw for k, raw in storages.items()} | members
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in files.items():
            archive.writestr(f"archive/{name}", raw)
    return path


def write_legacy(path: Path, value: Any, storages: dict[str, tuple[int, bytes]], little: bool = True) -> Path:
    """A legacy .pth; ``storages``: key -> (number of elements, raw bytes)."""
    out = io.BytesIO()
    for part in (LEGACY_MAGIC, 1001, {"protocol_version": 1001, "little_endian": little}, value, list(storages)):
        out.write(stream(part))
    for numel, raw in storages.values():
        out.write(struct.pack("<q" if little else ">q", numel) + raw)
    path.write_bytes(out.getvalue())
    return path
