"""What a run would be, from its configuration and files, before any device is touched."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import CheckpointError, ConfigError
from semiseg.common.run_files import RunFiles
from semiseg.common.text import counted
from semiseg.config import load
from semiseg.config.keys import WEAK_TO_STRONG, Config
from semiseg.config.same_run import another_run, changed_keys
from semiseg.config.unread import unread_keys
from semiseg.data.build import complete, parts_of, quick_check
from semiseg.data.lists import Split, check_lists, read_split
from semiseg.data.padding import padding_note, sample_of
from semiseg.data.paths import run_folder
from semiseg.data.specs import DatasetSpec
from semiseg.data.warnings import few_images_warning, few_ranks_warning, labels_alone_warning, random_weights_warning
from semiseg.engine.optim import poly
from semiseg.engine.trackers import require_package
from semiseg.methods import Method, get_method

_UNIMATCH_BATCH = 8  # labelled images a step that UniMatch's learning rates belong to


@dataclass(frozen=True)
class Plan:
    """A run that the configuration and the files allow.

    notes: lines for the log. warnings: what may make the whole run worthless. before: the configuration of the run that
    is in the folder, None where none is.
    """

    config: Config
    spec: DatasetSpec
    split: Split
    folder: Path
    method: type[Method]
    steps_per_epoch: int
    images: int  # labelled images a step, over all devices and micro-batches
    lr_factor: float
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    before: Config | None = None

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return self.config.trainer.epochs * self.steps_per_epoch

    def continued(self, step: int) -> list[str]:
        """What a run that goes on after ``step`` steps says of what is another from here on."""
        return [*self._extension(step), *self._division()] if step and self.before else []

    def _extension(self, step: int) -> list[str]:
        """The schedules, where trainer.resume=extend prolongs the run."""
        trainer, epochs = self.config.trainer, self.before.trainer.epochs
        if trainer.epochs == epochs:
            return []
        steps = epochs * self.steps_per_epoch
        base, power = trainer.optimizer.kwargs.lr * self.lr_factor, trainer.lr_scheduler.kwargs.power
        before, now = (base * poly(min(step, end), end, power) for end in (steps, self.steps))
        return [
            f"prolonged (trainer.resume=extend): trainer.epochs {epochs} -> {trainer.epochs}, {steps} -> "
            f"{self.steps} steps; every schedule goes by the new length from here on: at step {step} the learning rate "
            f"jumps from {before:.3g} to {now:.3g}"
        ]

    def _division(self) -> list[str]:
        """How many images BatchNorm sees at once, where they are divided otherwise over micro-batches and devices."""

        def of_norm(config: Config) -> int:
            devices = self.images // (config.dataset.batch_size * config.trainer.accumulate)  # a step's images stay
            return _images_at_once(config, self.method, devices)

        before, now = of_norm(self.before), of_norm(self.config)
        if before == now:
            return []
        return [
            f"note: BatchNorm takes its statistics from {counted(now, 'image')} at once from here on, from {before} "
            "until now (dataset.batch_size, trainer.accumulate, devices): a step's images stay the same, its result "
            "does not"
        ]


def make_plan(config: Config, world: int) -> Plan:
    """What a run on ``world`` devices would be.

    Raises:
        ConfigError, DataError: it cannot work, or its folder belongs to another run.
    """
    config, spec = complete(config)
    if config.monitor.tracker != "none":
        require_package(config.monitor.tracker)
    folder = run_folder(config, spec)
    before = check_folder(folder, config)
    split = read_split(config, spec)
    check_lists(folder, split)
    method = get_method(config.method, config.net.proto_head is not None)
    notes = quick_check(config, spec, split, method.uses_unlabeled)
    some = replace(split, labeled=sample_of(split.labeled), unlabeled=sample_of(split.unlabeled))
    training = parts_of(config, spec, some, method.uses_unlabeled, with_val=False)
    notes += padding_note(training.values(), config.dataset.train)
    images = config.dataset.batch_size * config.trainer.accumulate * world
    factor, lr_notes = learning_rate_factor(config, spec, images)
    notes = (*config.notes, *split.notes, *notes, *unread_keys(config), *lr_notes)
    steps = steps_per_epoch(split, images, config.trainer.epoch_of)
    contrast = config.trainer.contrastive  # a method that needs it says so
    if config.net.encoder.freeze_bn and not config.net.encoder.pretrained:
        raise ConfigError(
            "net.encoder.freeze_bn: expected beside net.encoder.pretrained, whose statistics are kept; random weights "
            "have none: name weights, or set it to false"
        )
    said = (
        random_weights_warning(spec, config.net.encoder.pretrained),
        few_images_warning(images_of_norm(config, method, world), config.net.decoder.kwargs.pool_norm),
        few_ranks_warning(contrast.low_rank, spec.num_classes) if contrast and config.method == "u2pl" else "",
        labels_alone_warning(config.trainer.epochs, config.trainer.sup_only_epoch) if method.uses_unlabeled else "",
    )
    warnings = tuple(filter(None, said))
    return Plan(config, spec, split, folder, method, steps, images, factor, notes, warnings, before)


def steps_per_epoch(split: Split, images: int, epoch_of: Literal["unlabeled", "labeled"] = "unlabeled") -> int:
    """ceil(unlabelled images / images a step), so that methods are compared after the same number of steps.

    Where ``epoch_of`` says so, or without any unlabelled image, an epoch is one pass over the labelled ones.
    """
    images_of_epoch = split.labeled if epoch_of == "labeled" else split.unlabeled or split.labeled
    return max(1, -(-len(images_of_epoch) // images))


def images_of_norm(config: Config, method: type[Method], world: int) -> int:
    """Images that share BatchNorm's statistics in the smallest forward pass in training mode: of a micro-batch on one
    device, or on all with net.sync_bn.

    Raises:
        ConfigError: one image, and BatchNorm behind image pooling, which sees one number of it.
    """
    images = _images_at_once(config, method, world)
    if images == 1 and config.net.decoder.kwargs.pool_norm:
        raise ConfigError(
            "dataset.batch_size: expected at least 2 where images of one kind go through the network alone (BatchNorm "
            "has no variance over the one value that image pooling gives), got 1; take 2 (better 4), or "
            "net.decoder.kwargs.pool_norm=false, or a method with a teacher and trainer.sup_only_epoch=0"
        )
    return images


def _images_at_once(config: Config, method: type[Method], world: int) -> int:
    kinds = 1 if config.trainer.sup_only_epoch > 0 else method.kinds_in_smallest_pass(config.trainer)
    return config.dataset.batch_size * kinds * (world if config.net.sync_bn else 1)


def check_folder(folder: Path, config: Config) -> Config | None:
    """A run folder belongs to one configuration; another one is refused with what differs.

    Returns the configuration of the run that is there, or None.

    Raises:
        ConfigError: the folder holds a run of another configuration, or a best.ckpt that is damaged or that no run of
            ours wrote; or there is no run to extend.
    """
    extend, epochs = config.trainer.resume == "extend", config.trainer.epochs
    files = RunFiles(folder, config.saver.snapshot_dir)
    written = files.resolved
    _check_best(files.best, written.is_file())
    if not written.is_file():
        _refuse_nameless(files, config.trainer.resume == "never")
        if extend:
            raise ConfigError(f"{folder}: trainer.resume is extend, but no run is there to prolong; leave the key out")
        return None
    before = load(written)
    changed = changed_keys(before, config)
    longer = epochs > before.trainer.epochs
    if extend and longer:
        del changed["trainer.epochs"]
    if changed:
        prolong = (
            "trainer.resume=extend prolongs the run, else " if list(changed) == ["trainer.epochs"] and longer else ""
        )
        raise ConfigError(
            f"{another_run(folder, changed)}; {prolong}choose another folder, e.g. saver.name=mine, or move this one "
            "away"
        )
    return before


def _refuse_nameless(files: RunFiles, starts_anew: bool) -> None:
    """Raises ConfigError for a checkpoint to go on from of which nothing says what run it is of."""
    there = [path for path in (files.last, *files.older()) if path.is_file()]
    if there and not starts_anew:
        raise ConfigError(
            f"{there[0]}: a checkpoint to go on from, but {files.resolved} is not there, which says of what run; put "
            "it back, move the checkpoint away, or start anew with trainer.resume=never"
        )


def _check_best(best: Path, has_run: bool) -> None:
    """Raises ConfigError for a best.ckpt that is not the run's own, or cannot be read. ``has_run``: a run is there."""
    if not best.is_file() or (has_run and checkpoint_io.is_ours(best)):
        return
    if has_run and not _is_readable(best):
        raise ConfigError(
            f"{best}: damaged, cut off or no checkpoint of this run; remove it or move it away, and the same command "
            "continues the run (best.ckpt is written again when a score is above the best so far)"
        )
    raise ConfigError(
        f"{best}: there is a checkpoint that this run did not write (a published one?) and training would "
        "overwrite it; choose another folder, e.g. saver.name=mine"
    )


def _is_readable(checkpoint: Path) -> bool:
    try:
        checkpoint_io.read(checkpoint)
    except CheckpointError:
        return False
    return True


def learning_rate_factor(config: Config, spec: DatasetSpec, images: int) -> tuple[float, list[str]]:
    """What the configured learning rate is multiplied by, and what to say of it.

    Published rates belong to a published number of images a step. With another number the rate stays as configured,
    unless ``trainer.scale_lr`` asks for the linear rule (Goyal et al., https://arxiv.org/abs/1706.02677).

    Raises:
        ConfigError: scale_lr for a data set without a published number.
    """
    rate, published = config.trainer.optimizer.kwargs.lr, spec.published_batch
    if published and config.method in WEAK_TO_STRONG:
        published = _UNIMATCH_BATCH
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
