"""Where the time of a training run goes: python benchmarks/parts.py EXPERIMENT [key=value ...].

Trains an experiment of ``ours`` in a temporary folder and prints a table: seconds of each part without the parts inside
it, share of the whole, calls. Compiling, known by calls three times as slow as the usual one, is a part.
``--resnet101``: the published VOC configuration at 161 px on a few made images, 2 of each kind a step.
"""

import worker  # isort: skip  (it notes when the process began)
from clone import ROOT  # isort: skip  (it makes what follows importable)

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs

from semiseg import train
from semiseg.checkpoints.run import Checkpoints
from semiseg.data.loaders import TrainStream
from semiseg.engine import loop
from semiseg.engine.optim import SGD
from semiseg.engine.step import TrainStep
from semiseg.methods.prototype import PrototypeConsistency
from semiseg.methods.teacher import ExponentialMovingAverage


class Clock:
    """Seconds and calls of named parts; time inside another part counts there alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._inside: list[float] = []  # of each part that is running, the time that parts in it took

    def timed(self, part: str, work: Callable) -> Callable:
        """``work``, measured as ``part``."""

        @functools.wraps(work)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                self.seconds.setdefault(part, []).append(took - self._inside.pop())
                if self._inside:
                    self._inside[-1] += took

        return call

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Measures a function of a class or module."""
        setattr(owner, name, self.timed(part, getattr(owner, name)))


def watch_all(clock: Clock) -> None:
    """Puts the clock on the parts of a run."""
    clock.watch(TrainStream, "__next__", "waiting for data")
    clock.watch(PrototypeConsistency, "enter_step", "k-means, once")
    clock.watch(PrototypeConsistency, "inputs", "teacher's labels, mixing, draws")
    clock.watch(PrototypeConsistency, "after_update", "prototype update")
    clock.watch(ExponentialMovingAverage, "update", "teacher EMA")
    clock.watch(SGD, "__call__", "optimizer")
    clock.watch(loop, "_scores", "evaluation")
    clock.watch(Checkpoints, "save", "checkpoints")
    made = TrainStep._gradient
    functions: dict[int, Callable] = {}

    def gradient(step: TrainStep, *args: Any) -> Callable:
        function = made(step, *args)
        return functions.setdefault(id(function), clock.timed("student, losses, gradients", function))

    TrainStep._gradient = gradient


def table(clock: Clock, whole: float) -> str:
    """Markdown."""
    lines, known, compiling = ["| part | seconds | share | calls |", "|---|---|---|---|"], 0.0, 0.0
    compiled = ("student, losses, gradients", "teacher's labels, mixing, draws", "optimizer", "teacher EMA")
    rows = []
    for part, seconds in clock.seconds.items():
        usual = sorted(seconds)[len(seconds) // 2]
        extra = sum(s - usual for s in seconds if s > 3 * usual and s > 1) if part in compiled else 0.0
        compiling += extra
        rows.append((part, sum(seconds) - extra, len(seconds)))
        known += sum(seconds)
    rows += [("compiling", compiling, 0), ("start, networks, logs and the rest", whole - known, 0)]
    for part, seconds, calls in sorted(rows, key=lambda row: -row[1]):
        lines.append(f"| {part} | {seconds:.2f} | {100 * seconds / whole:.1f}% | {calls or ''} |")
    return "\n".join([*lines, f"| all | {whole:.1f} | 100% | |"])


def resnet101(folder: Path, steps: int) -> list[str]:
    """The arguments of training: made images, two steps an epoch, half of the epochs supervised."""
    inputs.write_images(folder, 10, 375, 500)
    names = (folder / "val.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    lists = {"8/labeled.txt": names[:4], "8/unlabeled.txt": names[4:8], "val.txt": names[8:]}
    (folder / "lists/8").mkdir(parents=True)
    for name, lines in lists.items():
        (folder / "lists" / name).write_text("".join(lines), encoding="utf-8")
    return [
        *("--config", str(ROOT / "experiments/pascal/92/ours"), f"dataset.data_root={folder}"),
        *(f"dataset.splits={folder / 'lists'}", "dataset.split='8'", "dataset.train.crop.size=[161, 161]"),
        *("dataset.batch_size=2", f"trainer.epochs={steps // 2}", "trainer.eval_on=false"),
        f"trainer.sup_only_epoch={steps // 4}",
    ]


def main() -> int:
    """Trains and prints the table."""
    parser = argparse.ArgumentParser(description="Where the time of a training run goes.")
    parser.add_argument("experiment", nargs="?", default=str(ROOT / "experiments/synthetic/16/ours"))
    parser.add_argument("--resnet101", action="store_true")
    parser.add_argument("--steps", type=int, default=24, help="with --resnet101 (%(default)s)")
    args, overrides = parser.parse_known_args()
    clock = Clock()
    watch_all(clock)
    with tempfile.TemporaryDirectory() as folder:
        arguments = resnet101(Path(folder) / "data", args.steps) if args.resnet101 else ["--config", args.experiment]
        code = train.main([*arguments, f"saver.main_dir={folder}/run", *overrides])
    print(table(clock, time.perf_counter() - worker.STARTED))
    return code


if __name__ == "__main__":
    sys.exit(main())
