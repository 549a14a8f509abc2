"""Trains with one fault at a chosen moment: ``python faults.py FAULT semiseg.train's arguments``.

FAULT is "MOMENT:NTH" and kills this process with SIGKILL the NTH time it comes to the moment (``MOMENTS``), or
"full:BYTES": no file can grow beyond so many bytes, as on a full disk. For tests and for reliability.py; the package
itself knows nothing of it.
"""

import clone  # noqa: F401  # isort: skip  (it makes what follows importable)

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import semiseg  # noqa: F401

# isort: split
from semiseg import cli, train
from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints import run as checkpoint_run
from semiseg.data import splits
from semiseg.engine import log, optim, step
from semiseg.inference import evaluation
from semiseg.methods import base, proto_init


def die() -> None:
    """As kill -9 at this moment: no handler, no flush, no exit code of ours."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_front(owner: Any, name: str) -> Callable[[int], None]:
    """A moment: just before a function does its work."""

    def arm(nth: int) -> None:
        real, left = getattr(owner, name), iter(range(nth - 1, -1, -1))

        def replaced(*args, **kwargs):
            if next(left, None) == 0:
                die()
            return real(*args, **kwargs)

        setattr(owner, name, replaced)

    return arm


def half_a_checkpoint(nth: int) -> None:
    """A moment: half of a checkpoint is written."""
    real, left = checkpoint_io.ms.save_checkpoint, iter(range(nth - 1, -1, -1))

    def replaced(parameters, path, **options):
        real(parameters, path, **options)
        if next(left, None) == 0:
            Path(path).chmod(0o644)
            os.truncate(path, Path(path).stat().st_size // 2)
            die()

    checkpoint_io.ms.save_checkpoint = replaced


def half_a_line(nth: int) -> None:
    """A moment: half of a line of metrics.jsonl is written."""
    real, left = log.RunLog.numbers, iter(range(nth - 1, -1, -1))

    def replaced(self, record):
        if next(left, None) == 0:
            self._metrics.write(log.json.dumps(record)[:20])
            self._metrics.flush()
            die()
        real(self, record)

    log.RunLog.numbers = replaced


MOMENTS: dict[str, Callable[[int], None]] = {
    "before a step": in_front(step.TrainStep, "__call__"),
    "before the weights change": in_front(optim.SGD, "__call__"),
    "between weights and teacher": in_front(base.Method, "after_update"),
    "half a line of the log": half_a_line,
    "in an evaluation": in_front(evaluation, "image_logits"),
    "in the k-means": in_front(proto_init, "class_centres"),
    "half a checkpoint": half_a_checkpoint,
    "before the last one is kept": in_front(checkpoint_run.Checkpoints, "_retain"),
    "before the new one takes its place": in_front(Path, "replace"),
    "before the old one goes": in_front(checkpoint_run.Checkpoints, "_older"),
    "before the folder is synced": in_front(checkpoint_io, "_sync_folder"),
    "writing lists": in_front(splits.Path, "write_text"),
}


def main(argv: list[str]) -> int:
    """The command line."""
    kind, _, number = argv[0].partition(":")
    if kind == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does by itself; writing then fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(number), int(number)))
    elif kind != "none":
        MOMENTS[kind](int(number))
    return cli.run(train.main, argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
