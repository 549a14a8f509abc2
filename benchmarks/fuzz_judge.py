"""Reads damaged files by the real readers, in a child process with limits, and judges what came of it.

A reader may refuse a file, in one line that names it, or give a sound result. It may not raise anything else, hang,
crash, take more than twice the memory that the file honestly needs, or give other pixels or numbers where a checksum of
the format tells the damage.
"""

import contextlib
import io
import json
import multiprocessing
import os
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuzz_inputs import SOUND, Sound
from fuzz_mutations import Damaged, damage
from PIL import Image
from pydantic import BaseModel

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import UserError
from semiseg.config import load
from semiseg.data.image_files import read_picture
from semiseg.data.masks import read_mask
from semiseg.data.specs import SPECS
from semiseg.data.splits import read_list
from semiseg.interop.prototype_files import read_prototypes
from semiseg.interop.safetensors_file import read_safetensors
from semiseg.interop.torch_checkpoint import read_torch

MAX_PIXELS = 16_000_000
SECONDS = 10.0  # of work for one file
_PATIENCE = 12  # times that, where it waits
SLACK = 16 << 20  # bytes that decoders, allocators and first uses take whatever the file is
ADDRESSES = 1 << 30  # bytes of address space beyond what the process has
BATCH = 250


class Reader(NamedTuple):
    """``read``: the real function. ``suffix``: of the file it is given. ``expanded``: bytes that a sound result of a
    byte of the file may have (packed text).
    """

    read: Callable[[Path], Any]
    suffix: str
    expanded: int = 1


def _mask(path: Path) -> np.ndarray:
    spec = SPECS["pascal"]
    return read_mask(path, replace(spec, mask_kind="color") if path.stem == "colours" else spec, MAX_PIXELS)


READERS = {
    **{
        kind: Reader(lambda path: read_picture(path, max_pixels=MAX_PIXELS), ".img") for kind in ("jpeg", "png", "tiff")
    },
    "other images": Reader(lambda path: read_picture(path, max_pixels=MAX_PIXELS), ".img"),
    "masks": Reader(_mask, ".png"),
    "lists": Reader(lambda path: read_list(path, SPECS["cityscapes"].sample_id), ".txt", 200),
    "yaml": Reader(load, ".yaml", 500),
    "pth": Reader(read_torch, ".pth", 20),
    "ckpt": Reader(checkpoint_io.read, ".ckpt", 4),
    "safetensors": Reader(read_safetensors, ".safetensors", 4),
    "prototypes": Reader(read_prototypes, ".pickle", 20),
}


@dataclass
class Row:
    """What came of the inputs of a kind; ``faults``: number of the input -> what is wrong."""

    kind: str
    counts: Counter = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """How many were tried."""
        return self.counts.total() + len(self.faults)


class Input(NamedTuple):
    """Number ``index`` of a kind, made of ``sound``."""

    index: int
    sound: Sound
    damaged: Damaged


class Fuzzer:
    """Inputs of one kind and their judgement; the same seed gives the same inputs."""

    def __init__(self, kind: str, seed: int, reader: Reader | None = None) -> None:
        self.kind, self._seed, self._reader = kind, seed, reader or READERS[kind]
        self._sounds = SOUND[kind]()
        self._known: list[str] = []  # what the sound files hold

    def input(self, index: int) -> Input:
        """Input number ``index``."""
        rng = np.random.default_rng([self._seed, list(SOUND).index(self.kind), index])
        return Input(index, *damage(self._sounds, self.kind, rng))

    def learn(self, folder: Path) -> None:
        """Reads the sound files. Raises: UserError for one that is refused (lists and masks hold some that are)."""
        for sound in self._sounds:
            with contextlib.suppress(UserError):
                self._known.append(content_of(self._read(sound.data, sound.name, folder)))

    def _read(self, data: bytes, name: str, folder: Path) -> Any:
        own = Path(name).suffix
        path = folder / f"{Path(name).stem}{own if own in ('.npz', '.pickle') else self._reader.suffix}"
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._reader.read(path)

    def judge(self, item: Input, folder: Path) -> tuple[str, str]:
        """("refused", "unchanged" or "changed", "") or ("fault", what is wrong)."""
        data = item.damaged.data
        before = _reset_peak()
        result, problem = None, ""
        try:
            result = self._read(data, item.sound.name, folder)
        except UserError as error:
            problem = str(error)
        except MemoryError:
            return "fault", "asks for memory without end"
        except BaseException as error:
            return "fault", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        grown = _peak() - before
        needed = len(data) * self._reader.expanded + declared(data, result)
        if grown > 2 * needed + SLACK:
            return "fault", f"takes {grown >> 20} MiB, {needed >> 20} MiB are needed"
        if problem:
            told = problem.startswith("/") and "\n" not in problem
            return ("refused", "") if told else ("fault", f"no single line that names the file: {problem[:200]}")
        wrong = unsound(result)
        if wrong:
            return "fault", wrong
        if content_of(result) in self._known:
            return "unchanged", ""
        if item.sound.checked and not item.damaged.consistent:
            return "fault", "changed in silence where a checksum tells"
        return "changed", ""


def content_of(result: Any) -> str:
    """What a reader gave, so that two results can be compared."""
    if isinstance(result, np.ndarray):
        return f"{result.dtype} {result.shape} {hash(result.tobytes())}"
    if isinstance(result, BaseModel):
        return str(result.model_dump(exclude={"origins", "notes"}))
    if isinstance(result, dict):
        return str([(name, content_of(value)) for name, value in result.items()])
    if isinstance(result, tuple) and hasattr(result, "pixels"):
        return content_of(result.pixels)
    return str([content_of(value) for value in result]) if isinstance(result, list | tuple) else repr(result)


def unsound(result: Any) -> str:
    """What is wrong with a result whatever the file was, "" if nothing."""
    pixels = getattr(result, "pixels", None)
    if pixels is not None and (pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size):
        return f"gives pixels of {pixels.dtype} {pixels.shape}"
    if isinstance(result, list) and not (result and all(isinstance(line, str) and line.strip() for line in result)):
        return "gives a list with lines that are no ids"
    if isinstance(result, np.ndarray) and (not result.size or result.dtype == object):
        return f"gives an array of {result.dtype} {result.shape}"
    return ""


def declared(data: bytes, result: Any) -> int:
    """Bytes of the decoded pixels or tensors that a file honestly declares."""
    pixels = getattr(result, "pixels", result)
    if isinstance(pixels, np.ndarray):
        return 4 * pixels.nbytes  # as stored, of 16 bits with alpha, beside what is made of them
    if isinstance(result, dict | tuple):
        return 2 * _array_bytes(result)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            count = picture.width * picture.height
    except Exception:
        return 0
    return 12 * count if count <= MAX_PIXELS else 0


def _array_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_array_bytes, parts))


def _reset_peak() -> int:
    """Begins to measure; the memory in use now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


# ---- a child process for each batch

_ENDED = ("hangs", "ends the process")


def run(fuzzer: Fuzzer, indices: Sequence[int], seconds: float = SECONDS) -> Iterator[tuple[int, str, str]]:
    """(number, verdict, what is wrong) of each input, in order; what ends or stops the child is a fault too."""
    waiting = list(indices)
    while waiting:
        reader, writer = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=_work, args=(fuzzer, waiting[:BATCH], writer))
        child.start()
        writer.close()
        batch = waiting[:BATCH]
        for done, index in enumerate(batch):
            answer = _answer(reader, child, seconds if done else seconds + 30)
            waiting = waiting[1:]
            yield index, *answer
            if answer[1].startswith(_ENDED):  # the next child does the rest
                break
        child.kill()
        child.join()
        reader.close()


def _answer(reader: Any, child: Any, seconds: float) -> tuple[str, str]:
    began, worked = time.monotonic(), _processor_seconds(child.pid)
    while not reader.poll(0.2):
        waited, used = time.monotonic() - began, _processor_seconds(child.pid) - worked
        if used > seconds or waited > _PATIENCE * seconds:
            child.kill()
            return "fault", f"{_ENDED[0]}: not done after {used:.1f} s of work, {waited:.1f} s in all"
    try:
        return tuple(json.loads(reader.recv()))
    except EOFError:
        child.join()
        return "fault", f"{_ENDED[1]} (exit code {child.exitcode})"


def _processor_seconds(process: int) -> float:
    """What a process has computed so far; on a busy machine time alone tells little."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has just ended
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _work(fuzzer: Fuzzer, indices: Sequence[int], writer: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C libraries say of damage
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fuzzer.learn(Path(folder))  # and the libraries take what they need once
        used = _status("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, used + ADDRESSES))
        for index in indices:
            writer.send(json.dumps(fuzzer.judge(fuzzer.input(index), Path(folder))))
    os._exit(0)
