"""What stands around an image's id in the names of images and of their masks, and the words that masks go by."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from semiseg.data.templates import MaskTemplate

_SEPARATORS = "_-. /"
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")  # of a name: images, Tr in imagesTr
_OF_MASKS = frozenset(
    {
        *("mask", "masks", "label", "labels", "lbl", "lbls", "gt", "gts", "seg", "segs", "segmentation"),
        *("segmentations", "ann", "anns", "anno", "annos", "annotation", "annotations", "truth", "groundtruth"),
        *("gtruth", "target", "targets", "manual"),
    }
)
_OF_MASKS_AT_THE_END = ("mask", "masks", "annot", "annots")  # trainannot


class Affixes(NamedTuple):
    """What stands before and after an image's id in the name of its mask, and the mask's ending. image_folder,
    mask_folder: as ``MaskTemplate`` has them.
    """

    before: str
    after: str
    ending: str
    image_folder: str = ""
    mask_folder: str = ""

    @property
    def template(self) -> MaskTemplate:
        return MaskTemplate(self.before, self.after + self.ending, False, self.image_folder, self.mask_folder)

    def of(self, stem: str) -> str:
        """The mask of an id."""
        return self.template.path(stem)

    def written(self, field: str = "id") -> str:
        """As dataset.custom.mask has it. ``field``: id or stem."""
        folders = f":{self.image_folder}={self.mask_folder}" if self.mask_folder else ""
        return f"{self.before}{{{field}{folders}}}{self.after}{self.ending}"

    @property
    def added(self) -> int:
        """Letters beside the id; 0 where a mask has the very name of its image."""
        return len(self.before) + len(self.after) + len(self.mask_folder)

    def fit(self, name: str) -> bool:
        """Whether a file in a folder of images and masks is named as masks are."""
        if self.mask_folder:
            return self.template.in_mask_folder(name) and name.endswith(self.after + self.ending)
        if not self.added:
            return ending_of(name) == self.ending and self.ending.lower() not in _LOSSY
        text = stem_of(name)
        fits = text.startswith(self.before) and text.endswith(self.after) and len(text) > self.added
        return fits and ending_of(name) == self.ending


class Around(NamedTuple):
    """What stands before and after an id in an image's name. whole: the ending is part of the id."""

    before: str = ""
    after: str = ""
    whole: bool = False

    def ids(self, image_files: Iterable[str]) -> list[str]:
        """The ids of images so named."""
        if self.whole:
            return list(image_files)
        return [stem_of(name)[len(self.before) :].removesuffix(self.after) for name in image_files]

    def images(self, files: Sequence[str], affixes: Affixes) -> list[str]:
        """Of one folder's files those that are no mask so named."""
        if not self.whole:
            return [name for name in files if not affixes.fit(name)]
        masks = set(map(affixes.of, files))  # a mask is named after a file that is there
        return [name for name in files if name not in masks]


def called_masks(files: Collection[str]) -> list[str]:
    """The files whose names or folders say that they are masks: train/masks/1.png, 1_label.png. A folder that all of
    them lie in says nothing.
    """
    common = len(common_start([f"{name.rpartition('/')[0]}/" for name in files]).rpartition("/")[0]) if files else 0
    return [name for name in files if any(map(says_mask, stem_of(name[common:]).split("/")))]


def says_mask(part: str) -> bool:
    """Whether a word of a name, or of a part of it, stands for masks."""
    words = [word.lower() for word in WORDS.findall(part)]
    return any(word in _OF_MASKS or word.endswith(_OF_MASKS_AT_THE_END) for word in words)


def around_ids(image_files: Sequence[str]) -> Iterator[Around]:
    """Nothing; whole names (1.png.png, 2.jpg.png) where endings differ; else what all images share in front of and
    behind what tells them apart ("_image" in 1_image.png, "img" in img1.png where a number follows), little first.
    """
    yield Around()
    if len({ending_of(name) for name in image_files}) > 1:
        yield Around(whole=True)
        return
    stems = [stem_of(name) for name in image_files]
    if len(stems) < 2:
        return
    front, back = common_start(stems), common_start([stem[::-1] for stem in stems])[::-1]
    digits = "0123456789"
    befores = {"", front.rstrip(digits), *(front[: at + 1] for at, sign in enumerate(front) if sign in _SEPARATORS)}
    afters = {"", back.lstrip(digits), *(back[at:] for at, sign in enumerate(back) if sign in _SEPARATORS)}
    pairs = sorted((len(before) + len(after), before, after) for before in befores for after in afters)
    for _, before, after in pairs[1:]:
        ids = [stem[len(before) :].removesuffix(after) for stem in stems]
        fits_before = not before or before[-1] in _SEPARATORS or all(sample[:1].isdigit() for sample in ids)
        fits_after = not after or after[0] in _SEPARATORS or all(sample[-1:].isdigit() for sample in ids)
        if fits_before and fits_after:
            yield Around(before, after)


def common_start(texts: Sequence[str]) -> str:
    """Between the first and the last in order lie all others, and begin as these two do."""
    first, last = min(texts), max(texts)
    same = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, min(len(first), len(last)))]


def cuts_a_word(text: str, start: int, stop: int) -> bool:
    """Whether a part of a path begins or ends amid a number, or holds the end of a folder's name alone: 1001 is no mask
    of image 1, unlabeled/1 none of labeled/1.
    """
    borders = (text[at - 1 : at + 1] for at in (start, stop))
    amid_a_folder = start > 0 and text[start - 1] != "/" and "/" in text[start:stop]
    return amid_a_folder or any(len(border) == 2 and border.isdigit() for border in borders)


def ending_of(name: str) -> str:
    """``.png``."""
    return PurePosixPath(name).suffix


def stem_of(name: str) -> str:
    """The path without the ending: "deep/a" for deep/a.png."""
    return name.removesuffix(ending_of(name))
