"""From the Config to the ids of an experiment: labelled, unlabelled and validation lists, read, drawn or discovered."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from semiseg.common.errors import ConfigError, DataError
from semiseg.config.keys import Config
from semiseg.config.retired import check_stated
from semiseg.data.discover import find_ids, list_images
from semiseg.data.paths import data_root, how_to_get_lists, list_path, origin_of, split_folders
from semiseg.data.specs import DatasetSpec
from semiseg.data.splits import check_disjoint, draw_labeled, labeled_count, read_list, write_list


@dataclass(frozen=True)
class Split:
    """Ids of one experiment. ``notes``: what was left out on the way, one sentence each, for the log."""

    labeled: list[str]
    unlabeled: list[str]
    val: list[str]
    notes: tuple[str, ...] = ()

    def lists(self) -> dict[str, list[str]]:
        """The three lists by name."""
        return {"labeled": self.labeled, "unlabeled": self.unlabeled, "val": self.val}


def read_split(config: Config, spec: DatasetSpec) -> Split:
    """The three lists; overlap is refused, ``n_sup`` is checked.

    Raises:
        DataError: a list is missing, empty or overlaps another.
        ConfigError: n_sup or data_list differs from the split's list, or neither split nor lists are given.
    """
    data = config.dataset
    val = read_val(config, spec)
    if data.labeled_ratio is not None:
        pool = read_pool(config, spec, val)
        labeled, unlabeled = pool.draw(labeled_count(len(pool.ids), data.labeled_ratio), data.split_seed)
        split = Split(labeled, unlabeled, val)
    elif data.train.unlabeled_dir:
        labeled = _read_labeled(config, spec)
        unlabeled, notes = _images_of_folder(config, spec, labeled, val)
        split = Split(labeled, unlabeled, val, notes)
    else:
        labeled = _read_labeled(config, spec)
        path = list_path(config, data.train.unlabeled_list, "unlabeled.txt")
        split = Split(labeled, read_list(path, spec.sample_id, may_be_empty=True), val)
    check_stated(config, "dataset.n_sup", len(split.labeled))
    lists = split.lists()
    if data.train.unlabeled_dir:  # its ids are paths in that folder; overlap was left out by path
        del lists["unlabeled"]
    check_disjoint(**lists)
    return split


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
                f"{origin_of(config, 'dataset.train.data_list')}: dataset.train.data_list {written} has {len(labeled)} "
                f"ids, but split {data.split} has {len(others)} ({len(set(labeled) & set(others))} in both); leave one "
                "of the two keys out"
            )
    return labeled


def _images_of_folder(
    config: Config, spec: DatasetSpec, labeled: list[str], val: list[str]
) -> tuple[list[str], tuple[str, ...]]:
    """The images of ``unlabeled_dir`` without labelled and validation images and masks; what was left out."""
    folder = config.dataset.train.unlabeled_dir
    known = {*_files_of(config, spec, labeled, "train"), *_files_of(config, spec, val, "val")}
    # Masks of other images: in a folder of their own, below which nothing is an image to learn from.
    before, after = re.split(r"\{\w+\}", spec.mask)
    masks = str(data_root(config, spec, "train").resolve() / before) + "/" if before.endswith("/") else None
    names, resolved = list_images(folder), folder.resolve()
    free = [
        name
        for name in names
        if resolved / name not in known
        and not (masks and f"{resolved}/{name}".startswith(masks) and name.endswith(after))
    ]
    if not free:
        raise DataError(
            f"{folder}: all {len(names)} images here are labelled images, validation images or masks; nothing is left "
            "to learn from without labels"
        )
    left = len(names) - len(free)
    note = f"{left} of {len(names)} images in {folder} are labelled images, validation images or masks and are left out"
    return free, (note,) if left else ()


def _files_of(config: Config, spec: DatasetSpec, ids: list[str], part: str) -> Iterator[Path]:
    """Image and mask of each id."""
    root = data_root(config, spec, part).resolve()
    for sample in ids:
        yield root / spec.image_path(sample)
        yield root / spec.mask_path(sample)


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
        return _discovered_pool(spec, data_root(config, spec, "train"), val)
    folders = split_folders(data.splits)
    if not folders:
        raise DataError(f"{data.splits}: no split to take the pool of images from; {how_to_get_lists(data.type)}")
    files = [folders[0] / name for name in ("labeled.txt", "unlabeled.txt")]
    parts = [read_list(path, spec.sample_id, may_be_empty=True) for path in files]
    return Pool(sorted({*parts[0], *parts[1]}), [])


def _discovered_pool(spec: DatasetSpec, root: Path, val: Collection[str]) -> Pool:
    known = set(val)
    with_mask = find_ids(spec, root)
    extra = sorted(set(find_ids(spec, root, with_mask=False)) - set(with_mask) - known)
    ids = [sample for sample in with_mask if sample not in known]
    if not ids:
        raise DataError(f"{root}: all {len(with_mask)} images with a mask are in the validation list")
    return Pool(ids, extra)


def save_lists(folder: Path, split: Split) -> None:
    """The ids of this run as <folder>/lists/{labeled,unlabeled,val}.txt. A continued run must have the same ones.

    Raises: DataError if lists are there already and differ; UserError if they cannot be written.
    """
    lists = {folder / "lists" / f"{name}.txt": ids for name, ids in split.lists().items()}
    there = {path: read_list(path, may_be_empty=True) for path in lists if path.is_file()}
    for path, before in there.items():
        if before != lists[path]:
            raise DataError(
                f"{path}: this run began with {len(before)} ids, now the configuration gives {len(lists[path])} "
                f"({len(set(before) & set(lists[path]))} in both): the lists or images changed since; put them back, "
                "or choose another folder, e.g. saver.name=mine"
            )
    for path, ids in lists.items():
        if path not in there:
            write_list(path, ids)
