"""Parts that the owner made already: images in folders train, val and test, which no draw may mix."""

from collections.abc import Iterable
from typing import NamedTuple

_PART_OF = {
    **dict.fromkeys(("train", "training", "labeled", "labelled"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class Parts(NamedTuple):
    """Ids by the folder at their beginning; those of folders that name no part are trained on. folders: as written."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    folders: tuple[str, ...]


def parts_of(ids: Iterable[str]) -> Parts | None:
    """The owner's parts; None unless there is a folder of training images and one of val or test, e.g. train/0001."""
    parts, folders = {"train": [], "val": [], "test": []}, {}
    for sample in ids:
        folder, slash, _ = sample.partition("/")
        part = _PART_OF.get(folder.lower()) if slash else None
        parts[part or "train"].append(sample)
        if part:
            folders.setdefault(folder, part)
    kinds = set(folders.values())
    if "train" not in kinds or len(kinds) == 1:
        return None
    return Parts(*(tuple(samples) for samples in parts.values()), tuple(sorted(folders)))
