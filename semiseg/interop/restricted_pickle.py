"""An unpickler that can build plain containers and numbers, and nothing else.

No library serves: torch.load(weights_only=True) needs PyTorch, which a MindSpore user need not install.

A pickle is a program: it names globals and calls them. Here every global must be in a table, and what the table gives
out are inert stand-ins, so no code of the file's choosing runs and nothing of ours can be altered by it.
"""

import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

SCALARS = (str, bytes, bytearray, int, float, complex, bool, type(None))


class ForbiddenGlobal(Exception):
    """The pickle names a global that is not in the table; ``name`` is its dotted name."""

    def __init__(self, module: str, name: str) -> None:
        self.name = f"{module}.{name}"[:200].encode("unicode_escape").decode()  # of a damaged file it may be anything
        super().__init__(self.name)


class BadContent(Exception):
    """The file's content is not what a reader expects; the message explains it without the path."""


class Allowed:
    """Stand-in for a global: a call runs our function. The pickle's BUILD opcode cannot set anything on it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise BadContent("its pickle tries to alter a function")

    def __setstate__(self, state: Any) -> None:
        raise BadContent("its pickle tries to alter a function")


class _Bounded:
    """A file whose ``read`` asks for no more than is left: buffered files allocate what is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self.tell, self.readline, self._read = file.tell, file.readline, file.read
        start = file.tell()
        self._end = file.seek(0, 2)
        file.seek(start)

    def read(self, count: int) -> bytes:
        return self._read(min(count, self._end - self.tell()))


class RestrictedUnpickler(pickle.Unpickler):
    """``pickle.Unpickler`` whose only globals are those of ``allowed``: (module, name) -> stand-in.

    Raises:
        ForbiddenGlobal: at the first global outside the table, before anything is called.
    """

    def __init__(self, file: BinaryIO, allowed: Mapping[tuple[str, str], Any], encoding: str = "utf-8") -> None:
        super().__init__(file, encoding=encoding)
        self._file, self._allowed = file, allowed

    def load(self) -> Any:
        """The next pickle of the file, after a look at its opcodes: a damaged length must not allocate gigabytes."""
        start = self._file.tell()
        for count, (opcode, argument, _position) in enumerate(pickletools.genops(_Bounded(self._file))):
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
                raise BadContent("damaged (an impossible pickle); copy or download it again")
        self._file.seek(start)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise ForbiddenGlobal(module, name)
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise BadContent("its pickle refers to data outside itself")


def plain(value: Any, leaf: Callable[[Any], Any] | None = None) -> Any:
    """Rebuild an unpickled value from dict, list, tuple, set, numbers, text and numpy arrays only.

    ``leaf`` may turn other objects into arrays; it returns None for what it does not know. An object that occurs
    several times is converted once. Raises ``BadContent`` for anything else and for containers that hold themselves.
    """
    done: dict[int, Any] = {}
    under_way: set[int] = set()

    def convert(item: Any) -> Any:
        if isinstance(item, SCALARS):
            return item
        if id(item) in under_way:
            raise BadContent("it holds a container that contains itself")
        if id(item) not in done:
            under_way.add(id(item))
            done[id(item)] = build(item)
            under_way.remove(id(item))
        return done[id(item)]

    def build(item: Any) -> Any:
        if isinstance(item, _Array):
            return item.value()
        known = leaf(item) if leaf else None
        if known is not None:
            return known
        if isinstance(item, dict):
            return {_plain_key(key): convert(entry) for key, entry in item.items()}
        if type(item) in (list, tuple, set, frozenset):
            return type(item)(convert(entry) for entry in item)
        raise BadContent(f"it holds an unexpected object ({type(item).__name__.strip('_')})")

    return convert(value)


def _plain_key(key: Any) -> Any:
    if isinstance(key, SCALARS) or (type(key) is tuple and all(isinstance(part, SCALARS) for part in key)):
        return key
    raise BadContent(f"it holds a dict with an unexpected key ({type(key).__name__.strip('_')})")


class _OpenDict(dict):
    """OrderedDict's stand-in; a state dict's ``_metadata`` attribute (module versions) is dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    """numpy.dtype's stand-in: plain numbers only, so that no array of objects is ever built."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: Any, *_align_copy: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]", code):
            raise BadContent(f"it holds a numpy array of type {code!r}; numbers only are read")
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise BadContent("it holds a structured numpy array; numbers only are read")
        self._order = state[1]

    def array(self, raw: Any) -> np.ndarray:
        """The numbers in ``raw`` in this machine's byte order, as a flat array of their own memory."""
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote bytes as str
        if not isinstance(raw, bytes | bytearray):
            raise BadContent("it holds a numpy array without data")
        return np.frombuffer(raw, self._order + self._code).astype(self._code)


class _Array:
    """numpy.ndarray's stand-in, filled by ``__setstate__`` or ``filled``."""

    __slots__ = ("_value",)

    def __init__(self, value: np.ndarray | None = None) -> None:
        self._value = value

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, raw = state
        self._value = _shaped(dtype, raw, shape, "F" if fortran else "C")

    def value(self) -> np.ndarray:
        if self._value is None:
            raise BadContent("it holds a numpy array without data")
        return self._value


def _shaped(dtype: Any, raw: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise BadContent("it holds a numpy array without a type")
    return np.ascontiguousarray(dtype.array(raw).reshape(shape, order=order))


def _scalar(dtype: Any, raw: Any) -> bool | int | float:
    return _shaped(dtype, raw, (), "C").item()


def _encode(text: str, encoding: str = "utf-8") -> bytes:
    if encoding != "latin1":
        raise BadContent("it holds bytes in an unexpected encoding")
    return text.encode("latin1")  # how pickle protocol 2 writes bytes


def _plain_globals() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Allowed(_OpenDict),
        ("_codecs", "encode"): Allowed(_encode),
        ("numpy", "dtype"): Allowed(_Dtype),
        ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument of _reconstruct
    }
    for module in ("builtins", "__builtin__"):
        table[module, "set"] = Allowed(lambda items=(): set(items))
        table[module, "frozenset"] = Allowed(lambda items=(): frozenset(items))
        table[module, "bytes"] = Allowed(lambda: b"")
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "scalar"] = Allowed(_scalar)
        table[f"{core}.multiarray", "_reconstruct"] = Allowed(lambda *_kind_shape_code: _Array())
        table[f"{core}.numeric", "_frombuffer"] = Allowed(
            lambda raw, dtype, shape, order: _Array(_shaped(dtype, raw, shape, order))
        )
    return table


PLAIN_GLOBALS = _plain_globals()
