"""From the whole Config to the things it describes: networks, streams, the context of a method, what a run shows.

Used by the command lines alone; everything below takes its own part of the configuration. What needs no MindSpore is in
``data.build``.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import mindspore as ms
import numpy as np

from semiseg.checkpoints.identity import CLASSES, COLORS, Identity, tree_of
from semiseg.common.distributed import ALONE, Group
from semiseg.common.errors import ConfigError
from semiseg.config import dump, schema
from semiseg.config.keys import WEAK_TO_STRONG, Config, EvaluationConfig
from semiseg.config.loading import from_tree
from semiseg.config.retired import check_stated
from semiseg.config.rules import validate
from semiseg.config.yaml_text import parse_scalar_or_tree
from semiseg.data.build import dataset, open_part, refuse_missing
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.lists import Split, read_val
from semiseg.data.loaders import Batch, Shard, TrainStream, eval_samples
from semiseg.data.paths import split_name
from semiseg.data.presence import sampled
from semiseg.data.sources import ImageSource
from semiseg.data.specs import DatasetSpec
from semiseg.data.transforms import TrainTransform, normalize
from semiseg.engine.events import Events
from semiseg.engine.monitor import Monitor, Sample, TruthOfStep
from semiseg.engine.optim import SGD
from semiseg.engine.plan import Plan
from semiseg.engine.trackers import TrackedRun, Tracker, run_id
from semiseg.inference.evaluation import Center
from semiseg.methods import Method
from semiseg.methods.context import RunContext
from semiseg.models import SegmentationNetwork, build_model


def fresh_network(config: Config, seed: int, world: int = 1) -> SegmentationNetwork:
    """A network whose weights depend on the seed alone; to be trained on ``world`` devices together.

    Raises:
        ConfigError: a file states a channel count that differs from what the network has.
    """
    ms.set_seed(seed)
    network = build_model(config.net, world)
    check_stated(config, "net.aux_loss.aux_plane", network.encoder.out_planes[2], "this network")
    check_stated(config, "net.proto_head.in_planes", network.decoder.out_planes, "this network")
    return network


def from_identity(identity: Identity, checkpoint: Path, overrides: Sequence[str]) -> Config:
    """The configuration that a checkpoint carries: network, preprocessing, classes, evaluation; no files.

    Raises:
        ConfigError: it does not fit this version, or an override is wrong.
    """
    config = from_tree(tree_of(identity, str(checkpoint)), overrides)
    validate(config)
    return config


def as_trained(config: Config, identity: Identity, checkpoint: Path, taken: Collection[str]) -> Config:
    """``config`` with the network and the preprocessing of a checkpoint. Scoring and the places of images stay.

    ``taken``: keys that differ. Where classes or their colours are among them, both are taken. Of a described data set
    the places of its files stay too.

    Raises:
        ConfigError: what the checkpoint carries does not fit this version or the rest.
    """
    keys = ["net.", "dataset.mean", "dataset.std", "dataset.ignore_label"]
    if CLASSES in taken or COLORS in taken:
        described = config.dataset.custom is not None and identity.get("dataset.type") == "custom"
        if described:
            _refuse_another_order(config, identity, checkpoint)
        one = ["dataset.custom.classes", COLORS]
        if COLORS in taken:  # a colour's meaning has changed, and that of ignored pixels may be what it was or is
            one.append("dataset.custom.ignore_color")
        keys += one if described else ["dataset.type", "dataset.custom"]
    written = schema.annotate(parse_scalar_or_tree(dump(config), str(checkpoint)), str(checkpoint))
    tree = schema.merge(written, tree_of(identity, str(checkpoint), keys))
    made = from_tree(tree, ["net.encoder.pretrained=null"])  # the checkpoint holds the weights
    kept = {name: getattr(config, name) for name in ("origins", "notes", "stated")}
    made = made.model_copy(update=kept)
    validate(made)
    return made


def _refuse_another_order(config: Config, identity: Identity, checkpoint: Path) -> None:
    """Names in another order say that masks here have another meaning, which no name of the checkpoint's changes."""
    custom, trained = config.dataset.custom, identity.get("dataset.custom.classes") or ()
    if list(custom.classes) == list(trained) or sorted(custom.classes) != sorted(trained):
        return
    colors = identity.get(COLORS) or ()
    here, there = zip(custom.classes, custom.colors or (), strict=False), zip(trained, map(tuple, colors), strict=False)
    if custom.mask_kind != "color" or dict(here) != dict(there):
        raise ConfigError(
            f"dataset.custom.classes: masks here are described as {', '.join(custom.classes)}, and {checkpoint} has "
            f"these classes as {', '.join(trained)}; bring masks and classes into this order"
        )


class TrainData:
    """All training images of this device: the streams from ``start_step`` on, and the images by index.

    A context manager: leaving it stops the readers.
    """

    def __init__(self, plan: Plan, group: Group = ALONE):
        self._plan, self._config, self._group = plan, plan.config, group
        self._skip = plan.config.dataset.on_error == "skip"
        self._readers: list[TrainStream | ImageSource] = []
        self._datasets: dict[str, SegmentationDataset] = {}

    def batches(self, start_step: int) -> Iterator[tuple[Batch, Batch | None]]:
        """(labelled, unlabelled images) of each step from ``start_step`` on, endless; None for a method without."""
        labeled = self._stream("labeled", start_step)
        if not self._plan.method.uses_unlabeled:
            return ((batch, None) for batch in labeled)
        return zip(labeled, self._stream("unlabeled", start_step), strict=True)

    def labeled(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As ``TrainImages``; without images that are skipped."""
        on_error = (lambda _: None) if self._skip else None  # the streams have named it
        images = self._images("labeled")
        return ((image, mask) for _, image, mask in eval_samples(images, on_error=on_error))

    def source(
        self, kind: Literal["labeled", "unlabeled"], purpose: str, rand_resize: tuple[float, float] | None = None
    ) -> ImageSource:
        """As ``TrainImages``."""
        transform = train_transform(self._plan, self._views(kind))
        if rand_resize:
            transform = replace(transform, rand_resize=rand_resize)
        source = ImageSource(self._images(kind), transform, self._config.trainer.seed, purpose, self._skip)
        self._readers.append(source)
        return source

    def taken_skips(self) -> list[str]:
        """One message for each unreadable image that was replaced since the last call (dataset.on_error: skip)."""
        return [message for reader in self._readers for message in reader.taken_skips()]

    def __enter__(self) -> "TrainData":
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            if isinstance(reader, TrainStream):
                reader.close()

    def _images(self, kind: str) -> SegmentationDataset:
        if kind not in self._datasets:
            ids, with_mask = getattr(self._plan.split, kind), kind == "labeled"
            # The plan has looked at these files.
            self._datasets[kind] = open_part(self._config, self._plan.spec, ids, "train", with_mask)
        return self._datasets[kind]

    def _stream(self, kind: str, start_step: int) -> TrainStream:
        data, trainer = self._config.dataset, self._config.trainer
        stream = TrainStream(
            self._images(kind),
            train_transform(self._plan, self._views(kind)),
            data.batch_size,
            seed=trainer.seed,
            purpose=kind,
            shard=Shard(self._group.rank, self._group.world, trainer.accumulate),
            workers=data.workers,
            start_step=start_step,
            skip=self._skip,
            again=kind == "unlabeled" and takes_images_twice(self._config),
        )
        self._readers.append(stream)
        return stream

    def _views(self, kind: str) -> int:
        return self._plan.method.strong_views if kind == "unlabeled" else 0


def takes_images_twice(config: Config) -> bool:
    """Whether each unlabelled image is augmented twice, to be mixed with itself."""
    return config.method in WEAK_TO_STRONG and config.trainer.weak_to_strong.partner == "same_image"


def train_transform(plan: Plan, views: int = 0) -> TrainTransform:
    """The augmentation of a stream; with ``views`` strong views of each image, where these are configured."""
    data, train = plan.config.dataset, plan.config.dataset.train
    return TrainTransform(
        train.crop.size,
        train.rand_resize,
        train.flip,
        data.mean,
        data.std,
        data.ignore_label,
        train.pad_label,
        masks_padding(plan),
        train.scale_draw == "uniform",
        train.strong,
        views if train.strong else 0,
    )


def masks_padding(plan: Plan) -> bool:
    """Whether pixels outside an image are none: where they are no class, in both streams alike."""
    return plan.config.dataset.train.pad_label >= plan.spec.num_classes


def run_context(plan: Plan, images: TrainData, group: Group = ALONE) -> RunContext:
    """What the method may know."""
    config, data = plan.config, plan.config.dataset
    return RunContext(
        trainer=config.trainer,
        criterion=config.criterion,
        net=config.net,
        batch_size=data.batch_size,
        crop=data.train.crop.size,
        steps_per_epoch=plan.steps_per_epoch,
        mean=data.mean,
        std=data.std,
        mask_padding=masks_padding(plan),
        strong=data.train.strong is not None,
        new_network=lambda: fresh_network(config, config.trainer.seed, group.world),
        images=images,
        group=group,
    )


def optimizer(plan: Plan, method: Method) -> SGD:
    """SGD on all that the method optimizes, with the plan's learning rate."""
    trainer = plan.config.trainer
    kwargs = trainer.optimizer.kwargs.model_copy(update={"lr": trainer.optimizer.kwargs.lr * plan.lr_factor})
    scaled = trainer.optimizer.model_copy(update={"kwargs": kwargs})
    return SGD(method.optimized, trainer.model_copy(update={"optimizer": scaled}))


class EvalLoader:
    """(id, float32 3 x H x W normalised, uint8 H x W mask) of each image that is scored, at its own size.

    A group shares the images out: rank r takes every world-th from the r-th on. With ``skip`` images that cannot be
    read are left out; ``skipped`` tells which, of the last pass. ``images``: those of all devices; by default the
    validation images.
    """

    def __init__(
        self,
        config: Config,
        spec: DatasetSpec,
        group: Group = ALONE,
        skip: bool = False,
        images: SegmentationDataset | None = None,
    ):
        self.images = dataset(config, spec, read_val(config, spec), "val", skip=skip) if images is None else images
        self._mean, self._std, self._workers = config.dataset.mean, config.dataset.std, config.dataset.workers
        self._indices = range(group.rank, len(self.images), group.world)
        self._skip = skip
        self.num_classes, self.ignore_label = spec.num_classes, spec.ignore_label
        pad_label = config.dataset.train.pad_label  # U2PL's and AEL's code pads both alike
        self.center = Center(
            config.dataset.val.crop.size, pad_label if pad_label < spec.num_classes else spec.ignore_label
        )
        self.skipped: list[str] = []

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        self.skipped = []
        on_error = (lambda error: self.skipped.append(str(error))) if self._skip else None
        for name, image, mask in eval_samples(self.images, self._workers, self._indices, on_error):
            yield name, normalize(image, self._mean, self._std), mask


def evaluation_during_training(config: Config) -> EvaluationConfig:
    """``evaluation`` with the mode of ``trainer.eval_mode`` (sliding windows over a whole set take long)."""
    mode = config.trainer.eval_mode
    return config.evaluation if mode == "same" else config.evaluation.model_copy(update={"mode": mode})


def events(plan: Plan, start_step: int) -> Events | None:
    """TensorBoard events of the run folder, unless they are switched off.

    Raises:
        ConfigError: they cannot be written.
    """
    if not plan.config.monitor.tensorboard:
        return None
    try:
        return Events(plan.folder, start_step, plan.spec.classes)
    except OSError as error:
        raise ConfigError(
            f"{plan.folder}/events: cannot be written ({error.strerror}); free some space, or set "
            "monitor.tensorboard=false"
        ) from error


def tracker(plan: Plan, start_step: int, say: Callable[[str], None]) -> Tracker | None:
    """monitor.tracker, under way; ``say`` gets its lines.

    Raises:
        UserError: see ``run_id``.
    """
    config = plan.config
    if config.monitor.tracker == "none":
        return None
    name = f"{plan.spec.folder}/{split_name(config)}/{config.saver.name or config.method}"
    same = run_id(plan.folder, start_step)
    run = TrackedRun(plan.folder, name, same, config.model_dump(mode="json"), plan.spec.classes)
    return Tracker(config.monitor.tracker, run, say)


def monitor(plan: Plan, method: Method) -> Monitor:
    """What the loop asks at its log points and evaluations.

    Raises:
        ConfigError, DataError: monitor.pseudo_labels is set and masks of unlabelled images are not there.
    """
    config, spec, split = plan.config, plan.spec, plan.split
    shown = config.monitor.tensorboard or config.monitor.tracker != "none"
    drawn = config.monitor.panels if shown and config.trainer.eval_on else 0
    measured = config.monitor.pseudo_labels and method.uses_unlabeled
    truth = _truth(plan) if measured else None
    return Monitor(method, spec, _samples(config, spec, split, drawn), truth)


def _samples(config: Config, spec: DatasetSpec, split: Split, count: int) -> list[Sample]:
    """``count`` validation images, spread evenly over the list: the middle of each, as large as a training crop."""
    if count == 0:
        return []
    chosen = np.linspace(0, len(split.val) - 1, min(count, len(split.val))).astype(int)
    skip = config.dataset.on_error == "skip"
    images = dataset(config, spec, [split.val[index] for index in chosen], "val", skip=skip)
    samples = []
    for name, image, mask in eval_samples(images, workers=0, on_error=(lambda _: None) if skip else None):
        rows, cols = (
            _middle(side, crop) for side, crop in zip(mask.shape, config.dataset.train.crop.size, strict=True)
        )
        rgb = np.ascontiguousarray(image[rows, cols])
        samples.append(Sample(name, normalize(rgb, config.dataset.mean, config.dataset.std), rgb, mask[rows, cols]))
    return samples


def _middle(side: int, most: int) -> slice:
    start = max(0, (side - most) // 2)
    return slice(start, min(side, start + most))


def _truth(plan: Plan) -> TruthOfStep:
    """Batches of unlabelled images and their masks, augmented as in training, drawn apart from the training streams.

    Padding has no truth, whatever it is labelled in training.
    """
    config, data = plan.config, plan.config.dataset
    if data.train.unlabeled_dir:
        raise ConfigError(
            "monitor.pseudo_labels: the images of dataset.train.unlabeled_dir have no masks to compare with; set it to "
            "false"
        )
    skip = data.on_error == "skip"
    images = open_part(config, plan.spec, plan.split.unlabeled, "train")
    refuse_missing(images, images.presence(sampled(len(images))), skip)
    transform = replace(train_transform(plan), pad_label=data.ignore_label)
    options = {"seed": config.trainer.seed, "purpose": "monitor", "workers": 0, "skip": skip}
    return TrainStream(images, transform, data.batch_size, **options).batch
