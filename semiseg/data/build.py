"""From the Config to the data sets it describes. Without MindSpore, so that the data tools start at once."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from semiseg.common.errors import ConfigError, DataError
from semiseg.config.keys import Config
from semiseg.config.retired import check_stated
from semiseg.data import truth
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.label_check import check_labels
from semiseg.data.lists import Split
from semiseg.data.paths import data_root, how_to_get, origin_of
from semiseg.data.presence import LOOKED_AT, Presence, sampled
from semiseg.data.specs import DatasetSpec, custom_spec, get_spec
from semiseg.data.splits import overlaps


def complete(config: Config) -> tuple[Config, DatasetSpec]:
    """The configuration with everything filled in that follows from the data set, and the data set's description.

    Raises:
        ConfigError: net.num_classes is written and is not the data set's, or dataset.custom does not describe one.
    """
    spec = data_spec(config)
    check_stated(config, "net.num_classes", spec.num_classes, spec.name)
    _check_left_out(config, spec)
    net = config.net.model_copy(update={"num_classes": spec.num_classes})
    return config.model_copy(update={"net": net}), spec


def _check_left_out(config: Config, spec: DatasetSpec) -> None:
    """Raises ConfigError unless ``trainer.adaptive.copy_paste.leave_out`` are some of the classes."""
    adaptive, key = config.trainer.adaptive, "trainer.adaptive.copy_paste.leave_out"
    left = set(adaptive.copy_paste.leave_out) if adaptive and adaptive.copy_paste else set()
    if not left < set(range(spec.num_classes)):
        raise ConfigError(
            f"{origin_of(config, key)}: {key}: expected some of the classes 0 to {spec.num_classes - 1} of {spec.name} "
            f"and not all, got {sorted(left)}"
        )


def data_spec(config: Config) -> DatasetSpec:
    """The built-in data set that ``dataset.type`` names, or the one that ``dataset.custom`` describes.

    Raises: ConfigError for an unknown type, or a description that is missing, unread or contradicts itself.
    """
    return _custom_spec(config) if config.dataset.type == "custom" else _built_in_spec(config)


def _built_in_spec(config: Config) -> DatasetSpec:
    data, spec = config.dataset, get_spec(config.dataset.type)
    if data.custom is not None:
        raise ConfigError(
            f"{origin_of(config, 'dataset.type')}: dataset.custom describes {data.custom.name!r}, but dataset.type is "
            f"{data.type}; write type: custom (or set dataset.custom to null)"
        )
    if data.ignore_label != spec.ignore_label:
        raise ConfigError(
            f"{origin_of(config, 'dataset.ignore_label')}: dataset.ignore_label is {data.ignore_label}, but "
            f"{spec.name}'s is {spec.ignore_label}; leave the key out"
        )
    return spec


def _custom_spec(config: Config) -> DatasetSpec:
    data, custom = config.dataset, config.dataset.custom
    if custom is None:
        raise ConfigError(
            f"{origin_of(config, 'dataset.type')}: dataset.type is custom, so dataset.custom must describe the data "
            "(classes, image, mask); docs/datasets.md shows how"
        )
    labels = {"mask_kind": custom.mask_kind, "ignore_label": data.ignore_label, "ignore_color": custom.ignore_color}
    try:
        return custom_spec(custom.name, custom.classes, custom.image, custom.mask, custom.colors, **labels)
    except ConfigError as error:
        raise ConfigError(f"{origin_of(config, 'dataset.custom')}: {error}") from None


def open_part(
    config: Config, spec: DatasetSpec, ids: Sequence[str], part: str, with_mask: bool = True
) -> SegmentationDataset:
    """The images of ``ids``, unseen; ``part`` is train or val. Training images without masks are the unlabelled ones,
    which may lie in a folder of their own.
    """
    folder = config.dataset.train.unlabeled_dir
    if folder and part == "train" and not with_mask:
        spec, root, with_mask = dataclasses.replace(spec, image="{id}"), folder, False
    else:
        root = data_root(config, spec, part)
    return SegmentationDataset(spec, root, ids, with_mask, config.dataset.max_pixels)


def dataset(
    config: Config, spec: DatasetSpec, ids: Sequence[str], part: str, skip: bool = False
) -> SegmentationDataset:
    """``open_part`` with masks; missing files are refused here, all at once. With ``skip`` only if nothing is left.

    Raises:
        ConfigError: no data root is configured. DataError: the root or files are not there.
    """
    samples = open_part(config, spec, ids, part)
    refuse_missing(samples, samples.presence(), skip)
    return samples


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


def fingerprints_of(config: Config, spec: DatasetSpec, split: Split) -> truth.Fingerprints:
    """Of the masks that a run learns from, and of those that it scores."""
    return truth.fingerprints(parts_of(config, spec, split, with_unlabeled=False, with_val=config.trainer.eval_on))


def quick_check(config: Config, spec: DatasetSpec, split: Split, with_unlabeled: bool = True) -> list[str]:
    """What can be refused about data before the first step without opening an image: roots, files, overlap; and
    labelled masks that cannot be meant, of which a few are opened.

    Every labelled and validation file is looked at, and of unlabelled ones those that ``presence.sampled`` chooses: all
    of 20,000, spread over longer lists. check-data looks at all.

    Returns notes on what will be skipped or was not looked at, and on classes that are not labelled.

    Raises: ConfigError or DataError, see ``dataset``; DataError if one file is in two parts, there is no unlabelled
        image for a method that learns from them, or one class alone is labelled.
    """
    if with_unlabeled and not split.unlabeled:
        raise DataError(
            f"method {config.method} learns from unlabelled images, and there is none: all {len(split.labeled)} are "
            "labelled; method=suponly trains on these alone, another dataset.split or dataset.train.unlabeled_list "
            "brings unlabelled ones"
        )
    parts = parts_of(config, spec, split, with_unlabeled, config.trainer.eval_on)
    skip = config.dataset.on_error == "skip"
    chosen = {name: sampled(len(part)) if name == "unlabeled" else None for name, part in parts.items()}
    seen = {name: part.presence(chosen[name]) for name, part in parts.items()}
    notes = [note for name, part in parts.items() for note in refuse_missing(part, seen[name], skip)]
    for problem in path_overlaps(parts, seen, most=LOOKED_AT):
        raise DataError(problem)
    return [*notes, *check_labels(parts["labeled"], config.dataset.workers, skip)]


def refuse_missing(part: SegmentationDataset, seen: Presence, skip: bool = False) -> list[str]:
    """Notes on missing files if they are to be skipped and others are left, and on files that were not looked at.

    Raises: DataError if files are missing.
    """
    of_all = ""
    if seen.looked_at < len(part):
        of_all = f"looked at {seen.looked_at:,} of {len(part):,} images in {part.root}; semiseg check-data looks at all"
    if not seen.missing:
        return [of_all] if of_all else []
    missing = f"{len(seen.missing)} files are missing in {part.root}" + (f", {of_all}" if of_all else "")
    what = f"{seen.missing[0]}: not there, though a list names it ({missing})"
    if skip and len(seen.incomplete) < seen.looked_at:
        return [f"{what}; skipped (dataset.on_error)"]
    raise DataError(what + how_to_get(part.spec, Path(seen.missing[0])))


def path_overlaps(
    parts: Mapping[str, SegmentationDataset], seen: Mapping[str, Presence], most: int | None = None
) -> list[str]:
    """One sentence for each two parts that hold the same image files, whatever their ids are.

    Linked files are followed as far as they were ``seen``, linked folders of at most ``most``.
    """
    files = {name: part.real_images(seen[name], most) for name, part in parts.items()}
    return overlaps(files, "part", "image file")
