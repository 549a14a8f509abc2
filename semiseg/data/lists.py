"""From the Config to the ids of an experiment: labelled, unlabelled and validation lists, read, drawn or discovered."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semiseg.common.errors import ConfigError, DataError
from semiseg.common.files import remove_leftovers
from semiseg.common.run_files import RunFiles
from semiseg.config.keys import Config
from semiseg.config.retired import check_stated
from semiseg.data.discover import MaskFiles, find_images, find_samples, with_masks
from semiseg.data.ids import Ids, compact, shared
from semiseg.data.paths import data_root, how_to_get_lists, list_path, origin_of, roots_of, split_folders
from semiseg.data.scored import alike_notes, real_paths, scored
from semiseg.data.specs import DatasetSpec
from semiseg.data.splits import check_disjoint, draw_labeled, labeled_count, read_list, write_list


@dataclass(frozen=True)
class Split:
    """Ids of one experiment. ``notes``: what was left out on the way, one sentence each, for the log."""

    labeled: Sequence[str]
    unlabeled: Sequence[str]
    val: Sequence[str]
    notes: tuple[str, ...] = ()

    def lists(self) -> dict[str, Sequence[str]]:
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
        split = Split(labeled, unlabeled, val, pool.notes)
    elif data.train.unlabeled_dir:
        labeled = _read_labeled(config, spec)
        unlabeled, notes = _images_of_folder(config, spec, labeled, val)
        split = Split(labeled, unlabeled, val, notes)
    else:
        split = Split(_read_labeled(config, spec), _read_unlabeled(config, spec), val)
    check_stated(config, "dataset.n_sup", len(split.labeled))
    lists = split.lists()
    if data.train.unlabeled_dir:  # its ids are paths in that folder; overlap was left out by path
        del lists["unlabeled"]
    roots = roots_of(config)
    if not roots.differ:
        check_disjoint(**lists)
        return split
    trained = [compact(part) for name, part in lists.items() if name != "val"]
    alike = Ids(sorted({sample for part in trained for sample in shared(part, val)}))
    lists["val"] = Ids(sorted(scored(roots, spec, alike, alike)))
    check_disjoint(**lists)
    return replace(split, notes=(*split.notes, *alike_notes(alike)))


def read_val(config: Config, spec: DatasetSpec) -> Ids:
    """The ids that are scored."""
    return read_list(list_path(config, config.dataset.val.data_list, "val.txt"), cleaner(config, spec, "val"))


class Cleaner:
    """From a line of a list to the id it means; paths that begin with the data root ``root`` are understood."""

    def __init__(self, spec: DatasetSpec, root: Path | None) -> None:
        self._spec, self._root = spec, root
        self._roots = {str(root), os.path.realpath(root)} if root else ()

    def __call__(self, line: str) -> str:
        """The id. Raises: UnicodeError for a line that is no UTF-8, unless there is an image of these very bytes."""
        sample = self._spec.sample_id(line, self._roots)
        if self._root and not sample.isascii():
            try:
                sample.encode()
            except UnicodeError:
                if not os.path.lexists(self._root / self._spec.image_path(sample)):
                    raise
        return sample

    def path(self, sample: str) -> str:
        """The image's path below the data root."""
        return self._spec.image_path(sample)

    def keeps(self, characters: Collection[str]) -> bool:
        """Whether lines of these characters alone surely are ids as they stand, see ``DatasetSpec.are_ids``."""
        return self._spec.are_ids(characters)


def cleaner(config: Config, spec: DatasetSpec, part: str) -> Cleaner:
    """That of a list of ``part`` (train or val)."""
    return Cleaner(spec, getattr(roots_of(config), part))


def _read_labeled(config: Config, spec: DatasetSpec) -> Ids:
    """The labelled ids. A written list beside a split that exists must be the split's."""
    data = config.dataset
    written = data.train.data_list
    clean = cleaner(config, spec, "train")
    labeled = read_list(list_path(config, written, "labeled.txt"), clean)
    of_split = data.splits / data.split / "labeled.txt" if data.splits and data.split else None
    if written and of_split and of_split.is_file():
        others = read_list(of_split, clean)
        if set(others) != set(labeled):
            raise ConfigError(
                f"{origin_of(config, 'dataset.train.data_list')}: dataset.train.data_list {written} has {len(labeled)} "
                f"ids, but split {data.split} has {len(others)} ({len(set(labeled) & set(others))} in both); leave one "
                "of the two keys out"
            )
    return labeled


def _read_unlabeled(config: Config, spec: DatasetSpec) -> Ids | list[str]:
    """The unlabelled ids. None are asked for where only labelled images are learnt from, and their passes counted."""
    written, labels_alone = config.dataset.train.unlabeled_list, config.method == "suponly"
    if labels_alone and config.trainer.epoch_of == "labeled" and not (written or config.dataset.splits):
        return []
    path = list_path(config, written, "unlabeled.txt")
    return read_list(path, cleaner(config, spec, "train"), may_be_empty=True)


def _images_of_folder(config: Config, spec: DatasetSpec, labeled: Ids, val: Ids) -> tuple[Ids, tuple[str, ...]]:
    """The images of ``unlabeled_dir`` without labelled and validation images and masks; what was left out."""
    folder = config.dataset.train.unlabeled_dir
    known = {*_files_of(config, spec, labeled, "train"), *_files_of(config, spec, val, "val")}
    found = find_images(folder, MaskFiles(spec, data_root(config, spec, "train")))
    found.leave_out("labelled or validation images", [name for name, real in found.images.items() if real in known])
    if not found.images:
        raise DataError(
            f"{folder}: all images here are labelled images, validation images or masks; nothing is left to learn from "
            f"without labels ({found.notes()[0]})"
        )
    return found.images.names, found.notes()


def _files_of(config: Config, spec: DatasetSpec, ids: Ids, part: str) -> Iterator[str]:
    """Image and mask of each id, links resolved."""
    root = data_root(config, spec, part)
    yield from real_paths(root, Ids(map(spec.image_path, ids)))
    yield from real_paths(root, Ids(map(spec.mask_path, ids)))


@dataclass(frozen=True)
class Pool:
    """``ids`` that a labelled part is drawn from, and ``extra`` images that can only be unlabelled (own data).

    ``notes``: what was left out on the way, one sentence each.
    """

    ids: Sequence[str]
    extra: Sequence[str]
    notes: tuple[str, ...] = ()

    def draw(self, count: int, seed: int, classes_of: Mapping[str, list[int]] | None = None) -> tuple[Ids, Ids]:
        """(labelled, unlabelled), see ``draw_labeled``; the extra images come last."""
        labeled, unlabeled = draw_labeled(self.ids, count, seed, classes_of)
        return labeled, unlabeled + self.extra if self.extra else unlabeled


def read_pool(config: Config, spec: DatasetSpec, val: Collection[str]) -> Pool:
    """All training images: the written ``data_list``, else ``train.txt`` beside val.txt, else labelled + unlabelled of
    the first split there is. Of own data without the first two: every image that is not ``scored``. Images of own data
    that have no mask are extra, but for those of a written list.

    Raises: DataError if there is none of these.
    """
    data, clean = config.dataset, cleaner(config, spec, "train")
    if data.train.data_list:
        return Pool(read_list(data.train.data_list, clean), [])
    if data.splits and (data.splits / "train.txt").is_file():
        listed = read_list(data.splits / "train.txt", clean)
        return _pool_of_masks(config, spec, listed) if data.type == "custom" else Pool(listed, [])
    if data.type == "custom":
        every, found = find_samples(spec, data_root(config, spec, "train"))
        return _pool_of_masks(config, spec, every, scored(roots_of(config), spec, every, val), found.notes())
    folders = split_folders(data.splits)
    if not folders:
        raise DataError(f"{data.splits}: no split to take the pool of images from; {how_to_get_lists(data.type)}")
    files = [folders[0] / name for name in ("labeled.txt", "unlabeled.txt")]
    parts = [read_list(path, clean, may_be_empty=True) for path in files]
    return Pool(Ids(sorted({*parts[0], *parts[1]})), [])


def _pool_of_masks(
    config: Config, spec: DatasetSpec, every: Ids, known: Collection[str] = (), notes: tuple[str, ...] = ()
) -> Pool:
    """``every`` image divided by whether it has a mask, without those that are ``known`` to be scored."""
    root = data_root(config, spec, "train")
    masked = with_masks(spec, root, every)
    known_or_masked = {*known, *masked}
    extra = Ids(sample for sample in every if sample not in known_or_masked)
    ids = Ids(sample for sample in masked if sample not in known)
    if not ids:
        raise DataError(f"{root}: all {len(masked)} images with a mask are in the validation list")
    return Pool(ids, extra, notes)


def check_lists(folder: Path, split: Split) -> None:
    """A continued run must have the ids that it began with.

    Raises: DataError if <folder>/lists are there and differ.
    """
    for path, ids in _lists_of_run(folder, split).items():
        before = read_list(path, may_be_empty=True) if path.is_file() else ids
        if before != ids:
            raise DataError(
                f"{path}: this run began with {len(before)} ids, now the configuration gives {len(ids)} "
                f"({len(set(before) & set(ids))} in both): the lists or images changed since; put them back, "
                "or choose another folder, e.g. saver.name=mine"
            )


def save_lists(folder: Path, split: Split) -> None:
    """The ids of this run as <folder>/lists/{labeled,unlabeled,val}.txt.

    Raises: see ``check_lists``; UserError if they cannot be written.
    """
    check_lists(folder, split)
    for path, ids in _lists_of_run(folder, split).items():
        if not path.is_file():
            remove_leftovers(path)
            write_list(path, ids)


def _lists_of_run(folder: Path, split: Split) -> dict[Path, Sequence[str]]:
    return {RunFiles(folder).list_of(name): ids for name, ids in split.lists().items()}
