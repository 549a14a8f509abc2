"""The one training loop. It knows steps, evaluation and checkpoints, and no method."""

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mindspore import Parameter

from semiseg import checkpoint
from semiseg.config import SaverConfig
from semiseg.engine.log import RunLog
from semiseg.engine.monitor import Monitor
from semiseg.engine.step import StepResult, TrainStep
from semiseg.errors import CheckpointError
from semiseg.methods import Method
from semiseg.methods.base import LabeledImages, TrainBatch
from semiseg.models import SegmentationNetwork

# Scores a network: {"miou": percent, ...}.
Evaluator = Callable[[SegmentationNetwork], dict[str, Any]]


@dataclass
class Progress:
    """Where a run stands: the part of its state that is no tensor."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    # Sum and count of the loss and each term since the last line of metrics.jsonl; saved, so that no step is lost.
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What the loop works on."""

    folder: Path  # the run folder
    saver: SaverConfig
    method: Method
    train_step: TrainStep
    state: dict[str, Parameter]  # everything that last.ckpt holds
    labeled: Iterable[TrainBatch]
    unlabeled: Iterable[TrainBatch] | None
    labeled_images: LabeledImages
    evaluate: Evaluator | None
    monitor: Monitor | None = None

    @property
    def last(self) -> Path:
        """The checkpoint that a run continues from."""
        return self.folder / self.saver.snapshot_dir / "last.ckpt"

    @property
    def best(self) -> Path:
        """The best network so far, alone."""
        return self.folder / self.saver.snapshot_dir / "best.ckpt"


def resume(last: Path, state: Mapping[str, Parameter]) -> Progress:
    """Continues from ``last`` if there is one: restores the state and says where the run stands.

    Raises:
        CheckpointError: damaged, of another network, or not a run's last.ckpt.
    """
    if not last.is_file():
        return Progress()
    arrays, record = checkpoint.read(last)
    if record is None or set(record) != set(vars(Progress())):
        raise CheckpointError(f"{last}: holds no training run that this version continues; move it away to start anew")
    checkpoint.restore(last, arrays, state)
    return Progress(**record)


def train(run: Run, progress: Progress, log: RunLog) -> Progress:
    """Trains from ``progress.step`` to the end; last.ckpt and best.ckpt are written on the way.

    SIGTERM and Ctrl-C finish the step, write last.ckpt and raise KeyboardInterrupt.
    """
    settings = run.method.settings
    trainer = settings.trainer
    labeled, unlabeled = iter(run.labeled), iter(run.unlabeled or ())
    with _Interruptible() as interrupted:
        while progress.step < settings.steps:
            started = time.perf_counter()
            for line in run.method.enter_step(progress.step, run.labeled_images):
                log.line(line)
            batch_u = next(unlabeled) if run.unlabeled is not None else None
            result = run.train_step(progress.step, next(labeled), batch_u)
            progress.step += 1
            images = settings.batch * (2 if run.method.semi_phase(progress.step - 1) else 1)
            log.progress(_shown(result), images / (time.perf_counter() - started))
            _count(run, progress, result, log)
            ended = progress.step == settings.steps
            if run.evaluate and (ended or progress.step % (trainer.eval_every * settings.steps_per_epoch) == 0):
                _evaluate(run, progress, log)
            stop = interrupted()  # asked once: a signal between saving and stopping would stop an unsaved step
            if ended or stop or progress.step % run.saver.every == 0:
                save(run, progress)
            if stop and not ended:
                log.line(f"stopped after step {progress.step}; {run.last} is written, the same command continues")
                raise KeyboardInterrupt
    return progress


def save(run: Run, progress: Progress) -> None:
    """Writes last.ckpt."""
    checkpoint.save(run.last, run.state, vars(progress))


def _evaluate(run: Run, progress: Progress, log: RunLog) -> None:
    network = run.method.eval_network(progress.step)
    training = network.training
    network.set_train(False)
    scores = run.evaluate(network)
    network.set_train(training)
    if not run.method.proto_ready(progress.step):
        scores.pop("proto_miou", None)  # the prototypes are still the random ones
    log.numbers({"step": progress.step, "eval": scores})
    for name, picture in run.monitor.pictures(progress.step) if run.monitor else ():
        log.picture(f"images/{name}", picture, progress.step)
    better = scores["miou"] > progress.best
    if better:
        progress.best, progress.best_step = scores["miou"], progress.step
        checkpoint.save(run.best, checkpoint.network_arrays(network), {"step": progress.step, "miou": scores["miou"]})
    proto = f", prototype head {scores['proto_miou']:.2f}" if scores.get("proto_miou") is not None else ""
    best = "best so far" if better else f"best {progress.best:.2f} at step {progress.best_step}"
    log.line(f"step {progress.step}: mIoU {scores['miou']:.2f}{proto} ({best})")


def _count(run: Run, progress: Progress, result: StepResult, log: RunLog) -> None:
    """Adds a step to the running means; writes them every ``trainer.log_every`` steps and at the end."""
    settings = run.method.settings
    for name, value in {"loss": result.loss, **result.terms}.items():
        total, count = progress.sums.get(name, (0.0, 0))
        progress.sums[name] = (total + value, count + 1)
    if progress.step % settings.trainer.log_every == 0 or progress.step == settings.steps:
        means = {name: total / count for name, (total, count) in progress.sums.items()}
        measured = run.monitor.numbers(progress.step) if run.monitor else {}
        log.numbers({"step": progress.step, "lr": result.lr, **means, **measured})
        progress.sums = {}


def _shown(result: StepResult) -> dict[str, str]:
    losses = {name: f"{value:.3f}" for name, value in result.terms.items() if name != "kept"}
    shown = {"loss": f"{result.loss:.3f}"} | (losses if len(losses) > 1 else {})
    if "kept" in result.terms:
        shown["confident"] = f"{100 * result.terms['kept']:.0f}%"
    return shown | {"lr": f"{result.lr:.2g}"}


class _Interruptible:
    """Turns SIGINT and SIGTERM into a flag while the loop runs; a second signal interrupts at once."""

    def __enter__(self) -> Callable[[], bool]:
        self._flag = False
        self._before = {number: signal.signal(number, self._set) for number in (signal.SIGINT, signal.SIGTERM)}
        return lambda: self._flag

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _set(self, *_: object) -> None:
        if self._flag:
            raise KeyboardInterrupt
        self._flag = True
