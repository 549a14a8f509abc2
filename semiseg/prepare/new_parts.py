"""Parts that the owner made already: images in folders val and test, which no draw may mix with the others."""

from collections.abc import Iterable
from typing import NamedTuple

_PART_OF = {
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class Parts(NamedTuple):
    """Ids by the folder at their beginning; what is not of val or test is trained on. folders: of val and test."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    folders: tuple[str, ...]


def parts_of(ids: Iterable[str]) -> Parts | None:
    """The owner's parts; None where no id begins with a folder of val or test (val/0001), or where all do."""
    parts, folders = {"train": [], "val": [], "test": []}, set()
    for sample in ids:
        folder, slash, _ = sample.partition("/")
        part = _PART_OF.get(folder.lower()) if slash else None
        parts[part or "train"].append(sample)
        if part:
            folders.add(folder)
    if not folders or not parts["train"]:
        return None
    return Parts(*(tuple(samples) for samples in parts.values()), tuple(sorted(folders)))
