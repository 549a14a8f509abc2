"""Read .pth files (zip and legacy) without torch, and the authors' pickle of initial prototypes.

The formats as torch.save writes them: a zip of ``data.pkl`` and one raw file per storage under ``data/``, or, before
PyTorch 1.6, five pickles in a row (magic number, version, platform, object, storage keys) and the raw storages. In
both, a tensor is a call of ``torch._utils._rebuild_tensor_v2`` on a storage that the pickle names by a persistent id.
"""

import functools
import io
import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from semiseg.common.errors import CheckpointError
from semiseg.common.files import open_file
from semiseg.common.os_errors import how_to_mend, reason
from semiseg.interop.restricted_pickle import (
    PLAIN_GLOBALS,
    Allowed,
    BadContent,
    ForbiddenGlobal,
    RestrictedUnpickler,
    plain,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
SAVE_STATE = "in PyTorch, torch.save(model.state_dict(), FILE)"
BFLOAT16 = "bfloat16"
STORAGE_DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
DTYPE_NAMES = ["float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"]
# A tensor expanded over a small storage may be larger than its file, but not without bounds.
MAX_EXPANDED = 1 << 24


class _StorageType(NamedTuple):
    dtype: str


class _Storage(NamedTuple):
    """A named run of numbers; ``offset`` counts numbers and is not zero only for a legacy view of another storage."""

    key: str
    dtype: str
    numel: int
    offset: int = 0


class _Tensor(NamedTuple):
    """A tensor to be read once all storages are known; ``offset`` and ``stride`` count numbers, not bytes."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Tensor:
    if len(rest) > 2 and rest[2]:
        raise BadContent("it holds a conjugated or negated view of a tensor; save a clone() of it")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_from_type(function: Any, _kind: Any, args: Any, _state: Any) -> Any:
    if not isinstance(function, Allowed):
        raise BadContent("it holds a tensor of an unknown kind")
    return function(*args)


def _torch_globals() -> dict[tuple[str, str], Any]:
    table = dict(PLAIN_GLOBALS)
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        table["torch._utils", name] = Allowed(_rebuild_tensor)
    for name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        table["torch._utils", name] = Allowed(lambda data, *_rest: data)
    table["torch._tensor", "_rebuild_from_type_v2"] = Allowed(_rebuild_from_type)
    table["torch", "Size"] = Allowed(lambda sizes=(): tuple(sizes))
    table["torch", "device"] = Allowed(lambda *parts: ":".join(map(str, parts)))
    for module, name in (("torch", "Tensor"), ("torch.nn.parameter", "Parameter")):
        table[module, name] = name  # only ever an argument
    for name in DTYPE_NAMES:
        table["torch", name] = f"torch.{name}"
    for name, dtype in STORAGE_DTYPES.items():
        table["torch", name] = _StorageType(dtype)
    return table


_TORCH_GLOBALS = _torch_globals()


class _TorchUnpickler(RestrictedUnpickler):
    """Tensors come out as ``_Tensor``; ``storages`` collects what they refer to."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, _TORCH_GLOBALS)
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], _StorageType)):
            raise BadContent("its pickle refers to data that is not a tensor storage")
        root = _Storage(str(pid[2]), pid[1].dtype, pid[4])
        self.storages[root.key] = root
        if len(pid) > 5 and pid[5] is not None:
            _key, offset, numel = pid[5]
            return root._replace(offset=offset, numel=numel)
        return root


def read_torch(path: str | Path) -> dict[Any, Any]:
    """What ``torch.save`` wrote, as nested dict, list, tuple, numbers and text with numpy arrays for tensors.

    Arrays own their memory and are C-contiguous; bfloat16 becomes float32, every other type stays; parameters are
    arrays like any other. torch is not needed and no code of the file runs.

    Raises:
        CheckpointError: no such file, truncated or damaged, not written by torch.save, a whole pickled module, or a
            pickle that names any global beyond tensors and plain containers.
    """
    path = Path(path)
    with _explained(path), open_file(path) as file:
        head = file.read(1 << 20)
        file.seek(0)
        value = _read_zip(file) if head.startswith(b"PK") else _read_legacy(file, head)
        if not isinstance(value, dict):
            raise BadContent(f"holds a {type(value).__name__}, expected a dict of tensors; {SAVE_STATE}")
        return value


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into one CheckpointError that names the file."""
    try:
        yield
    except ForbiddenGlobal as error:
        raise CheckpointError(f"{path}: {_refusal(path, error.name)}") from None
    except BadContent as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}); {how_to_mend(error)}") from None
    except Exception as error:  # a damaged pickle may raise anything at all, says the pickle module's documentation
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise CheckpointError(f"{path}: damaged or truncated ({problem}); copy or download it again") from None


def _refusal(path: Path, name: str) -> str:
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            with zipfile.ZipFile(path) as archive:
                content = _unpacked(archive, _pickle_member(archive))
        else:
            file.seek(0)
            content = file.read(1 << 24)
    if name.startswith("torch.nn.modules.") or (b"_parameters" in content and b"_modules" in content):
        return f"holds a whole pickled module (it needs {name}), not its weights; save its state_dict(): {SAVE_STATE}"
    return (
        f"refused: it names the global {name}, and only tensors and plain containers are read; "
        f"if you trust the file, save the model's state_dict() alone: {SAVE_STATE}"
    )


def _read_zip(file: BinaryIO) -> Any:
    if not zipfile.is_zipfile(file):
        raise BadContent("a truncated zip archive (its directory is missing); copy or download it again")
    with zipfile.ZipFile(file) as archive:
        member = _pickle_member(archive)
        root, names = member.removesuffix("data.pkl"), set(archive.namelist())
        if root + "constants.pkl" in names:
            raise BadContent(f"a TorchScript archive; load it with torch.jit.load, then {SAVE_STATE}")
        order = _unpacked(archive, root + "byteorder") if root + "byteorder" in names else b"little"

        @functools.lru_cache(maxsize=1)  # tensors that share a storage follow each other
        def read(storage: _Storage) -> np.ndarray:
            if f"{root}data/{storage.key}" not in names:
                raise BadContent(f"its tensor data {storage.key!r} is missing; copy or download it again")
            raw = _unpacked(archive, f"{root}data/{storage.key}", _bytes_of(storage))
            return _numbers(raw, storage, ">" if order.strip() == b"big" else "<")

        value = _TorchUnpickler(io.BytesIO(_unpacked(archive, member))).load()
        return plain(value, functools.partial(_as_array, read=read))


def _unpacked(archive: zipfile.ZipFile, name: str, size: int | None = None) -> bytes:
    """A member of an archive that has no more than the ``size`` (bytes) that is declared elsewhere, or, without one,
    that is packed no closer than a pickle can be.
    """
    member = archive.getinfo(name)
    most = max(1 << 20, 100 * member.compress_size) if size is None else size
    if member.file_size > most:
        raise BadContent(f"its {name!r} has {member.file_size} bytes, at most {most} are plausible; download it again")
    return archive.read(member)


def _bytes_of(storage: _Storage) -> int:
    return storage.numel * _raw_dtype(storage.dtype).itemsize if type(storage.numel) is int else 0


def _pickle_member(archive: zipfile.ZipFile) -> str:
    pickles = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise BadContent(f"a zip archive but no PyTorch checkpoint (it has {len(pickles)} data.pkl, expected 1)")
    return pickles[0]


def _read_legacy(file: BinaryIO, head: bytes) -> Any:
    _check_is_pickle(head)
    if RestrictedUnpickler(file, PLAIN_GLOBALS).load() != LEGACY_MAGIC:
        raise BadContent(f"a pickle, but not one written by torch.save; {SAVE_STATE}")
    _version = RestrictedUnpickler(file, PLAIN_GLOBALS).load()
    platform = RestrictedUnpickler(file, PLAIN_GLOBALS).load()
    unpickler = _TorchUnpickler(file)
    value = unpickler.load()
    keys = RestrictedUnpickler(file, PLAIN_GLOBALS).load()
    order = "<" if platform["little_endian"] else ">"
    positions: dict[str, int] = {}
    for key in map(str, keys):
        count = np.frombuffer(file.read(8), order + "i8")
        storage = unpickler.storages[key]
        if len(count) != 1 or count[0] != storage.numel:
            raise BadContent("truncated or damaged between two tensors; copy or download it again")
        positions[key] = file.tell()
        file.seek(storage.numel * _raw_dtype(storage.dtype).itemsize, 1)

    @functools.lru_cache(maxsize=1)
    def read(storage: _Storage) -> np.ndarray:
        file.seek(positions[storage.key])
        root = unpickler.storages[storage.key]
        return _numbers(file.read(root.numel * _raw_dtype(root.dtype).itemsize), root, order)

    return plain(value, functools.partial(_as_array, read=read))


def _check_is_pickle(head: bytes) -> None:
    """Tell apart, in words, the files that people name .pth by mistake."""
    if not head:
        raise BadContent("an empty file; copy or download it again")
    if head.startswith(b"version https://git-lfs"):
        raise BadContent("a Git LFS pointer, not the checkpoint itself; run `git lfs pull`")
    if head.lstrip()[:1] == b"<":
        raise BadContent("a web page, not a checkpoint; download the file itself")
    if head[:1] == b"\x80":
        return
    try:
        for _ in pickletools.genops(head):  # protocols 0 and 1 look like text: they end properly, text does not
            pass
    except Exception:
        text = b"\0" not in head
        kind = "a text file" if text else "neither a zip archive nor a pickle"
        raise BadContent(f"{kind}, not a PyTorch checkpoint; expected a file written by torch.save") from None


def _raw_dtype(dtype: str) -> np.dtype:
    return np.dtype("u2" if dtype == BFLOAT16 else dtype)


def _numbers(raw: bytes, storage: _Storage, order: str) -> np.ndarray:
    dtype = _raw_dtype(storage.dtype).newbyteorder(order)
    if type(storage.numel) is not int or storage.numel < 0 or len(raw) < storage.numel * dtype.itemsize:
        raise BadContent(
            f"truncated: {len(raw)} bytes of tensor data {storage.key!r} for {storage.numel} numbers of "
            f"{dtype.itemsize} bytes; copy or download it again"
        )
    return np.frombuffer(raw, dtype, storage.numel)


def _as_array(item: Any, read: Callable[[_Storage], np.ndarray]) -> np.ndarray | None:
    """The array of a ``_Tensor``; None for anything else. Checks what the file says before memory is touched."""
    if not isinstance(item, _Tensor):
        return None
    storage, offset, size, stride = item
    whole_numbers = all(type(n) is int and n >= 0 for n in (offset, *size, *stride))
    if not isinstance(storage, _Storage) or not whole_numbers or len(size) != len(stride):
        raise BadContent("it describes a tensor with an impossible shape; copy or download it again")
    numbers = read(storage._replace(offset=0))[storage.offset :] if storage.offset else read(storage)
    count, last = math.prod(size), offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if count and (last >= len(numbers) or count > max(len(numbers), MAX_EXPANDED)):
        raise BadContent(f"it describes a tensor of shape {size} beyond its {len(numbers)} numbers of data")
    if not count:
        numbers, offset, stride = np.zeros(0, numbers.dtype), 0, (0,) * len(size)
    item_bytes = numbers.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(numbers[offset:], size, [s * item_bytes for s in stride], writeable=False)
    if storage.dtype == BFLOAT16:  # the upper half of a float32
        bits = view.astype(np.uint32, order="C")
        bits <<= np.uint32(16)
        return bits.view(np.float32)
    return np.array(view, view.dtype.newbyteorder("="), order="C")


def read_prototype_pickle(path: str | Path, per_class: int | None = None) -> np.ndarray:
    """Initial prototypes -> float32 (classes * K, D), class-major; D is 512 in the published networks.

    ``per_class``: the network's K, which a file that tells classes apart must have; None takes any.

    A pickle holds {class id: [K arrays of D]}, as the authors wrote it. An .npz holds one array of shape
    (classes, K, D) or (classes * K, D), or one (K, D) array per class named by its id.

    Raises:
        CheckpointError: unreadable, a pickle that names anything but numpy arrays, classes that are not 0..N-1, a
            class with another K or D than the others, values that are not finite, K other than ``per_class``.
    """
    path = Path(path)
    with _explained(path), open_file(path) as file:
        if path.suffix == ".npz":
            with np.load(file, allow_pickle=False) as archive:
                content: Any = {name: archive[name] for name in archive.files}
            if len(content) == 1 and (only := next(iter(content.values()))).ndim > 1 and "0" not in content:
                per_class = per_class if only.ndim == 3 else None  # rows alone do not tell classes apart
                content = dict(enumerate(only if only.ndim == 3 else only[:, None]))
        else:  # numpy arrays from Python 2 need latin1
            content = plain(RestrictedUnpickler(file, PLAIN_GLOBALS, encoding="latin1").load())
        return _stack_prototypes(content, per_class)


def _stack_prototypes(content: Any, per_class: int | None) -> np.ndarray:
    if not isinstance(content, dict) or not content:
        raise BadContent("expected {class id: [K arrays]}, found " + type(content).__name__)
    by_class = {int(key): value for key, value in content.items() if str(key).isdecimal()}
    if len(by_class) != len(content) or sorted(by_class) != list(range(len(content))):
        keys = ", ".join(sorted(map(str, content)))[:80]
        raise BadContent(f"expected the class ids 0..{len(content) - 1} as keys, found {keys}")
    rows = []
    for c in range(len(by_class)):
        vectors = by_class[c] if isinstance(by_class[c], list | tuple | np.ndarray) else ()
        if len({np.shape(v) for v in vectors}) != 1 or not all(isinstance(v, np.ndarray) and v.size for v in vectors):
            raise BadContent(f"class {c} holds no list of equally long arrays; expected K arrays of 512")
        rows.append(np.stack([np.asarray(v, np.float32).reshape(-1) for v in vectors]))
        if rows[c].shape != rows[0].shape:
            raise BadContent(f"class {c} has prototypes {rows[c].shape}, class 0 {rows[0].shape}; K and D must agree")
    if per_class and len(rows[0]) != per_class:
        raise BadContent(
            f"it holds {len(rows[0])} prototypes for each of {len(rows)} classes, the network has {per_class} "
            "(net.proto_head.num_micro_proto)"
        )
    stacked = np.concatenate(rows)
    if not np.isfinite(stacked).all():
        raise BadContent("it holds prototypes that are not finite numbers")
    return stacked
