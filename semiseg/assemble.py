"""From the whole Config to the things it describes: data set, lists, streams, network, run folder.

Used by the command lines alone; everything below takes its own part of the configuration. What needs no MindSpore is in
``assemble_data`` and has its names here too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import mindspore as ms
import numpy as np

from semiseg.assemble_data import (
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
from semiseg.config import Config
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.loaders import TrainStream, eval_samples
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

    def __enter__(self) -> "TrainData":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.labeled, self.unlabeled):
            if stream is not None:
                stream.close()


def train_data(config: Config, spec: DatasetSpec, split: Split, start_step: int, with_unlabeled: bool) -> TrainData:
    """The streams from ``start_step`` on. An epoch is one pass over the unlabelled list, for every method."""
    data = config.dataset
    transform = _transform(config, data.train.rand_resize)
    images = dataset(config, spec, split.labeled, "train")
    options = {"seed": config.trainer.seed, "workers": data.workers, "start_step": start_step}
    labeled = TrainStream(images, transform, data.batch_size, purpose="labeled", **options)
    unlabeled = None
    if with_unlabeled:
        others = dataset(config, spec, split.unlabeled, "train", with_mask=False)
        unlabeled = TrainStream(others, transform, data.batch_size, purpose="unlabeled", **options)
    return TrainData(labeled, unlabeled, images)


def _transform(config: Config, rand_resize: tuple[float, float] | None) -> TrainTransform:
    data, train = config.dataset, config.dataset.train
    return TrainTransform(
        train.crop.size, rand_resize, train.flip, data.mean, data.std, data.ignore_label, train.pad_label
    )


def image_sources(config: Config, spec: DatasetSpec, split: Split) -> tuple[ImageSource, ImageSource]:
    """(unlabelled images, labelled images to paste from) by index; see ``Method.attach``."""
    seed, resize, paste = config.trainer.seed, config.dataset.train.rand_resize, config.trainer.adaptive.copy_paste
    unlabeled = dataset(config, spec, split.unlabeled, "train", with_mask=False)
    labeled = dataset(config, spec, split.labeled, "train")
    pasted = _transform(config, paste.rand_resize if paste else resize)
    return (
        ImageSource(unlabeled, _transform(config, resize), seed, "adaptive image"),
        ImageSource(labeled, pasted, seed, "pasted image"),
    )


def steps_per_epoch(config: Config, split: Split) -> int:
    """ceil(unlabelled images / batch), so that methods are compared after the same number of steps."""
    return max(1, -(-len(split.unlabeled) // config.dataset.batch_size))


class EvalLoader:
    """(id, float32 3 x H x W normalised, uint8 H x W mask) of each image that is scored, at its own size."""

    def __init__(self, config: Config, spec: DatasetSpec):
        self._data = dataset(config, spec, read_val(config, spec), "val")
        self._mean, self._std, self._workers = config.dataset.mean, config.dataset.std, config.dataset.workers
        self.num_classes, self.ignore_label = spec.num_classes, spec.ignore_label
        self.center_size = config.dataset.val.crop.size

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for name, image, mask in eval_samples(self._data, self._workers):
            yield name, normalize(image, self._mean, self._std), mask


def fresh_network(config: Config, seed: int) -> SegmentationNetwork:
    """A network whose weights depend on the seed alone."""
    ms.set_seed(seed)
    return build_model(config.net)
