"""From the whole Config to the things it describes: data set, lists, streams, network, run folder.

Used by the command lines alone; everything below takes its own part of the configuration. What needs no MindSpore is in
``assemble_data`` and has its names here too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import mindspore as ms
import numpy as np

from semiseg.common.distributed import ALONE, Group
from semiseg.config.keys import Config
from semiseg.data.build import (
    Split,
    complete,
    dataset,
    quick_check,
    read_split,
    read_val,
    run_folder,
    save_lists,
    split_name,
)
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.loaders import Sharing, TrainStream, eval_samples
from semiseg.data.sources import ImageSource
from semiseg.data.specs import DatasetSpec
from semiseg.data.transforms import TrainTransform, normalize
from semiseg.models import SegmentationNetwork, build_model

__all__ = [
    "EvalLoader",
    "Split",
    "TrainData",
    "complete",
    "dataset",
    "fresh_network",
    "image_sources",
    "images_a_step",
    "quick_check",
    "read_split",
    "read_val",
    "run_folder",
    "save_lists",
    "split_name",
    "steps_per_epoch",
    "train_data",
]


@dataclass(frozen=True)
class TrainData:
    """Both training streams and the labelled images themselves. A context manager: leaving it stops the readers."""

    labeled: TrainStream
    unlabeled: TrainStream | None
    images: SegmentationDataset
    skip: bool = False
    others: list[ImageSource] = field(default_factory=list)  # what a method reads beside the streams

    def __enter__(self) -> "TrainData":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.labeled, self.unlabeled):
            if stream is not None:
                stream.close()

    def taken_skips(self) -> list[str]:
        """One message for each unreadable image that was replaced since the last call (dataset.on_error: skip)."""
        sources = (self.labeled, self.unlabeled, *self.others)
        return [message for source in sources if source is not None for message in source.taken_skips()]

    def labeled_images(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Image and mask, both uint8, of every labelled image, once, in order; without those that are skipped."""
        on_error = (lambda _: None) if self.skip else None  # the streams have named it
        return ((image, mask) for _, image, mask in eval_samples(self.images, on_error=on_error))


def train_data(
    config: Config, spec: DatasetSpec, split: Split, start_step: int, with_unlabeled: bool, group: Group = ALONE
) -> TrainData:
    """The streams of this device from ``start_step`` on.

    An epoch is one pass over the unlabelled list, for every method.
    """
    data, skip = config.dataset, config.dataset.on_error == "skip"
    transform = _transform(config, data.train.rand_resize)
    images = dataset(config, spec, split.labeled, "train", skip=skip)
    options = {
        "seed": config.trainer.seed,
        "sharing": Sharing(group.rank, group.world, config.trainer.accumulate),
        "workers": data.workers,
        "start_step": start_step,
        "skip": skip,
    }
    labeled = TrainStream(images, transform, data.batch_size, purpose="labeled", **options)
    unlabeled = None
    if with_unlabeled:
        others = dataset(config, spec, split.unlabeled, "train", with_mask=False, skip=skip)
        unlabeled = TrainStream(others, transform, data.batch_size, purpose="unlabeled", **options)
    return TrainData(labeled, unlabeled, images, skip)


def _transform(config: Config, rand_resize: tuple[float, float] | None) -> TrainTransform:
    data, train = config.dataset, config.dataset.train
    return TrainTransform(
        train.crop.size, rand_resize, train.flip, data.mean, data.std, data.ignore_label, train.pad_label
    )


def image_sources(config: Config, spec: DatasetSpec, split: Split) -> tuple[ImageSource, ImageSource]:
    """(unlabelled images, labelled images to paste from) by index; see ``Method.attach``."""
    seed, resize, paste = config.trainer.seed, config.dataset.train.rand_resize, config.trainer.adaptive.copy_paste
    skip = config.dataset.on_error == "skip"
    unlabeled = dataset(config, spec, split.unlabeled, "train", with_mask=False, skip=skip)
    labeled = dataset(config, spec, split.labeled, "train", skip=skip)
    pasted = _transform(config, paste.rand_resize if paste else resize)
    return (
        ImageSource(unlabeled, _transform(config, resize), seed, "adaptive image", skip),
        ImageSource(labeled, pasted, seed, "pasted image", skip),
    )


def images_a_step(config: Config, world: int = 1) -> int:
    """Labelled images of a step over all devices and micro-batches."""
    return config.dataset.batch_size * config.trainer.accumulate * world


def steps_per_epoch(config: Config, split: Split, world: int = 1) -> int:
    """ceil(unlabelled images / images a step), so that methods are compared after the same number of steps.

    Without any unlabelled image an epoch is one pass over the labelled ones.
    """
    return max(1, -(-len(split.unlabeled or split.labeled) // images_a_step(config, world)))


class EvalLoader:
    """(id, float32 3 x H x W normalised, uint8 H x W mask) of each image that is scored, at its own size.

    A group shares the images out: rank r takes every world-th from the r-th on. With ``skip`` images that cannot be
    read are left out; ``skipped`` tells which, of the last pass.
    """

    def __init__(self, config: Config, spec: DatasetSpec, group: Group = ALONE, skip: bool = False):
        self._data = dataset(config, spec, read_val(config, spec), "val", skip=skip)
        self._mean, self._std, self._workers = config.dataset.mean, config.dataset.std, config.dataset.workers
        self._indices = range(group.rank, len(self._data), group.world)
        self._skip = skip
        self.num_classes, self.ignore_label = spec.num_classes, spec.ignore_label
        self.center_size = config.dataset.val.crop.size
        self.skipped: list[str] = []

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        self.skipped = []
        on_error = (lambda error: self.skipped.append(str(error))) if self._skip else None
        for name, image, mask in eval_samples(self._data, self._workers, self._indices, on_error):
            yield name, normalize(image, self._mean, self._std), mask


def fresh_network(config: Config, seed: int, world: int = 1) -> SegmentationNetwork:
    """A network whose weights depend on the seed alone; to be trained on ``world`` devices together."""
    ms.set_seed(seed)
    return build_model(config.net, world)
