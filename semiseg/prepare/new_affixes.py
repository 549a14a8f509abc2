"""What names of masks have beside the ids of their images: the naming under which most images have a mask."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from semiseg.common.errors import DataError
from semiseg.common.text import counted
from semiseg.data.templates import MaskTemplate

_LOOKED_AT = 300  # masks whose names are compared with those of all images
_FOLDERS = 20  # names of folders that may stand for that of masks
_SEPARATORS = "_-. /"
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_OF_MASKS = frozenset(
    {
        *("mask", "masks", "label", "labels", "lbl", "lbls", "gt", "gts", "seg", "segs", "segmentation"),
        *("segmentations", "ann", "anns", "anno", "annos", "annotation", "annotations", "truth", "groundtruth"),
        *("target", "targets"),
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

    def fit(self, name: str) -> bool:
        """Whether a file could be an image so named."""
        return self.whole or (stem_of(name).startswith(self.before) and stem_of(name).endswith(self.after))

    def images(self, files: Sequence[str], affixes: Affixes) -> list[str]:
        """Of one folder's files those that are no mask so named."""
        if not self.whole:
            return [name for name in files if not affixes.fit(name)]
        masks = set(map(affixes.of, files))  # a mask is named after a file that is there
        return [name for name in files if name not in masks]


def best_naming(
    image_files: Sequence[str], mask_files: Sequence[str], one_folder: bool, said: Affixes | None
) -> tuple[Around, Affixes | None]:
    """What images have around their ids, and how masks are named by ids: the naming that gives most images a mask.

    ``one_folder``: the files are the same ones, images and masks. ``said``: the naming that the owner gave.
    Raises: DataError where each image has several masks.
    """
    best, most = (Around(), None), 0
    for around in _around_ids(image_files):
        if most and not around.whole:
            break  # what images share is part of an id where that gives masks
        candidates = [said] if said else _candidates(around.ids(image_files), mask_files)
        affixes, count = _best_of(candidates, around, image_files, mask_files, one_folder)
        if count > most:
            best, most = (around, affixes), count
    for around in () if most or said or one_folder else _around_ids(image_files):
        candidates = _candidates_in_folders(around.ids(image_files), mask_files)
        affixes, _ = _best_of(candidates, around, image_files, mask_files, one_folder)
        if affixes:
            return around, affixes
    return best


def _best_of(
    candidates: Iterable[Affixes],
    around: Around,
    image_files: Sequence[str],
    mask_files: Collection[str],
    one_folder: bool,
) -> tuple[Affixes | None, int]:
    """The naming that gives most images a mask, and how many; (None, 0) where none gives any."""
    there, fitting = set(mask_files), {}
    for affixes in candidates:
        of_images = around.images(image_files, affixes) if one_folder else image_files
        if one_folder and not (affixes.added or around.whole) and len(of_images) == len(image_files):
            continue  # every image would be its own mask
        ids = {sample for sample in around.ids(of_images) if affixes.of(sample) in there}
        if ids:
            fitting[affixes] = ids
    if not fitting:
        return None, 0
    order = sorted(fitting, key=lambda a: (-len(fitting[a]), a.added, a.ending != ".png", a))
    _refuse_several(order, fitting)
    return order[0], len(fitting[order[0]])


def told_by_words(files: Sequence[str], said: Affixes | None = None) -> tuple[list[str], list[str]]:
    """Images and masks of one folder that no name of an image within a mask's tells apart: masks say so in their names
    or those of their folders (train/masks/1.png, 1_label.png). Of what says so only some are masks where the owner
    ``said`` which.
    """
    common = len(_common_start([f"{name.rpartition('/')[0]}/" for name in files]).rpartition("/")[0])
    called = {name for name in files if any(map(_says_mask, stem_of(name[common:]).split("/")))}
    masks = set(filter(said.fit, files)) if said else called
    images = [name for name in files if name not in masks]
    return [name for name in images if name not in called] or images, [name for name in files if name in masks]


def _says_mask(part: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(part)]
    return any(word in _OF_MASKS or word.endswith(_OF_MASKS_AT_THE_END) for word in words)


def _around_ids(image_files: Sequence[str]) -> Iterator[Around]:
    """Nothing; whole names (1.png.png, 2.jpg.png) where endings differ; else what all images share in front of and
    behind what tells them apart ("_image" in 1_image.png, "img" in img1.png where a number follows).
    """
    yield Around()
    if len({ending_of(name) for name in image_files}) > 1:
        yield Around(whole=True)
        return
    stems = [stem_of(name) for name in image_files]
    if len(stems) < 2:
        return
    front, back = _common_start(stems), _common_start([stem[::-1] for stem in stems])[::-1]
    starts = [at for at in map(back.find, _SEPARATORS) if at >= 0]
    befores = ["", front[: max(front.rfind(c) for c in _SEPARATORS) + 1], front.rstrip("0123456789")]
    afters = ["", back[min(starts) :] if starts else "", back.lstrip("0123456789")]
    for before, after in dict.fromkeys((before, after) for before in befores for after in afters):
        ids = [stem[len(before) :].removesuffix(after) for stem in stems]
        fits_before = before.endswith(tuple(_SEPARATORS)) or all(sample[:1].isdigit() for sample in ids)
        fits_after = after.startswith(tuple(_SEPARATORS)) or all(sample[-1:].isdigit() for sample in ids)
        if (fits_before or not before) and (fits_after or not after) and before + after:
            yield Around(before, after)


def _common_start(texts: Sequence[str]) -> str:
    """Between the first and the last in order lie all others, and begin as these two do."""
    first, last = min(texts), max(texts)
    same = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, min(len(first), len(last)))]


def _candidates(stems: Collection[str], mask_files: Sequence[str]) -> list[Affixes]:
    """The namings under which most of some masks hold an image's id, the most frequent first."""
    known = set(stems)
    counts: Counter[Affixes] = Counter()
    for name in _some(mask_files):
        text, ending = stem_of(name), ending_of(name)
        for start in range(len(text)):
            for stop in range(start + 1, len(text) + 1):
                if text[start:stop] in known and not cuts_a_number(text, start, stop):
                    counts[Affixes(text[:start], text[stop:], ending)] += 1
    return [affixes for affixes, _ in counts.most_common(20)]


def _candidates_in_folders(stems: Collection[str], mask_files: Sequence[str]) -> list[Affixes]:
    """The same where a folder amid the path is named otherwise: train/images/1.jpg, train/masks/1.png."""
    known = set(stems)
    at_depth: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for stem in known:
        for depth, folder in enumerate(stem.split("/")[:-1]):
            at_depth[depth][folder] += 1
    counts: Counter[Affixes] = Counter()
    for name in _some(mask_files):
        *folders, last = stem_of(name).split("/")
        for depth, mask_folder in enumerate(folders):
            if mask_folder in at_depth[depth]:
                continue  # images lie in such a folder as well
            for image_folder, _ in at_depth[depth].most_common(_FOLDERS):
                text = "/".join((*folders[:depth], image_folder, *folders[depth + 1 :], last))
                for stop in range(len(text) - len(last) + 1, len(text) + 1):
                    if text[:stop] in known and not cuts_a_number(text, 0, stop):
                        counts[Affixes("", text[stop:], ending_of(name), image_folder, mask_folder)] += 1
    return [affixes for affixes, _ in counts.most_common(20)]


def _some(mask_files: Sequence[str]) -> Sequence[str]:
    return mask_files[:: max(1, len(mask_files) // _LOOKED_AT)]


def cuts_a_number(text: str, start: int, stop: int) -> bool:
    """Whether a part of a name begins or ends amid digits: 1001 is no mask of image 1."""
    borders = (text[at - 1 : at + 1] for at in (start, stop))
    return any(len(border) == 2 and border.isdigit() for border in borders)


def _refuse_several(order: Sequence[Affixes], fitting: dict[Affixes, set[str]]) -> None:
    """Several masks of most images: only the owner knows which one is meant. A plain name is."""
    best = order[0]
    others = [a for a in order[1:] if len(fitting[a] & fitting[best]) > len(fitting[best]) / 2]
    if others and best.added:
        example = min(fitting[others[0]] & fitting[best])
        how = f"with --mask-name '{best.written()}'"
        if best.mask_folder:  # trainannot/1.png, valannot/1.png of train/1.jpg: a name alone could mean the wrong ones
            how = "by folders: --images one of images, --masks that of their masks"
        raise DataError(
            f"{counted(1 + len(others), 'mask')} of one image: {best.of(example)}, {others[0].of(example)}; say which "
            f"{how} (one mask with all classes is expected)"
        )


def ending_of(name: str) -> str:
    """``.png``."""
    return PurePosixPath(name).suffix


def stem_of(name: str) -> str:
    """The path without the ending: "deep/a" for deep/a.png."""
    return name.removesuffix(ending_of(name))
