"""From the Config to what it says about data: description, lists, data sets, run folder. Without MindSpore, so that
the data tools start at once.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from semiseg.common.errors import ConfigError, DataError
from semiseg.config.keys import Config
from semiseg.data.dataset import SegmentationDataset, path_overlaps
from semiseg.data.discover import find_ids
from semiseg.data.specs import DatasetSpec, custom_spec, get_spec
from semiseg.data.splits import check_disjoint, draw_labeled, labeled_count, list_images, read_list, write_list

DATA_HELP = "docs/datasets.md tells how to get it; dataset.data_root says where it lies"
_MAKE = {
    "synthetic": "python tools/make_synthetic.py",
    "synthetic_longtail": "python tools/make_synthetic.py --long-tailed",
}
_MASK_TOOLS = {"pascal": "tools/prepare_voc.py", "cityscapes": "tools/prepare_cityscapes.py"}


@dataclass(frozen=True)
class Split:
    """Ids of one experiment. ``notes``: what was left out on the way, one sentence each, for the log."""

    labeled: list[str]
    unlabeled: list[str]
    val: list[str]
    notes: tuple[str, ...] = ()


def complete(config: Config) -> tuple[Config, DatasetSpec]:
    """The configuration with everything filled in that follows from the data set, and the data set's description.

    Raises:
        ConfigError: net.num_classes is written and is not the data set's, or dataset.custom does not describe one.
    """
    spec = data_spec(config)
    if config.net.num_classes not in (None, spec.num_classes):
        raise ConfigError(
            f"net.num_classes: {spec.name} has {spec.num_classes} classes, got {config.net.num_classes}; "
            "leave the key out"
        )
    net = dataclasses.replace(config.net, num_classes=spec.num_classes)
    return dataclasses.replace(config, net=net), spec


def data_spec(config: Config) -> DatasetSpec:
    """The built-in data set that ``dataset.type`` names, or the one that ``dataset.custom`` describes.

    Raises: ConfigError for an unknown type, or a description that is missing, unread or contradicts itself.
    """
    data, custom = config.dataset, config.dataset.custom
    if data.type != "custom":
        spec = get_spec(data.type)
        if custom is not None:
            raise ConfigError(
                f"{_origin(config, 'dataset.type')}: dataset.custom describes {custom.name!r}, but dataset.type is "
                f"{data.type}; write type: custom (or set dataset.custom to null)"
            )
        if data.ignore_label != spec.ignore_label:
            raise ConfigError(
                f"{_origin(config, 'dataset.ignore_label')}: dataset.ignore_label is {data.ignore_label}, but "
                f"{spec.name}'s is {spec.ignore_label}; leave the key out"
            )
        return spec
    if custom is None:
        raise ConfigError(
            f"{_origin(config, 'dataset.type')}: dataset.type is custom, so dataset.custom must describe the data "
            "(classes, image, mask); docs/datasets.md shows how"
        )
    labels = {"mask_kind": custom.mask_kind, "ignore_label": data.ignore_label, "ignore_color": custom.ignore_color}
    try:
        return custom_spec(custom.name, custom.classes, custom.image, custom.mask, custom.colors, **labels)
    except ConfigError as error:
        raise ConfigError(f"{_origin(config, 'dataset.custom')}: {error}") from None


def _origin(config: Config, dotted: str) -> str:
    """Who wrote a key, or the first of the keys below it."""
    below = (origin for key, origin in config.origins.items() if key == dotted or key.startswith(f"{dotted}."))
    return next(below, "default")


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
        ConfigError: n_sup or data_list differs from the split's list, or neither split nor lists are given.
    """
    data, notes = config.dataset, ()
    val = read_val(config, spec)
    if data.labeled_ratio is not None:
        pool = read_pool(config, spec, val)
        labeled, unlabeled = pool.draw(labeled_count(len(pool.ids), data.labeled_ratio), data.split_seed)
    else:
        labeled = _read_labeled(config, spec)
        if data.train.unlabeled_dir:
            unlabeled, notes = _read_folder(config, spec, labeled, val)
        else:
            path = list_path(config, data.train.unlabeled_list, "unlabeled.txt")
            unlabeled = read_list(path, spec.sample_id, may_be_empty=True)
    if data.n_sup is not None and data.n_sup != len(labeled):
        raise ConfigError(
            f"{_origin(config, 'dataset.n_sup')}: dataset.n_sup is {data.n_sup}, but the labelled list has "
            f"{len(labeled)} ids; to change the label ratio change dataset.split (or dataset.labeled_ratio) and leave "
            "n_sup out"
        )
    if data.train.unlabeled_dir:  # its ids are paths in that folder; overlap was left out by path
        check_disjoint(labeled=labeled, val=val)
    else:
        check_disjoint(labeled=labeled, unlabeled=unlabeled, val=val)
    return Split(labeled, unlabeled, val, notes)


def read_val(config: Config, spec: DatasetSpec) -> list[str]:
    """The ids that are scored."""
    return read_list(list_path(config, config.dataset.val.data_list, "val.txt"), spec.sample_id)


def _read_labeled(config: Config, spec: DatasetSpec) -> list[str]:
    """The labelled ids. A written list beside a split that exists must be the split's."""
    data = config.dataset
    written = data.train.data_list
    labeled = read_list(list_path(config, written, "labeled.txt"), spec.sample_id)
    of_split = data.splits / data.split / "labeled.txt" if data.splits and data.split else None
    if written and of_split and of_split.is_file():
        others = read_list(of_split, spec.sample_id)
        if set(others) != set(labeled):
            raise ConfigError(
                f"{_origin(config, 'dataset.train.data_list')}: dataset.train.data_list {written} has {len(labeled)} "
                f"ids, but split {data.split} has {len(others)} ({len(set(labeled) & set(others))} in both); leave one "
                "of the two keys out"
            )
    return labeled


def _read_folder(
    config: Config, spec: DatasetSpec, labeled: list[str], val: list[str]
) -> tuple[list[str], tuple[str, ...]]:
    """The images of ``unlabeled_dir`` without labelled and validation images and masks; what was left out."""
    folder = config.dataset.train.unlabeled_dir
    known = set()
    for part, ids in (("train", labeled), ("val", val)):
        root = data_root(config, spec, part).resolve()
        known.update(root / path for sample in ids for path in (spec.image_path(sample), spec.mask_path(sample)))
    before, after = re.split(r"\{\w+\}", spec.mask)
    masks = str(data_root(config, spec, "train").resolve() / before) + "/" if before.endswith("/") else None
    names, real = list_images(folder), folder.resolve()
    free = [
        name
        for name in names
        if real / name not in known and not (masks and f"{real}/{name}".startswith(masks) and name.endswith(after))
    ]
    if not free:
        raise DataError(
            f"{folder}: all {len(names)} images here are labelled images, validation images or masks; nothing is left "
            "to learn from without labels"
        )
    left = len(names) - len(free)
    note = f"{left} of {len(names)} images in {folder} are labelled images, validation images or masks and are left out"
    return free, (note,) if left else ()


def list_path(config: Config, written: Path | None, name: str) -> Path:
    """Where a list lies: as written, else in the split's folder (val.txt: beside it).

    Raises: ConfigError if no key says where, DataError if there is no such list.
    """
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
    if dataset in _MAKE:
        return f"{_MAKE[dataset]} makes data and lists"
    if dataset == "custom":
        return "python tools/make_splits.py makes lists for your own data"
    return "python tools/fetch_splits.py fetches the published lists"


@dataclass(frozen=True)
class Pool:
    """``ids`` that a labelled part is drawn from, and ``extra`` images that can only be unlabelled (own data)."""

    ids: list[str]
    extra: list[str]

    def draw(self, count: int, seed: int, classes_of: Mapping[str, list[int]] | None = None) -> tuple[list, list]:
        """(labelled, unlabelled), see ``draw_labeled``; the extra images come last."""
        labeled, unlabeled = draw_labeled(self.ids, count, seed, classes_of)
        return labeled, unlabeled + self.extra


def read_pool(config: Config, spec: DatasetSpec, val: Collection[str]) -> Pool:
    """All training images: the written ``data_list``, else ``train.txt`` beside val.txt, else labelled + unlabelled of
    the first split there is. Of own data without the first two: every image that is not in ``val``, those without a
    mask as extra.

    Raises: DataError if there is none of these.
    """
    data = config.dataset
    if data.train.data_list:
        return Pool(read_list(data.train.data_list, spec.sample_id), [])
    if data.splits and (data.splits / "train.txt").is_file():
        return Pool(read_list(data.splits / "train.txt", spec.sample_id), [])
    if data.type == "custom":
        return _found_pool(spec, data_root(config, spec, "train"), val)
    folders = sorted(path.parent for path in data.splits.glob("*/labeled.txt")) if data.splits else []
    if not folders:
        raise DataError(f"{data.splits}: no split to take the pool of images from; {_how_to_get_lists(data.type)}")
    files = [folders[0] / name for name in ("labeled.txt", "unlabeled.txt")]
    parts = [read_list(path, spec.sample_id, may_be_empty=True) for path in files]
    return Pool(sorted({*parts[0], *parts[1]}), [])


def _found_pool(spec: DatasetSpec, root: Path, val: Collection[str]) -> Pool:
    known = set(val)
    with_mask = find_ids(spec, root)
    extra = sorted(set(find_ids(spec, root, with_mask=False)) - set(with_mask) - known)
    ids = [sample for sample in with_mask if sample not in known]
    if not ids:
        raise DataError(f"{root}: all {len(with_mask)} images with a mask are in the validation list")
    return Pool(ids, extra)


def data_root(config: Config, spec: DatasetSpec, part: str) -> Path:
    """The folder that image and mask paths of ``part`` (train or val) start from.

    Raises: ConfigError if none is configured, DataError if it is not there.
    """
    root = getattr(config.dataset, part).data_root or config.dataset.data_root
    if not root:
        raise ConfigError(f"dataset.data_root: expected the folder of {spec.name}, got nothing; {DATA_HELP}")
    if not root.is_dir():
        make = f"{_MAKE[spec.name]} makes it" if spec.name in _MAKE else DATA_HELP
        raise DataError(f"{root}: no such folder for the images of {spec.name}; {make}")
    return root


def open_part(
    config: Config, spec: DatasetSpec, ids: list[str], part: str, with_mask: bool = True
) -> SegmentationDataset:
    """The images of ``ids``, unseen; ``part`` is train or val. Training images without masks are the unlabelled ones,
    which may lie in a folder of their own.
    """
    folder = config.dataset.train.unlabeled_dir
    if folder and part == "train" and not with_mask:
        return SegmentationDataset(dataclasses.replace(spec, image="{id}"), folder, ids, with_mask=False)
    return SegmentationDataset(spec, data_root(config, spec, part), ids, with_mask)


def dataset(
    config: Config, spec: DatasetSpec, ids: list[str], part: str, with_mask: bool = True, skip: bool = False
) -> SegmentationDataset:
    """``open_part``; missing files are refused here, all at once. With ``skip`` only if nothing is left.

    Raises:
        ConfigError: no data root is configured. DataError: the root or files are not there.
    """
    found = open_part(config, spec, ids, part, with_mask)
    _refuse_missing(found, skip)
    return found


def _refuse_missing(part: SegmentationDataset, skip: bool = False) -> list[str]:
    """A note on missing files if they are to be skipped and others are left."""
    missing = part.missing_files()
    if not missing:
        return []
    what = f"{missing[0]}: not there, though a list names it ({len(missing)} files are missing in {part.root})"
    if skip and len(missing) < len(part):
        return [f"{what}; skipped (dataset.on_error)"]
    raise DataError(what + how_to_get(part.spec, missing[0]))


def how_to_get(spec: DatasetSpec, path: Path) -> str:
    """``; python tools/... makes it`` if ``path`` is a mask that a tool of ours makes, else nothing."""
    tool = _MASK_TOOLS.get(spec.name)
    return f"; python {tool} makes the masks" if tool and path.name.endswith(spec.mask.split("}")[1]) else ""


def parts_of(
    config: Config, spec: DatasetSpec, split: Split, with_unlabeled: bool = True, with_val: bool = True
) -> dict[str, SegmentationDataset]:
    """The data sets of a split by the names labeled, unlabeled and val, files unseen."""
    parts = {"labeled": open_part(config, spec, split.labeled, "train")}
    if with_unlabeled:
        parts["unlabeled"] = open_part(config, spec, split.unlabeled, "train", with_mask=False)
    if with_val:
        parts["val"] = open_part(config, spec, split.val, "val")
    return parts


def quick_check(config: Config, spec: DatasetSpec, split: Split, with_unlabeled: bool = True) -> list[str]:
    """What can be refused about data before the first step without opening an image: roots, files, overlap.

    Returns notes on what will be skipped.

    Raises: ConfigError or DataError, see ``dataset``; DataError if one file is in two parts, or there is no unlabelled
        image for a method that learns from them.
    """
    if with_unlabeled and not split.unlabeled:
        raise DataError(
            f"method {config.method} learns from unlabelled images, and there is none: all {len(split.labeled)} are "
            "labelled; method=suponly trains on these alone, another dataset.split or dataset.train.unlabeled_list "
            "brings unlabelled ones"
        )
    parts = parts_of(config, spec, split, with_unlabeled, config.trainer.eval_on)
    notes = [note for part in parts.values() for note in _refuse_missing(part, config.dataset.on_error == "skip")]
    for problem in path_overlaps(parts):
        raise DataError(problem)
    return notes


def save_lists(folder: Path, split: Split) -> None:
    """The ids of this run as <folder>/lists/{labeled,unlabeled,val}.txt. A continued run must have the same ones.

    Raises: DataError if lists are there already and differ; ConfigError if they cannot be written.
    """
    lists: Mapping[str, list[str]] = {"labeled": split.labeled, "unlabeled": split.unlabeled, "val": split.val}
    for name, ids in lists.items():
        path = folder / "lists" / f"{name}.txt"
        if path.is_file() and (before := read_list(path, may_be_empty=True)) != ids:
            raise DataError(
                f"{path}: this run began with {len(before)} ids, now the configuration gives {len(ids)} "
                f"({len(set(before) & set(ids))} in both): the lists or images changed since; put them back, or choose "
                "another folder, e.g. saver.name=mine"
            )
    for name, ids in lists.items():
        path = folder / "lists" / f"{name}.txt"
        if not path.is_file():
            try:
                write_list(path, ids)
            except OSError as error:
                raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
