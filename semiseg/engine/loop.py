"""The one training loop. It knows steps, evaluation and checkpoints, and no method."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.identity import recorded
from semiseg.checkpoints.run import Checkpoints, Progress
from semiseg.common.distributed import ALONE, Group
from semiseg.common.platform import numpy_of
from semiseg.common.run_files import RunFiles
from semiseg.config.keys import SaverConfig
from semiseg.data.loaders import Batch
from semiseg.engine.device import keep_to_cores
from semiseg.engine.log import NoLog, RunLog
from semiseg.engine.monitor import Monitor
from semiseg.engine.step import StepResult, TrainStep
from semiseg.methods import Method
from semiseg.models import SegmentationNetwork

# Scores a network: {"miou": percent, ...}.
Evaluator = Callable[[SegmentationNetwork], dict[str, Any]]
Log = RunLog | NoLog


@dataclass(frozen=True)
class Run:
    """What the loop works on."""

    folder: Path  # the run folder
    saver: SaverConfig
    method: Method
    train_step: TrainStep
    checkpoints: Checkpoints
    batches: Iterator[tuple[Batch, Batch | None]]  # labelled and unlabelled images of each step, endless
    evaluate: Evaluator | None
    skipped: Callable[[], list[str]] | None = None  # a message for each unreadable image replaced since the last call
    monitor: Monitor | None = None
    group: Group = ALONE
    identity: Mapping[str, Any] = field(default_factory=dict)  # what best.ckpt says of the network, if anything

    @property
    def files(self) -> RunFiles:
        """Where what the run writes lies."""
        return RunFiles(self.folder, self.saver.snapshot_dir)


def train(run: Run, progress: Progress, log: Log) -> Progress:
    """Trains from where ``progress`` stands to the end; last.ckpt and best.ckpt are written on the way.

    SIGTERM and Ctrl-C finish the step (or leave an evaluation or an initialisation, to be done again), write last.ckpt
    and raise KeyboardInterrupt. On several devices all finish the same step, whichever got the signal.
    """
    steps, saver, group = run.method.context.steps, run.saver, run.group
    saved, first_step = time.monotonic(), progress.step + 1
    with _Interruptible() as signals:
        # Others wait for this process in what they do together: only one that is alone may leave in the middle.
        may_leave = signals.leaving if group.world == 1 else contextlib.nullcontext
        while progress.step < steps or progress.to_score:
            with contextlib.suppress(_Left):
                if not progress.to_score:
                    with may_leave():
                        lines = run.method.enter_step(progress.step)
                    _step(run, progress, log, lines)
                    if progress.step == first_step:
                        keep_to_cores()
                if progress.to_score:
                    with may_leave():
                        scores = _scores(run, progress)
                    _keep_scores(run, progress, log, scores)
            due = saver.every_minutes is not None and time.monotonic() - saved > 60 * saver.every_minutes
            stop, due = group.any(signals.asked), group.any(due)  # asked once: a later signal stops the next step
            ended = progress.step == steps and not progress.to_score
            if ended or stop or due or progress.step % saver.every == 0:
                save(run, progress, log)
                saved = time.monotonic()
            if stop and not ended:
                last = run.files.last
                log.line(f"stopped after step {progress.step}; {last} is written, the same command continues")
                group.wait()
                raise KeyboardInterrupt
    return progress


def save(run: Run, progress: Progress, log: Log) -> None:
    """Writes last.ckpt, after the log is safe on the disk."""
    log.sync()
    progress.scored = run.method.evaluated(progress.step).role
    run.checkpoints.save(progress)


def _step(run: Run, progress: Progress, log: Log, lines: list[str]) -> None:
    """One training step; ``lines`` are what the method said before it."""
    started = time.perf_counter()
    result = run.train_step(progress.step, *next(run.batches))
    for line in (*lines, *_skips(run, progress), *_overflow(result, progress)):
        log.line(line)
    progress.step += 1
    log.progress(_shown(result), run.group.world * result.images / (time.perf_counter() - started))
    _count(run, progress, result, log)
    due = _evaluation_is_due(run, progress.step) or _supervised_phase_ends(run, progress.step)
    progress.to_score = due and run.evaluate is not None


def _evaluation_is_due(run: Run, step: int) -> bool:
    """Whether ``trainer.eval_every`` asks for scores after ``step`` steps; best.ckpt is chosen from these."""
    context = run.method.context
    return step == context.steps or step % (context.trainer.eval_every * context.steps_per_epoch) == 0


def _supervised_phase_ends(run: Run, step: int) -> bool:
    """Whether unlabelled images come in after ``step`` steps: what they add is measured from here."""
    method = run.method
    return 0 < step < method.context.steps and method.semi_phase(step) and not method.semi_phase(step - 1)


def _skips(run: Run, progress: Progress) -> list[str]:
    """Counts the images that were replaced in this step, on all devices; lines that name them."""
    messages = run.skipped() if run.skipped else []
    if run.skipped is None or not run.group.any(bool(messages)):
        return []
    progress.skipped += int(run.group.total(np.array([len(messages)], np.int64))[0])
    named = [line for text in run.group.texts("\n".join(messages)) for line in text.splitlines()]
    return [f"step {progress.step}: skipped an image: {line}" for line in named]


def _overflow(result: StepResult, progress: Progress) -> list[str]:
    """A line where mixed precision left the step out."""
    if not result.overflow:
        return []
    counted = f"{result.overflows} so far; loss scale now {result.loss_scale:g}"
    return [f"step {progress.step}: not finite in float16, skipped: nothing was changed ({counted})"]


def _scores(run: Run, progress: Progress) -> dict[str, Any]:
    network, _, proto_ready = run.method.evaluated(progress.step)
    training = network.training
    network.set_train(False)
    try:
        scores = run.evaluate(network)
    finally:
        network.set_train(training)
    if not proto_ready:
        scores.pop("proto_miou", None)  # the prototypes are still the random ones
    return scores


def _keep_scores(run: Run, progress: Progress, log: Log, scores: dict[str, Any]) -> None:
    """Into the log, and the network into best.ckpt if it is the best so far."""
    candidate, phase_ends = _evaluation_is_due(run, progress.step), _supervised_phase_ends(run, progress.step)
    progress.score = scores["miou"]
    progress.supervised = scores["miou"] if phase_ends else progress.supervised
    log.numbers(
        {"step": progress.step, "eval": scores}
        | ({"phase": "supervised"} if phase_ends else {})
        | ({} if candidate else {"candidate": False})
    )
    for name, picture in run.monitor.pictures(progress.step) if run.monitor else ():
        log.picture(f"images/{name}", picture, progress.step)
    better = candidate and scores["miou"] > progress.best
    if better:
        save(run, progress, log)  # whatever ends the run from here on, it goes on at this very network
        progress.best, progress.best_step = scores["miou"], progress.step
        if run.group.first:
            arrays = checkpoint_io.network_arrays(run.method.evaluated(progress.step).network)
            record = recorded({"step": progress.step, "miou": scores["miou"]}, run.identity)
            checkpoint_io.save(run.files.best, arrays, record)
    progress.to_score = False
    proto = f", prototype head {scores['proto_miou']:.2f}" if scores.get("proto_miou") is not None else ""
    skipped = f", {scores['skipped']} unreadable images left out" if scores.get("skipped") else ""
    best = f"best {progress.best:.2f} at step {progress.best_step}" if progress.best_step else ""
    remarks = ["end of the supervised phase"] * phase_ends + ["best so far" if better else best]
    log.line(f"step {progress.step}: mIoU {scores['miou']:.2f}{proto}{skipped} ({', '.join(filter(None, remarks))})")


def _count(run: Run, progress: Progress, result: StepResult, log: Log) -> None:
    """Adds a step to the running means; writes them every ``trainer.log_every`` steps and at the end."""
    context = run.method.context
    for name, value in {} if result.overflow else {"loss": result.loss, **result.terms}.items():
        total, count = progress.sums.get(name, (0.0, 0))
        progress.sums[name] = (total + value, count + 1)
    if progress.step % context.trainer.log_every == 0 or progress.step == context.steps:
        means = {name: total / count for name, (total, count) in progress.sums.items()}
        counts = {"skipped": progress.skipped} if progress.skipped else {}
        if result.loss_scale is not None:
            counts |= {"loss_scale": result.loss_scale, "overflows": result.overflows}
        measured = {name: numpy_of(array).astype(int).tolist() for name, array in result.measured.items()}
        measured |= run.monitor.numbers(progress.step) if run.monitor else {}
        log.numbers({"step": progress.step, "lr": result.lr, **means, **counts, **measured})
        progress.sums = {}


def _shown(result: StepResult) -> dict[str, str]:
    if result.overflow:
        return {"loss": "overflow", "lr": f"{result.lr:.2g}"}
    losses = {name: f"{value:.3f}" for name, value in result.terms.items() if name != "mask_ratio"}
    shown = {"loss": f"{result.loss:.3f}"} | (losses if len(losses) > 1 else {})
    if "mask_ratio" in result.terms:
        shown["mask ratio"] = f"{100 * result.terms['mask_ratio']:.0f}%"
    return shown | {"lr": f"{result.lr:.2g}"}


class _Left(BaseException):
    """A signal asked to stop in the middle of something that can be done again."""


class _Interruptible:
    """Turns SIGINT and SIGTERM into a flag while the loop runs; a second signal interrupts at once."""

    def __enter__(self) -> "_Interruptible":
        self.asked = self._may_leave = False
        self._before = {number: signal.signal(number, self._set) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """While inside, a first signal (also one that came before) ends the block with ``_Left``."""
        self._may_leave = True
        try:
            if self.asked:
                raise _Left
            yield
        finally:
            self._may_leave = False

    def _set(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if self._may_leave:
            raise _Left
