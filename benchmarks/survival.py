"""Real runs on tiny data that are killed, stopped, starved of disk space, and compared with one that nothing disturbed.

reliability.py drives this and prints the table.
"""

from clone import ROOT  # isort: skip  (it makes what follows importable)

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faults
import numpy as np
import psutil
from tiny import TINY_NET, write_voc
from tqdm import tqdm

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import CheckpointError

KINDS = ["SIGKILL at a random time", "SIGTERM", "SIGINT", "disk full", *faults.MOMENTS]
STEPS = 12
MISSED = "came too late"  # the run had ended, or never came to that moment
OVERRIDES = [
    *TINY_NET,
    "dataset.train.crop.size=[33, 33]",
    "net.proto_head={num_micro_proto: 2, select_granularity: 8, init_samples: 100}",
    "trainer={epochs: 4, sup_only_epoch: 1, eval_every: 1, jit: false, log_every: 1}",
    "saver.every=2",
    "dataset.workers=1",
]


@dataclass
class Row:
    """A line of the table."""

    fault: str
    tried: int = 0
    lost: int = 0  # something was lost, doubled, or not as in the undisturbed run
    seen: Counter = field(default_factory=Counter)  # what happened, in words

    def add(self, came: str, lost: bool) -> None:
        """One more fault."""
        self.tried += 1
        self.lost += lost
        self.seen[came] += 1


class Place:
    """Tiny data and a configuration in a folder; starts runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        write_voc(folder / "data", {"labeled": 4, "unlabeled": 6, "val": 3}, (44, 52), 6, "4")
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"base: {ROOT}/experiments/_base/recipes/synthetic_ours.yaml\n"
            f"dataset: {{data_root: '{folder}/data', splits: '{folder}/data/splits', split: 4, batch_size: 2}}\n"
            "device: cpu\n",
            encoding="utf-8",
        )

    def start(self, run: Path, fault: str = "none:0") -> subprocess.Popen:
        """One start of a run, with one fault."""
        command = [sys.executable, ROOT / "benchmarks/faults.py", fault, *self.arguments(run)]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def start_on_two(self, run: Path) -> subprocess.Popen:
        """The same on two devices with half the batch each."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = str(listener.getsockname()[1])
        launcher = [sys.executable, ROOT / "tools/launch_devices.py", "--devices", "2", "--port", port]
        more = ["dataset.batch_size=1", "net.sync_bn=true"]
        command = [*launcher, "--logs", f"{run}-logs", "--", "-m", "semiseg.train", *self.arguments(run), *more]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )

    def arguments(self, run: Path) -> list:
        """Those of semiseg.train."""
        return ["--config", self.config, *OVERRIDES, f"saver.main_dir={run}"]


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """(exit code, last line of stderr)."""
    _, stderr = process.communicate(timeout=600)
    return process.returncode, (stderr.strip().splitlines() or [""])[-1]


def outcome(run: Path) -> tuple[str, dict, dict]:
    """What a run leaves: metrics.jsonl as it is, records and arrays of both checkpoints."""
    found = {name: checkpoint_io.read(run / "checkpoints" / name) for name in ("last.ckpt", "best.ckpt")}
    arrays = {f"{name} {key}": array for name, (held, _) in found.items() for key, array in held.items()}
    return (run / "metrics.jsonl").read_text(), {name: record for name, (_, record) in found.items()}, arrays


def same(run: Path, expected: tuple[str, dict, dict]) -> bool:
    """Whether a run ended as the undisturbed one, bit for bit."""
    try:
        metrics, records, arrays = outcome(run)
    except (CheckpointError, OSError):
        return False
    equal = arrays.keys() == expected[2].keys() and all(np.array_equal(arrays[k], expected[2][k]) for k in arrays)
    return (metrics, records) == expected[:2] and equal


def lines(run: Path) -> int:
    """Lines of metrics.jsonl so far."""
    path = run / "metrics.jsonl"
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def wait_for(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
    """Until it holds or the process has ended."""
    while process.poll() is None and not condition():
        time.sleep(0.02)


def after_random_time(process: subprocess.Popen, run: Path, rng: np.random.Generator) -> None:
    """Waits for one to four more lines of the log, then for up to half a second."""
    wanted = lines(run) + int(rng.integers(1, 5))
    wait_for(process, lambda: lines(run) >= wanted)
    time.sleep(rng.uniform(0, 0.5))


def disturb(place: Place, run: Path, kind: str, rng: np.random.Generator) -> str:
    """One start with one fault; what came of it."""
    if kind in ("SIGKILL at a random time", "SIGTERM", "SIGINT"):
        process = place.start(run)
        after_random_time(process, run, rng)
        process.send_signal(getattr(faults.signal, kind.split()[0]))
    elif kind == "disk full":
        process = place.start(run, f"full:{int(rng.integers(2_000, 700_000))}")
    else:
        process = place.start(run, f"{kind}:{int(rng.integers(1, 4))}")
    code, line = ended(process)
    if code in (-9, 137):
        return "killed"
    if code == 130:
        return "stopped, checkpoint written"
    if code in (-faults.signal.SIGINT, -faults.signal.SIGTERM):
        return "ended at once, before or after the training itself"
    if code == 2 and "cannot be written" in line:
        return "refused in one line"
    return MISSED if code == 0 else f"exit code {code}: {line}"


def series(
    folder: Path,
    to_come: list[str],
    disturb: Callable[[Path, str], str],
    start: Callable[[Path], subprocess.Popen],
    expected: tuple[str, dict, dict],
) -> Iterator[tuple[str, str, bool]]:
    """(fault, what came of it, whether anything was lost) for each fault to come, the last one first.

    A run takes faults until one comes too late; then, at the latest, it is left to finish and is compared.
    """
    bar = tqdm(total=len(to_come), desc=folder.name, unit="fault")
    while to_come:
        run, done = folder.with_name(f"{folder.name}{len(to_come)}"), []
        while to_come and not (done and done[-1][1].endswith(MISSED)):
            kind = to_come.pop()
            done.append((kind, disturb(run, kind)))
            bar.update()
        code, line = ended(start(run))
        lost = code != 0 or not same(run, expected)
        if lost:
            tqdm.write(f"{run.name}: differs after {done}; {line}", file=sys.stderr)
        shutil.rmtree(run, ignore_errors=True)
        for kind, came in done:
            yield kind, came, lost or came.startswith("exit code")
    bar.close()


def kills(place: Place, times: int, rng: np.random.Generator, rows: dict[str, Row]) -> None:
    """Faults of every kind, ``times`` times each, in random order."""
    to_come = [str(kind) for _ in range(times) for kind in rng.permutation(KINDS)]
    expected = undisturbed(place.start(place.folder / "whole"), place.folder / "whole")
    faulty = lambda run, kind: disturb(place, run, kind, rng)  # noqa: E731
    for kind, came, lost in series(place.folder / "run", to_come, faulty, place.start, expected):
        rows[kind].add(came, lost)


def undisturbed(process: subprocess.Popen, run: Path) -> tuple[str, dict, dict]:
    """The outcome that all others must have."""
    code, line = ended(process)
    if code:
        raise SystemExit(f"the undisturbed run failed: {line}")
    return outcome(run)


@contextlib.contextmanager
def small_file_system(folder: Path) -> Iterator[bool]:
    """A file system of 8 MB at ``folder``, where we may mount one; whether we could."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def full_file_system(place: Place, times: int, rng: np.random.Generator, row: Row) -> None:
    """A file system that something else fills while the run writes to it, and that is freed again."""
    expected = outcome(place.folder / "whole")
    with small_file_system(place.folder / "small") as mounted:
        if not mounted:
            row.seen["not run: needs the right to mount a tmpfs"] += 1
            return
        filler = place.folder / "small/filler"

        def disturb(run: Path, _: str) -> str:
            process = place.start(run)
            after_random_time(process, run, rng)
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while process.poll() is None and file.write(bytes(2**14)):
                    pass
            code, line = ended(process)
            filler.unlink()
            came = "refused in one line" if code == 2 and "cannot be written" in line else f"exit code {code}: {line}"
            return MISSED if code == 0 else came

        for _, came, lost in series(place.folder / "small/run", ["full"] * times, disturb, place.start, expected):
            row.add(came, lost)


def two_devices(place: Place, times: int, rng: np.random.Generator, row: Row) -> None:
    """A worker, the scheduler or all of a job on two devices killed; the job must end within a minute and go on."""
    if not times:
        return
    expected = undisturbed(place.start_on_two(place.folder / "two"), place.folder / "two")

    def disturb(run: Path, target: str) -> str:
        process = place.start_on_two(run)
        after_random_time(process, run, rng)
        if process.poll() is None:
            hit(process, target)
        since = time.monotonic()
        code, line = ended(process)
        if time.monotonic() - since > 60 or code not in (0, 130 if target == "SIGTERM" else 1):
            return f"exit code {code}: {line}"
        return f"{target}: " + (MISSED if code == 0 else "job ended within a minute")

    targets = [
        str(target)
        for _ in range(times)
        for target in rng.permutation(["worker 0", "worker 1", "scheduler", "SIGTERM"])
    ]
    for _, came, lost in series(place.folder / "pair", targets, disturb, place.start_on_two, expected):
        row.add(came, lost)


def hit(launcher: subprocess.Popen, target: str) -> None:
    """Kills one process of a job, or asks the job to stop."""
    if target == "SIGTERM":
        launcher.terminate()
        return
    for child in psutil.Process(launcher.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            environment = child.environ()
            role = {"MS_SCHED": "scheduler", "MS_WORKER": f"worker {environment.get('RANK_ID')}"}
            if role.get(environment.get("MS_ROLE", "")) == target:
                child.kill()
                return
