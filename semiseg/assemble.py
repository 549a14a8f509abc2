"""From the whole Config to the things it describes: data set, lists, streams, network, run folder.

Used by the command lines alone; everything below takes its own part of the configuration.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np

from semiseg.config import Config
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.loaders import TrainStream, eval_samples
from semiseg.data.specs import DatasetSpec, get_spec
from semiseg.data.splits import check_disjoint, draw_labeled, labeled_count, read_list
from semiseg.data.transforms import TrainTransform, normalize
from semiseg.errors import ConfigError, DataError
from semiseg.models import SegmentationNetwork, build_model

DATA_HELP = "docs/datasets.md tells how to get it; dataset.data_root says where it lies"


@dataclass(frozen=True)
class Split:
    """Ids of one experiment."""

    labeled: list[str]
    unlabeled: list[str]
    val: list[str]


def complete(config: Config) -> tuple[Config, DatasetSpec]:
    """The configuration with everything filled in that follows from the data set, and the data set's description.

    Raises:
        ConfigError: net.num_classes is written and is not the data set's.
    """
    spec = get_spec(config.dataset.type)
    if config.net.num_classes not in (None, spec.num_classes):
        raise ConfigError(
            f"net.num_classes: {spec.name} has {spec.num_classes} classes, got {config.net.num_classes}; "
            "leave the key out"
        )
    net = dataclasses.replace(config.net, num_classes=spec.num_classes)
    return dataclasses.replace(config, net=net), spec


def run_folder(config: Config, spec: DatasetSpec) -> Path:
    """``saver.main_dir``, else <saver.root>/<data set>/<split>/<name>."""
    if config.saver.main_dir:
        return config.saver.main_dir
    if not config.saver.root:
        raise ConfigError("saver.root: expected the folder for all runs (or saver.main_dir for this one), got nothing")
    return config.saver.root / spec.folder / split_name(config) / (config.saver.name or config.method)


def split_name(config: Config) -> str:
    """The split's folder name, or what stands for it where it is drawn or given by lists."""
    data = config.dataset
    if data.labeled_ratio is not None:
        return f"ratio_{data.labeled_ratio:g}_seed_{data.split_seed}"
    return data.split or "lists"


def read_split(config: Config, spec: DatasetSpec) -> Split:
    """The three lists; overlap is refused, ``n_sup`` is checked.

    Raises:
        DataError: a list is missing, empty or overlaps another.
        ConfigError: n_sup differs from the labelled list, or neither split nor lists are given.
    """
    data = config.dataset
    if data.labeled_ratio is not None:
        pool = _pool(config, spec)
        labeled, unlabeled = draw_labeled(pool, labeled_count(len(pool), data.labeled_ratio), data.split_seed)
    else:
        labeled = read_list(_list_path(config, data.train.data_list, "labeled.txt"), spec.sample_id)
        unlabeled = read_list(_list_path(config, data.train.unlabeled_list, "unlabeled.txt"), spec.sample_id)
    if data.n_sup is not None and data.n_sup != len(labeled):
        origin = config.origins.get("dataset.n_sup", "default")
        raise ConfigError(
            f"{origin}: dataset.n_sup is {data.n_sup}, but the labelled list has {len(labeled)} ids; to change the "
            "label ratio change dataset.split (or dataset.labeled_ratio) and leave n_sup out"
        )
    val = read_val(config, spec)
    check_disjoint(labeled=labeled, unlabeled=unlabeled, val=val)
    return Split(labeled, unlabeled, val)


def read_val(config: Config, spec: DatasetSpec) -> list[str]:
    """The ids that are scored."""
    return read_list(_list_path(config, config.dataset.val.data_list, "val.txt"), spec.sample_id)


def _list_path(config: Config, written: Path | None, name: str) -> Path:
    data = config.dataset
    if written:
        return written
    if not data.splits:
        raise ConfigError(f"dataset.splits: expected the folder of the lists (for {name}), got nothing")
    if name == "val.txt":
        path = data.splits / name
    elif data.split:
        path = data.splits / data.split / name
    else:
        raise ConfigError("dataset.split: expected the name of a split, e.g. 183 (or dataset.labeled_ratio)")
    if not path.is_file():
        there = sorted(p.parent.name for p in data.splits.glob("*/labeled.txt"))
        known = f"splits there: {', '.join(there)}" if there else f"{data.splits} holds no split yet"
        raise DataError(f"{path}: no such list ({known}); {_how_to_get_lists(data.type)}")
    return path


def _how_to_get_lists(dataset: str) -> str:
    if dataset == "synthetic":
        return "python tools/make_synthetic.py makes data and lists"
    return "python tools/fetch_splits.py fetches the published lists"


def _pool(config: Config, spec: DatasetSpec) -> list[str]:
    """All ids that a ratio is drawn from: the written list, else labelled + unlabelled of the first split there is."""
    data = config.dataset
    if data.train.data_list:
        return read_list(data.train.data_list, spec.sample_id)
    folders = sorted(path.parent for path in data.splits.glob("*/labeled.txt")) if data.splits else []
    if not folders:
        raise DataError(f"{data.splits}: no split to take the pool of images from; {_how_to_get_lists(data.type)}")
    parts = [read_list(folders[0] / name, spec.sample_id) for name in ("labeled.txt", "unlabeled.txt")]
    return sorted({*parts[0], *parts[1]})


def dataset(
    config: Config, spec: DatasetSpec, ids: list[str], part: str, with_mask: bool = True
) -> SegmentationDataset:
    """The images of ``ids``; ``part`` is train or val. Missing files are refused here, all at once.

    Raises:
        ConfigError: no data root is configured. DataError: the root or files are not there.
    """
    root = getattr(config.dataset, part).data_root or config.dataset.data_root
    if not root:
        raise ConfigError(f"dataset.data_root: expected the folder of {spec.name}, got nothing; {DATA_HELP}")
    if not root.is_dir():
        make = "python tools/make_synthetic.py makes it" if spec.name == "synthetic" else DATA_HELP
        raise DataError(f"{root}: no such folder for the images of {spec.name}; {make}")
    found = SegmentationDataset(spec, root, ids, with_mask)
    missing = found.missing_files()
    if missing:
        raise DataError(f"{missing[0]}: not there, though a list names it ({len(missing)} files are missing in {root})")
    return found


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
    train = data.train
    transform = TrainTransform(
        train.crop.size, train.rand_resize, train.flip, data.mean, data.std, data.ignore_label, train.pad_label
    )
    images = dataset(config, spec, split.labeled, "train")
    options = {"seed": config.trainer.seed, "workers": data.workers, "start_step": start_step}
    labeled = TrainStream(images, transform, data.batch_size, purpose="labeled", **options)
    unlabeled = None
    if with_unlabeled:
        others = dataset(config, spec, split.unlabeled, "train", with_mask=False)
        unlabeled = TrainStream(others, transform, data.batch_size, purpose="unlabeled", **options)
    return TrainData(labeled, unlabeled, images)


def steps_per_epoch(config: Config, split: Split) -> int:
    """ceil(unlabelled images / batch), so that methods are compared after the same number of steps."""
    return max(1, -(-len(split.unlabeled) // config.dataset.batch_size))


class EvalLoader:
    """(id, float32 3 x H x W normalised, uint8 H x W mask) of each image that is scored, at its own size."""

    def __init__(self, config: Config, spec: DatasetSpec):
        self._data = dataset(config, spec, read_val(config, spec), "val")
        self._mean, self._std, self._workers = config.dataset.mean, config.dataset.std, config.dataset.workers
        self.num_classes, self.ignore_label = spec.num_classes, config.dataset.ignore_label
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
