"""Training from a configuration: ``python -m semiseg.train --config F [key.sub=value ...]``."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace

from semiseg import cli
from semiseg.checkpoints.identity import identity_of
from semiseg.checkpoints.run import Checkpoints, Progress
from semiseg.common import distributed
from semiseg.common.distributed import Group
from semiseg.common.errors import UserError
from semiseg.common.files import remove_leftovers, replace_file
from semiseg.common.run_files import RunFiles
from semiseg.config import dump, flatten, load
from semiseg.config.keys import Config
from semiseg.config.unread import unread_in
from semiseg.data import truth
from semiseg.data.build import fingerprints_of, open_part
from semiseg.data.lists import save_lists
from semiseg.data.paths import split_name
from semiseg.data.presence import sampled
from semiseg.data.warnings import lost_by_unlabeled, not_learnt_warning
from semiseg.engine import build, loop
from semiseg.engine.device import be_deterministic, set_device
from semiseg.engine.lock import RunLock
from semiseg.engine.log import NoLog, RunLog
from semiseg.engine.plan import Plan, make_plan
from semiseg.engine.step import TrainStep
from semiseg.inference.compiled import Network
from semiseg.inference.evaluation import evaluate
from semiseg.interop.pretrained import load_encoder
from semiseg.methods import Method
from semiseg.models.precision import at_precision

_LABELED_LOOKED_AT = 24  # of the labelled images, when a run ends


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = cli.parser("train")
    parser.add_argument("--config", required=True, help="a config.yaml, or the folder that holds it")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, e.g. trainer.epochs=40")
    args = parser.parse_intermixed_args(argv)
    plan = make_plan(load(args.config, args.overrides), distributed.processes())
    device = "" if distributed.is_scheduler() else set_device(plan.config.device, lambda: prepare(plan.config))
    group = distributed.join()
    with RunLock(plan.folder) if group.first else contextlib.nullcontext():
        return run(plan, device, group)


def prepare(config: Config) -> None:
    """What must come between choosing the device and its first operation, in this order."""
    if config.trainer.deterministic:
        be_deterministic()
    distributed.connect()


def run(plan: Plan, device: str, group: Group) -> int:
    """Trains; the folder is this run's alone."""
    config = plan.config
    with build.TrainData(plan, group) as data:
        method = plan.method(build.run_context(plan, data, group))
        optimizer = build.optimizer(plan, method)
        identity = identity_of(flatten(config), plan.spec.classes)
        train_step = TrainStep(method, optimizer)
        state = method.state() | optimizer.state() | train_step.state()
        checkpoints = Checkpoints(plan.folder, config.saver, state, group, identity)
        fresh = Progress(devices=group.world, images=plan.images)
        progress, lines = begin(checkpoints, fresh, method, plan, group)
        if progress.step >= plan.steps and not progress.to_score:
            if group.first:
                print("\n".join(finished_lines(plan, progress)))
            group.wait()
            return 0
        masks = fingerprints_of(config, plan.spec, plan.split) if group.first else {}
        changed = truth.changed(plan.folder, masks) if progress.step else {}
        if group.any("val" in changed):
            progress = without_scores(checkpoints, progress)
        work = loop.Run(
            folder=plan.folder,
            saver=config.saver,
            method=method,
            train_step=train_step,
            checkpoints=checkpoints,
            batches=data.batches(progress.step),
            evaluate=evaluator(plan, group) if config.trainer.eval_on else None,
            skipped=data.taken_skips if config.dataset.on_error == "skip" else None,
            monitor=build.monitor(plan, method) if group.first else None,
            group=group,
            identity=identity,
        )
        if not progress.step and not progress.to_score:  # before the log is cut: it may be another run's
            lines += filter(None, [checkpoints.set_aside()])
        with log_of(plan, progress, group) as log:
            if group.first:  # not before all else is ready: a run that is prolonged replaces the configuration it had
                record_inputs(plan, masks)
            lines = [f"WARNING: {sentence}" for sentence in truth.going_on(changed)] + lines
            for line in (*opening_lines(plan, device, group, progress.step), *plan.continued(progress.step), *lines):
                log.line(line)
            progress = loop.train(work, progress, log)
            lines = closing_lines(progress, work, config)
            if group.first and config.trainer.eval_on:
                lines = lines_of_labeled(plan, method.evaluated(progress.step).network) + lines
            for line in lines:
                log.line(line)
    group.wait()
    return 0


def begin(
    checkpoints: Checkpoints, fresh: Progress, method: Method, plan: Plan, group: Group
) -> tuple[Progress, list[str]]:
    """Continues a run or starts one, the same on all devices; (where it stands, lines for the log).

    Raises:
        CheckpointError: last.ckpt or net.encoder.pretrained cannot be read or does not fit.
    """
    if plan.config.trainer.resume == "never":
        progress, lines = fresh, []
    else:
        progress, lines = checkpoints.resume(fresh)
    weights = plan.config.net.encoder.pretrained
    if group.first and not progress.step and weights:
        lines += [load_encoder(network.encoder, weights) for network in method.networks.values()][:1]
    return checkpoints.share(progress), lines


def finished_lines(plan: Plan, progress: Progress) -> list[str]:
    """What is said of a run that has no step left."""
    best = f"best mIoU {progress.best:.2f}" if progress.best_step else "not evaluated"
    changed = truth.changed(plan.folder, fingerprints_of(plan.config, plan.spec, plan.split)).values()
    return [
        f"{plan.folder}: this run is finished ({progress.step} steps, {best})",
        *(f"WARNING: {count}; it stays as it is (trainer.resume=never starts anew)" for count in changed),
    ]


def without_scores(checkpoints: Checkpoints, progress: Progress) -> Progress:
    """Of a run whose validation masks changed: best.ckpt is kept by another name and chosen anew, which is written down
    before the new masks are those that the run knows.
    """
    progress = replace(progress, best=-1.0, best_step=0, score=None, supervised=None)
    checkpoints.keep_best_of_old_masks()
    checkpoints.save(progress)
    return progress


def record_inputs(plan: Plan, masks: truth.Fingerprints) -> None:
    """What a run is made of, into its folder: configuration, lists, fingerprints of its masks."""
    resolved = RunFiles(plan.folder).resolved
    remove_leftovers(resolved)
    replace_file(resolved, dump(plan.config), "saver.main_dir names another folder")
    save_lists(plan.folder, plan.split)
    truth.save(plan.folder, masks)


def evaluator(plan: Plan, group: Group) -> loop.Evaluator:
    """Scores a network on the validation images, shared out to the devices."""
    config = plan.config
    loader = build.EvalLoader(config, plan.spec, group, skip=config.dataset.on_error == "skip")
    mode = build.evaluation_during_training(config)

    def scores(network):
        with at_precision(network, config.evaluation.amp):
            summary = evaluate(network, loader, mode, group=group).summary()
        left_out = sum(len(text.splitlines()) for text in group.texts("\n".join(loader.skipped)))
        return summary | ({"skipped": left_out} if left_out else {})

    return scores


def lines_of_labeled(plan: Plan, network: Network) -> list[str]:
    """A warning where some of the labelled images are not predicted as most are, though they were learnt from."""
    config = plan.config
    with contextlib.suppress(UserError, OSError):  # they could be read when they were learnt from
        some = [plan.split.labeled[index] for index in sampled(len(plan.split.labeled), _LABELED_LOOKED_AT)]
        images = open_part(config, plan.spec, some, "train")
        loader = build.EvalLoader(config, plan.spec, skip=True, images=images)
        with at_precision(network, config.evaluation.amp):
            counts = evaluate(network, loader, build.evaluation_during_training(config)).images
        right = {name: pixels[0].sum() / pixels[1].sum() for name, pixels in counts.items() if pixels[1].any()}
        warning = not_learnt_warning(right)
        return [f"WARNING: {warning}"] if warning else []
    return []


def log_of(plan: Plan, progress: Progress, group: Group) -> RunLog | NoLog:
    """The log of rank 0, with its events and its tracker; the others have none."""
    if not group.first:
        return NoLog()
    events = build.events(plan, progress.step)
    log = RunLog(plan.folder, progress.step, plan.steps, events, progress.to_score)
    if tracker := build.tracker(plan, progress.step, log.line):
        log.record_with(tracker)
    return log


def opening_lines(plan: Plan, device: str, group: Group, step: int) -> list[str]:
    """What a run says of itself before the first step."""
    config, split = plan.config, plan.split
    many = f" on each of {group.world} devices" if group.world > 1 else ""
    lines = [f"WARNING: {warning}" for warning in plan.warnings]
    lines += [
        f"{config.method} on {config.dataset.type}, split {split_name(config)}: {len(split.labeled)} labelled,"
        f" {len(split.unlabeled)} unlabelled, {len(split.val)} validation images",
        f"{config.trainer.epochs} epochs of {plan.steps_per_epoch} steps = {plan.steps} steps; device: {device}{many}",
        *(f"note: {note}" for note in plan.notes),
    ]
    if config.trainer.amp != "off":
        lines.append(f"mixed precision {config.trainer.amp}: float16, with a dynamic loss scale")
    if step:
        lines.append(f"continues after step {step} of {plan.steps}")
    return lines


def closing_lines(progress: Progress, work: loop.Run, config: Config) -> list[str]:
    """The end of the log: the best score, and what unlabelled images added to labels alone."""
    scored = work.evaluate is not None
    best = f"best mIoU {progress.best:.2f} at step {progress.best_step}" if scored else "not evaluated"
    skipped = f", {progress.skipped} times an unreadable image was skipped" if progress.skipped else ""
    if overflows := work.train_step.overflows:
        skipped += f", {overflows} steps skipped (not finite in float16)"
    warning, gain = "", ""
    if progress.supervised is not None and progress.score is not None:
        gain = f", {progress.score:.2f} at the end after {progress.supervised:.2f} at the end of the supervised phase"
        unread = dict(unread_in(config))
        warning = lost_by_unlabeled(progress.supervised, progress.score, flatten(config), unread)
    lines = [
        f"finished: {progress.step} steps, {best}{gain}{skipped}; {work.files.best if scored else work.files.last}"
    ]
    return [f"WARNING: {warning}", *lines] if warning else lines


if __name__ == "__main__":
    sys.exit(cli.run(main))
