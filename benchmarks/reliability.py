"""Prints the table of docs/reliability.md: faults that were tried on real runs, and what came of them.

``python benchmarks/reliability.py [--times 8] [--damages 400] [--device-times 2] [--seed 0] [--json FILE]`` trains a tiny
network on tiny images again and again, kills it at random and at chosen moments, fills its disk, damages its
checkpoints, and compares what is left at the end with a run that nothing disturbed. Minutes. As root it fills a real
file system of its own (tmpfs), otherwise the limit on file sizes stands in for it.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import faults  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
from tiny import TINY_NET, network_of, settings_of, write_voc  # noqa: E402
from tqdm import tqdm  # noqa: E402

from semiseg import checkpoint  # noqa: E402
from semiseg.config import SaverConfig  # noqa: E402
from semiseg.engine.saving import Checkpoints, Progress  # noqa: E402
from semiseg.errors import CheckpointError  # noqa: E402
from semiseg.interop.network_files import fill, read_network  # noqa: E402

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
            f"base: {ROOT}/experiments/_base/synthetic_ours.yaml\n"
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
    found = {name: checkpoint.read(run / "checkpoints" / name) for name in ("last.ckpt", "best.ckpt")}
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
    kinds = ["SIGKILL at a random time", "SIGTERM", "SIGINT", "disk full", *faults.MOMENTS]
    to_come = [str(kind) for _ in range(times) for kind in rng.permutation(kinds)]
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


def damages(place: Place, count: int, rng: np.random.Generator, row: Row) -> None:
    """last.ckpt damaged at random; it must be passed over for the one before, or refused, never be taken."""
    whole = place.folder / "whole/checkpoints"
    content, older = (whole / "last.ckpt").read_bytes(), (whole / f"step_{STEPS - 2:08d}.ckpt").read_bytes()
    arrays, _ = checkpoint.read(whole / "last.ckpt")
    folder = place.folder / "damaged"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / f"step_{STEPS - 2:08d}.ckpt").write_bytes(older)
    for _ in tqdm(range(count), desc="damages", unit="file"):
        kind, damaged = damage(content, rng)
        (folder / "checkpoints/last.ckpt").write_bytes(damaged)
        state = {name: Stored(array) for name, array in arrays.items()}
        progress, _ = Checkpoints(folder, SaverConfig(), state).resume(Progress(images=2))
        row.add(f"{kind}: passed over for the one before", progress.step != STEPS - 2)


class Stored:
    """A place for an array of a checkpoint."""

    def __init__(self, array: np.ndarray):
        self.shape, self.dtype = array.shape, array.dtype

    def set_data(self, value: object) -> None:
        """Taken; nothing is done with it."""


def damage(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """(what was done, the damaged content)."""
    kind, at = str(rng.choice(["one bit", "cut off", "zeros", "pieces swapped"])), int(rng.integers(len(content)))
    damaged = bytearray(content)
    if kind == "one bit":
        damaged[at] ^= 1 << int(rng.integers(8))
    elif kind == "cut off":
        damaged = damaged[:at]
    elif kind == "zeros":
        at = min(at, len(content) - 512)
        damaged[at : at + 512] = bytes(512)
    else:
        half = len(content) // 2
        damaged = damaged[half:] + damaged[:half]
    return (kind, bytes(damaged)) if bytes(damaged) != content else damage(content, rng)


STRANGERS = {
    "other classes": ["net.num_classes=7"],
    "other K": ["net.proto_head.num_micro_proto=3"],
    "no prototype head": ["net.proto_head=null"],
    "another depth": ["net.encoder.type=resnet50"],
    "another width": ["net.encoder.kwargs.width=8"],
    "another decoder": ["net.decoder.kwargs.inner_planes=16"],
    "fewer branches": ["net.decoder.kwargs.dilations=[1, 2]"],
    "an auxiliary head": ["net.aux_loss={}"],
    "a representation head": ["net.decoder.kwargs.rep_head=true"],
}


def strangers(place: Place, row: Row) -> None:
    """Checkpoints of other networks must be refused with a table; a file with code in it must not run it."""
    mine = dict(network_of(settings_of()).parameters_and_names())
    for overrides in STRANGERS.values():
        path = place.folder / "stranger.ckpt"
        checkpoint.save(path, checkpoint.network_arrays(network_of(settings_of(*overrides))), {})
        told = refused(lambda path=path: fill(mine, read_network(path), path), "expected here")
        row.add("refused with a table of what differs", not told)
    proof = place.folder / "code was run"
    payload = b"cposix\nsystem\n(S'touch " + str(proof).encode() + b"'\ntR."
    for suffix in (".pth", ".ckpt", ".pt"):
        path = place.folder / f"evil{suffix}"
        path.write_bytes(payload)
        told = refused(lambda path=path: read_network(path), "")
        row.add("with code in it: refused, code not run", not told or proof.exists())


def refused(work: Callable[[], object], words: str) -> bool:
    """Whether it raises our error with these words."""
    try:
        work()
    except CheckpointError as error:
        return words in str(error)
    return False


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown."""
    found = ["| fault | tried | lost | what came of it |", "|---|---|---|---|"]
    for row in rows:
        seen = "; ".join(f"{words} ({count})" for words, count in sorted(row.seen.items()))
        found.append(f"| {row.fault} | {row.tried} | {row.lost} | {seen} |")
    return [*found, f"| **all** | **{sum(r.tried for r in rows)}** | **{sum(r.lost for r in rows)}** | |"]


def main(argv: Sequence[str]) -> int:
    """The command line; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(description="Tries faults on real runs.")
    parser.add_argument("--times", type=int, default=8, help="how often each kind of fault is tried")
    parser.add_argument("--device-times", type=int, default=2, help="the same on two devices")
    parser.add_argument("--damages", type=int, default=400, help="damaged checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(args.seed)
    names = ["SIGKILL at a random time", "SIGTERM", "SIGINT", "disk full", *faults.MOMENTS]
    rows = {name: Row(f"killed: {name}" if name in faults.MOMENTS else name) for name in names}
    rows["disk full"].fault = "disk full (limit on file sizes)"
    more = [
        Row("disk full (a real, small file system)"),
        Row("two devices"),
        Row("last.ckpt damaged"),
        Row("strangers"),
    ]
    with tempfile.TemporaryDirectory(prefix="reliability") as folder:
        place = Place(Path(folder))
        kills(place, args.times, rng, rows)
        full_file_system(place, args.times, rng, more[0])
        two_devices(place, args.device_times, rng, more[1])
        damages(place, args.damages, rng, more[2])
        strangers(place, more[3])
    rows = [*rows.values(), *more]
    print("\n".join(table(rows)))
    if args.json:
        args.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return int(any(row.lost for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
