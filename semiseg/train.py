"""Training from a configuration: ``python -m semiseg.train --config F [key.sub=value ...]``."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from semiseg import assemble, assemble_monitor, checkpoint, cli
from semiseg.config import Config, EvaluationConfig, dump, flatten, load
from semiseg.config_rules import unread_keys
from semiseg.data.loaders import eval_samples
from semiseg.device import set_device
from semiseg.engine import loop
from semiseg.engine.log import RunLog
from semiseg.engine.optim import SGD
from semiseg.engine.step import TrainStep
from semiseg.errors import ConfigError
from semiseg.evaluate import evaluate
from semiseg.interop.pretrained import load_encoder
from semiseg.methods import Method, Settings, get_method

# What may change between two starts of one run: it does not touch the result.
_FREE = (
    "device",
    "dataset.workers",
    "trainer.log_every",
    "trainer.resume",
    "saver.",
    "monitor.",
    "expected",
    "dataset.data_root",
)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m semiseg.train", description="Train from a configuration.")
    parser.add_argument("--config", required=True, help="a config.yaml, or the folder that holds it")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, e.g. trainer.epochs=40")
    args = parser.parse_intermixed_args(argv)
    if int(os.environ.get("MS_WORKER_NUM", "1")) > 1:
        raise ConfigError("training on several devices is not part of this version: start train.sh without a number")
    config, spec = assemble.complete(load(args.config, args.overrides))
    folder = assemble.run_folder(config, spec)
    check_folder(folder, config)
    split = assemble.read_split(config, spec)
    per_epoch = assemble.steps_per_epoch(config, split)
    method_class = get_method(config.method, config.net.proto_head is not None)
    assemble.quick_check(config, spec, split, method_class.uses_unlabeled)
    device = set_device(config.device)
    method = method_class(
        assemble.fresh_network(config, config.trainer.seed),
        assemble.fresh_network(config, config.trainer.seed),
        settings_of(config, per_epoch),
    )
    if config.trainer.adaptive:
        method.attach(*assemble.image_sources(config, spec, split))
    optimizer = SGD(method.student, config.trainer)
    state = method.state() | optimizer.state()
    last = folder / config.saver.snapshot_dir / "last.ckpt"
    progress = loop.resume(last, state) if config.trainer.resume == "auto" else loop.Progress()
    if progress.step >= config.trainer.epochs * per_epoch:
        print(f"{folder}: this run is finished ({progress.step} steps, best mIoU {progress.best:.2f})")
        return 0
    pretrained = load_pretrained(method, config) if not progress.step else []
    write_config(folder, config)
    assemble.save_lists(folder, split)
    data = assemble.train_data(config, spec, split, progress.step, method.uses_unlabeled)
    evaluator = None
    if config.trainer.eval_on:
        loader = assemble.EvalLoader(config, spec)

        def evaluator(network):
            return evaluate(network, loader, evaluation_during_training(config)).summary()

    run = loop.Run(
        folder=folder,
        saver=config.saver,
        method=method,
        train_step=TrainStep(method, optimizer),
        state=state,
        labeled=data.labeled,
        unlabeled=data.unlabeled,
        labeled_images=lambda: ((image, mask) for _, image, mask in eval_samples(data.images)),
        evaluate=evaluator,
        monitor=assemble_monitor.monitor(config, spec, split, method),
    )
    events = assemble_monitor.events(config, spec, folder, progress.step)
    with data, RunLog(folder, progress.step, method.settings.steps, events) as log:
        for line in (*opening_lines(config, split, per_epoch, device, progress.step), *pretrained):
            log.line(line)
        progress = loop.train(run, progress, log)
        best = f"best mIoU {progress.best:.2f} at step {progress.best_step}" if evaluator else "not evaluated"
        log.line(f"finished: {progress.step} steps, {best}; {run.best if evaluator else run.last}")
    return 0


def settings_of(config: Config, per_epoch: int) -> Settings:
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
    )


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
    if best.is_file() and not (written.is_file() and checkpoint.is_ours(best)):
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


def opening_lines(config: Config, split: assemble.Split, per_epoch: int, device: str, step: int) -> list[str]:
    """What a run says of itself before the first step."""
    steps = config.trainer.epochs * per_epoch
    lines = [
        f"{config.method} on {config.dataset.type}, split {assemble.split_name(config)}: {len(split.labeled)} labelled,"
        f" {len(split.unlabeled)} unlabelled, {len(split.val)} validation images",
        f"{config.trainer.epochs} epochs of {per_epoch} steps = {steps} steps; device: {device}",
        *(f"note: {note}" for note in (*config.notes, *split.notes, *unread_keys(config))),
    ]
    if step:
        lines.append(f"continues after step {step} of {steps}")
    return lines


if __name__ == "__main__":
    sys.exit(cli.run(main))
