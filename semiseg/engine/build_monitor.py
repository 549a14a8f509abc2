"""From the Config to what a run shows of itself: events, the images that are drawn, masks to measure by."""

from pathlib import Path

import numpy as np

from semiseg.common.errors import ConfigError
from semiseg.config.keys import Config
from semiseg.data.loaders import TrainStream, eval_samples
from semiseg.data.specs import DatasetSpec
from semiseg.data.transforms import TrainTransform, normalize
from semiseg.engine import build
from semiseg.engine.events import Events
from semiseg.engine.monitor import Monitor, Sample, TruthOfStep
from semiseg.methods import Method


def events(config: Config, spec: DatasetSpec, folder: Path, start_step: int) -> Events | None:
    """TensorBoard events of the run folder, unless they are switched off.

    Raises:
        ConfigError: they cannot be written.
    """
    if not config.monitor.tensorboard:
        return None
    try:
        return Events(folder, start_step, spec.classes)
    except OSError as error:
        raise ConfigError(
            f"{folder}/events: cannot be written ({error.strerror}); free some space, or set monitor.tensorboard=false"
        ) from error


def monitor(config: Config, spec: DatasetSpec, split: build.Split, method: Method) -> Monitor:
    """What the loop asks at its log points and evaluations.

    Raises:
        ConfigError, DataError: monitor.pseudo_labels is set and masks of unlabelled images are not there.
    """
    drawn = config.monitor.panels if config.monitor.tensorboard and config.trainer.eval_on else 0
    measured = config.monitor.pseudo_labels and method.uses_unlabeled
    return Monitor(
        method, spec, _samples(config, spec, split, drawn), _truth(config, spec, split) if measured else None
    )


def _samples(config: Config, spec: DatasetSpec, split: build.Split, count: int) -> list[Sample]:
    """``count`` validation images, spread evenly over the list: the middle of each, as large as a training crop."""
    if count == 0:
        return []
    places = np.linspace(0, len(split.val) - 1, min(count, len(split.val))).astype(int)
    skip = config.dataset.on_error == "skip"
    data = build.dataset(config, spec, [split.val[place] for place in places], "val", skip=skip)
    samples = []
    for name, image, mask in eval_samples(data, workers=0, on_error=(lambda _: None) if skip else None):
        rows, cols = (
            _middle(side, crop) for side, crop in zip(mask.shape, config.dataset.train.crop.size, strict=True)
        )
        rgb = np.ascontiguousarray(image[rows, cols])
        samples.append(Sample(name, normalize(rgb, config.dataset.mean, config.dataset.std), rgb, mask[rows, cols]))
    return samples


def _middle(side: int, most: int) -> slice:
    start = max(0, (side - most) // 2)
    return slice(start, min(side, start + most))


def _truth(config: Config, spec: DatasetSpec, split: build.Split) -> TruthOfStep:
    """Batches of unlabelled images and their masks, augmented as in training, drawn apart from the training streams."""
    data = config.dataset
    if data.train.unlabeled_dir:
        raise ConfigError(
            "monitor.pseudo_labels: the images of dataset.train.unlabeled_dir have no masks to compare with; set it to "
            "false"
        )
    skip = config.dataset.on_error == "skip"
    images = build.dataset(config, spec, split.unlabeled, "train", skip=skip)
    crop, resized = data.train.crop.size, data.train.rand_resize
    transform = TrainTransform(crop, resized, data.train.flip, data.mean, data.std, data.ignore_label)
    options = {"seed": config.trainer.seed, "purpose": "monitor", "workers": 0, "skip": skip}
    return TrainStream(images, transform, data.batch_size, **options).batch
