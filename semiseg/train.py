"""Training from a configuration: ``python -m semiseg.train --config F [key.sub=value ...]``."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semiseg import cli
from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.run import Checkpoints, Progress
from semiseg.common import distributed
from semiseg.common.distributed import Group
from semiseg.common.errors import ConfigError
from semiseg.config import dump, flatten, load
from semiseg.config.keys import Config, EvaluationConfig, TrainerConfig
from semiseg.config.rules import unread_keys
from semiseg.data.specs import DatasetSpec
from semiseg.engine import build, build_monitor, loop
from semiseg.engine.device import set_device
from semiseg.engine.lock import RunLock
from semiseg.engine.log import NoLog, RunLog
from semiseg.engine.optim import SGD
from semiseg.engine.step import TrainStep
from semiseg.evaluate import evaluate
from semiseg.interop.pretrained import load_encoder
from semiseg.methods import Method, Settings, get_method

# What may change between two starts of one run: it does not touch the result. How a step's images are divided may
# change too; that their number stays is checked when last.ckpt is read.
_FREE = (
    *("device", "dataset.workers", "dataset.data_root", "dataset.batch_size", "dataset.on_error"),
    *("trainer.log_every", "trainer.resume", "trainer.accumulate", "saver.", "monitor.", "expected"),
)


@dataclass(frozen=True)
class Plan:
    """A run that the configuration and the files allow, before any device is touched. ``notes``: lines for the log."""

    config: Config
    spec: DatasetSpec
    split: build.Split
    folder: Path
    method: type[Method]
    per_epoch: int  # steps
    images: int  # labelled images a step, over all devices and micro-batches
    lr_factor: float
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return self.config.trainer.epochs * self.per_epoch


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m semiseg.train", description="Train from a configuration.")
    parser.add_argument("--config", required=True, help="a config.yaml, or the folder that holds it")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, e.g. trainer.epochs=40")
    args = parser.parse_intermixed_args(argv)
    plan = make_plan(load(args.config, args.overrides), distributed.processes())
    device = "" if distributed.is_scheduler() else set_device(plan.config.device)
    group = distributed.join()
    with RunLock(plan.folder) if group.first else contextlib.nullcontext():
        return run(plan, device, group)


def make_plan(config: Config, world: int) -> Plan:
    """What a run on ``world`` devices would be.

    Raises:
        ConfigError, DataError: it cannot work, or its folder belongs to another run.
    """
    config, spec = build.complete(config)
    folder = build.run_folder(config, spec)
    check_folder(folder, config)
    split = build.read_split(config, spec)
    method = get_method(config.method, config.net.proto_head is not None)
    notes = build.quick_check(config, spec, split, method.uses_unlabeled)
    images = build.images_a_step(config, world)
    factor, lr_notes = learning_rate_factor(config, spec, images)
    per_epoch = build.steps_per_epoch(config, split, world)
    notes = (*config.notes, *split.notes, *notes, *unread_keys(config), *lr_notes)
    return Plan(config, spec, split, folder, method, per_epoch, images, factor, notes)


def run(plan: Plan, device: str, group: Group) -> int:
    """Trains; the folder is this run's alone."""
    config = plan.config
    networks = [build.fresh_network(config, config.trainer.seed, group.world) for _ in range(2)]
    method = plan.method(*networks, settings_of(config, plan.per_epoch, group))
    sources = build.image_sources(config, plan.spec, plan.split) if config.trainer.adaptive else ()
    if sources:
        method.attach(*sources)
    optimizer = SGD(method.student, scaled(config.trainer, plan.lr_factor))
    state = method.state() | optimizer.state()
    checkpoints = Checkpoints(plan.folder, config.saver, state, frozenset(method.own_state()), group)
    progress, lines = begin(checkpoints, Progress(devices=group.world, images=plan.images), method, config, group)
    if progress.step >= plan.steps and not progress.to_score:
        if group.first:
            print(f"{plan.folder}: this run is finished ({progress.step} steps, best mIoU {progress.best:.2f})")
        return 0
    if group.first:
        write_config(plan.folder, config)
        build.save_lists(plan.folder, plan.split)
    data = build.train_data(config, plan.spec, plan.split, progress.step, method.uses_unlabeled, group)
    data.others.extend(sources)
    evaluator = evaluator_of(plan, group) if config.trainer.eval_on else None
    work = loop.Run(
        folder=plan.folder,
        saver=config.saver,
        method=method,
        train_step=TrainStep(method, optimizer),
        checkpoints=checkpoints,
        labeled=data.labeled,
        unlabeled=data.unlabeled,
        labeled_images=data.labeled_images,
        evaluate=evaluator,
        skipped=data.taken_skips if data.skip else None,
        monitor=build_monitor.monitor(config, plan.spec, plan.split, method) if group.first else None,
        group=group,
    )
    with data, log_of(plan, progress, group) as log:
        for line in (*opening_lines(plan, device, group, progress.step), *lines):
            log.line(line)
        progress = loop.train(work, progress, log)
        log.line(closing_line(progress, work))
    group.any(False)  # nobody leaves while rank 0 still writes
    return 0


def log_of(plan: Plan, progress: Progress, group: Group) -> RunLog | NoLog:
    """The log of rank 0, with its events; the others have none."""
    if not group.first:
        return NoLog()
    events = build_monitor.events(plan.config, plan.spec, plan.folder, progress.step)
    return RunLog(plan.folder, progress.step, plan.steps, events, progress.to_score)


def begin(
    checkpoints: Checkpoints, fresh: Progress, method: Method, config: Config, group: Group
) -> tuple[Progress, list[str]]:
    """Continues a run or starts one, the same on all devices; (where it stands, lines for the log).

    Raises:
        CheckpointError: last.ckpt or net.encoder.pretrained cannot be read or does not fit.
    """
    if config.trainer.resume == "auto":
        progress, lines = checkpoints.resume(fresh)
    else:
        progress, lines = fresh, []
        checkpoints.start_over()
    if group.first and not progress.step:
        lines += load_pretrained(method, config)
    return checkpoints.share(progress), lines


def evaluator_of(plan: Plan, group: Group) -> loop.Evaluator:
    """Scores a network on the validation images, shared out to the devices."""
    loader = build.EvalLoader(plan.config, plan.spec, group, skip=plan.config.dataset.on_error == "skip")
    mode = evaluation_during_training(plan.config)

    def scores(network):
        found = evaluate(network, loader, mode, group=group).summary()
        left_out = sum(len(text.splitlines()) for text in group.texts("\n".join(loader.skipped)))
        return found | ({"skipped": left_out} if left_out else {})

    return scores


def settings_of(config: Config, per_epoch: int, group: Group) -> Settings:
    """What the method may know."""
    data = config.dataset
    return Settings(
        trainer=config.trainer,
        criterion=config.criterion,
        net=config.net,
        batch=data.batch_size,
        crop=data.train.crop.size,
        steps_per_epoch=per_epoch,
        mean=data.mean,
        std=data.std,
        group=group,
    )


def learning_rate_factor(config: Config, spec: DatasetSpec, images: int) -> tuple[float, list[str]]:
    """What the configured learning rate is multiplied by, and what to say of it.

    Published rates belong to a published number of images a step. With another number the rate stays as configured,
    unless ``trainer.scale_lr`` asks for the linear rule (Goyal et al., https://arxiv.org/abs/1706.02677).

    Raises:
        ConfigError: scale_lr for a data set without a published number.
    """
    published, rate = spec.published_batch, config.trainer.optimizer.kwargs.lr
    if config.trainer.scale_lr:
        if published is None:
            raise ConfigError(
                f"trainer.scale_lr: {spec.name} has no published number of images a step to scale from; set "
                "trainer.optimizer.kwargs.lr itself"
            )
        factor = images / published
        return factor, [f"trainer.scale_lr: lr {rate:g} x {images}/{published} = {rate * factor:g}"]
    if published in (None, images):
        return 1.0, []
    return 1.0, [
        f"{images} labelled images a step (batch_size x accumulate x devices), published are {published}; lr {rate:g} "
        f"stays. trainer.scale_lr=true would take {rate * images / published:g}, "
        f"trainer.accumulate={max(1, round(published / images * config.trainer.accumulate))} comes nearest to the "
        "published number"
    ]


def scaled(trainer: TrainerConfig, factor: float) -> TrainerConfig:
    """``trainer`` with its learning rate multiplied."""
    kwargs = dataclasses.replace(trainer.optimizer.kwargs, lr=trainer.optimizer.kwargs.lr * factor)
    return dataclasses.replace(trainer, optimizer=dataclasses.replace(trainer.optimizer, kwargs=kwargs))


def evaluation_during_training(config: Config) -> EvaluationConfig:
    """``evaluation`` with the mode of ``trainer.eval_mode`` (sliding windows over a whole set take long)."""
    mode = config.trainer.eval_mode
    return config.evaluation if mode == "same" else dataclasses.replace(config.evaluation, mode=mode)


def check_folder(folder: Path, config: Config) -> None:
    """A run folder belongs to one configuration; another one is refused with what differs.

    Raises:
        ConfigError: the folder holds a run of another configuration, or a best.ckpt that no run of ours wrote.
    """
    written = folder / "config.resolved.yaml"
    best = folder / config.saver.snapshot_dir / "best.ckpt"
    if best.is_file() and not (written.is_file() and checkpoint_io.is_ours(best)):
        raise ConfigError(
            f"{best}: there is a checkpoint that this run did not write (a published one?) and training would "
            "overwrite it; choose another folder, e.g. saver.name=mine"
        )
    if not written.is_file():
        return
    before, now = flatten(load(written)), flatten(config)
    changed = [
        f"{key} was {before.get(key)}, now {now.get(key)}"
        for key in now | before  # a section that is null on one side has its keys on the other only
        if before.get(key) != now.get(key) and not key.startswith(_FREE)
    ]
    if changed:
        raise ConfigError(
            f"{folder}: holds a run of another configuration ({'; '.join(changed[:4])}); choose another folder, e.g. "
            "saver.name=mine, or move this one away"
        )


def load_pretrained(method: Method, config: Config) -> list[str]:
    """Puts ``net.encoder.pretrained`` into student and teacher; returns lines for the log. A fresh run alone does so.

    Raises:
        CheckpointError: the file cannot be read or is of another encoder.
    """
    path = config.net.encoder.pretrained
    return [load_encoder(network.encoder, path) for network in (method.teacher, method.student)][:1] if path else []


def write_config(folder: Path, config: Config) -> None:
    """config.resolved.yaml in the run folder, written beside and moved into place.

    Raises:
        ConfigError: the folder cannot be made or written.
    """
    partial = folder / ".config.resolved.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(dump(config), encoding="utf-8")
        partial.replace(folder / "config.resolved.yaml")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); saver.main_dir names another") from error


def opening_lines(plan: Plan, device: str, group: Group, step: int) -> list[str]:
    """What a run says of itself before the first step."""
    config, split = plan.config, plan.split
    many = f" on each of {group.world} devices" if group.world > 1 else ""
    lines = [
        f"{config.method} on {config.dataset.type}, split {build.split_name(config)}: {len(split.labeled)} labelled,"
        f" {len(split.unlabeled)} unlabelled, {len(split.val)} validation images",
        f"{config.trainer.epochs} epochs of {plan.per_epoch} steps = {plan.steps} steps; device: {device}{many}",
        *(f"note: {note}" for note in plan.notes),
    ]
    if step:
        lines.append(f"continues after step {step} of {plan.steps}")
    return lines


def closing_line(progress: Progress, work: loop.Run) -> str:
    """The last line of the log."""
    scored = work.evaluate is not None
    best = f"best mIoU {progress.best:.2f} at step {progress.best_step}" if scored else "not evaluated"
    skipped = f", {progress.skipped} times an unreadable image was skipped" if progress.skipped else ""
    return f"finished: {progress.step} steps, {best}{skipped}; {work.best if scored else work.checkpoints.last}"


if __name__ == "__main__":
    sys.exit(cli.run(main))
