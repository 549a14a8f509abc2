"""Parts that the owner made already: images in folders val and test, which no draw may mix with the others."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from semiseg.common.errors import ConfigError
from semiseg.common.text import counted
from semiseg.prepare.own.affixes import WORDS

_PART_OF = {
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_TRAIN_OF = {**dict.fromkeys(_PART_OF, ("train", "training")), "ts": ("tr",)}  # imagesTs beside imagesTr: nnU-Net


class Parts(NamedTuple):
    """Ids by the folders they lie in; what is not of val or test is trained on. folders: of val and test."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    folders: tuple[str, ...]


class Owned(NamedTuple):
    """Ids of images with a mask to learn from, for scoring and for the test, and of those without one to learn from.

    Without ``val`` the images for scoring are still to be drawn. said: how the owner's folders part them, "" where they
    do not.
    """

    masked: list[str]
    val: list[str]
    test: list[str]
    extra: list[str]
    said: str = ""


def parts_of(ids: Iterable[str]) -> Parts | None:
    """The owner's parts; None where no id lies in a folder of val or test (val/1, north/val/1), or where all do.

    A folder whose name only holds such a word is one where there is that of train as well: test_images, train_images.
    """
    ids = list(ids)
    part_of = _folders_of_parts({name for sample in ids for name in sample.split("/")[:-1]})
    parts, folders = {"train": [], "val": [], "test": []}, set()
    for sample in ids:
        above = sample.split("/")[:-1]
        depth = next((at for at, name in enumerate(above, 1) if name in part_of), 0)
        parts[part_of[above[depth - 1]] if depth else "train"].append(sample)
        if depth:
            folders.add("/".join(above[:depth]))
    if not folders or not parts["train"]:
        return None
    return Parts(*(tuple(samples) for samples in parts.values()), tuple(sorted(folders)))


def _folders_of_parts(names: Collection[str]) -> dict[str, str]:
    """Name of a folder -> val or test."""
    known, found = {name.lower() for name in names}, {}
    for name in names:
        part = _PART_OF.get(name.lower())
        for word in WORDS.finditer(name):
            others = (name[: word.start()] + other + name[word.end() :] for other in _TRAIN_OF.get(word[0].lower(), ()))
            if part is None and any(other.lower() in known for other in others):
                part = _PART_OF.get(word[0].lower(), "test")
        if part:
            found[name] = part
    return found


def by_folders(images: Owned, val_count: int | None = None) -> Owned:
    """``images``, all of which are taken for ones to learn from, parted as their folders say.

    Raises: ConfigError for a number of images to score (``val_count``) beside a folder of them.
    """
    parts = parts_of([*images.masked, *images.extra])
    if parts is None:
        return images
    masked, train = set(images.masked), set(parts.train)
    val, test = ([sample for sample in part if sample in masked] for part in (parts.val, parts.test))
    if val and val_count:
        raise ConfigError(
            f"--val-count {val_count}: the images of a folder val are for scoring, {len(val)} with a mask; leave it "
            "out, or --parts drawn draws all parts anew"
        )
    said = f"; as the folders {', '.join(parts.folders)} say (--parts drawn mixes all)"
    if parts.test:
        said += f", {counted(len(parts.test), 'image')} of test left out"
        said += f" (splits/test.txt: {len(test)} with a mask)" if test else ""
    if len(parts.val) > len(val):
        said += f", {len(parts.val) - len(val)} of val without a mask left out"
    learnt, without = ([sample for sample in some if sample in train] for some in (images.masked, images.extra))
    return Owned(learnt, val, test, without, said)
