"""Which naming of masks gives most images a mask, and whether another one could be meant."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from semiseg.common.errors import DataError
from semiseg.common.text import counted
from semiseg.prepare.own.affixes import (
    Affixes,
    Around,
    around_ids,
    called_masks,
    common_start,
    cuts_a_word,
    ending_of,
    says_mask,
    stem_of,
)

_LOOKED_AT = 300  # masks whose names are compared with those of all images
_FOLDERS = 20  # names of folders that may stand for that of masks


@dataclass(frozen=True)
class Match:
    """``around`` and ``affixes``: how images and masks are named. image_files, mask_files: what each was looked for in.

    mixed: the files of one folder, which the names of masks tell from images.
    """

    around: Around
    affixes: Affixes
    image_files: Sequence[str]
    mask_files: Sequence[str]
    mixed: bool = False

    @cached_property
    def ids(self) -> list[str]:
        """Of all images."""
        return self.around.ids(self.image_files)

    @cached_property
    def used(self) -> set[str]:
        """Files that are an image's mask."""
        return set(map(self.affixes.of, self.ids)).intersection(self.mask_files)


def match_files(
    image_files: Sequence[str], mask_files: Sequence[str], one_folder: bool, said: Affixes | None
) -> Match | None:
    """The naming that gives most images a mask; None where none gives any.

    ``one_folder``: the files are the same ones, images and masks. Where no name of an image within a mask's tells them
    apart, words do. ``said``: the naming that the owner gave.
    Raises: DataError where it is not certain which files are meant.
    """
    if not one_folder:
        return _best(image_files, mask_files, False, said)
    mixed = None if said and said.mask_folder else _best(image_files, mask_files, True, said)
    if mixed and (said or not _masks_of_masks(mixed)):
        return mixed
    called = called_masks(image_files)
    masks = [name for name in image_files if said.fit(name)] if said else called
    others = sorted(set(image_files).difference(masks))
    images = sorted(set(others).difference(called)) or others
    return (_best(images, masks, False, said) if images and masks else None) or mixed


def other_naming(match: Match) -> tuple[Affixes, list[str]] | None:
    """How masks of images that have none by ``match`` are named, and these masks; None where there are none."""
    used = match.used
    without = [sample for sample in match.ids if match.affixes.of(sample) not in used]
    others = set(match.mask_files) - used
    if match.mixed:
        others &= set(called_masks(match.mask_files))
    candidates = [*_candidates(without, sorted(others)), *_candidates_in_folders(without, sorted(others))]
    found = {affixes: others & set(map(affixes.of, without)) for affixes in candidates}
    best = max(found, key=lambda affixes: len(found[affixes]), default=None)
    return (best, sorted(found[best])) if best else None


def _masks_of_masks(match: Match) -> bool:
    """Whether what has a mask is called one itself, and other files are not: label_viz.png of label.png."""
    called, used = set(called_masks(match.mask_files)), match.used
    named = zip(match.image_files, match.ids, strict=True)
    with_mask = [name for name, sample in named if match.affixes.of(sample) in used]
    return called.issuperset(with_mask) and not called.issuperset(match.image_files)


def _best(
    image_files: Sequence[str], mask_files: Sequence[str], one_folder: bool, said: Affixes | None
) -> Match | None:
    """The best naming by the images' whole names, else by what is left of these without what all share, else with a
    folder that is named otherwise.
    """
    found = []
    for around in around_ids(image_files):
        candidates = [said] if said else _candidates(around.ids(image_files), mask_files)
        affixes, count = _best_of(candidates, around, image_files, mask_files, one_folder)
        if affixes:
            found.append((count, around, affixes))
        if count == len(mask_files):
            break
    for around in () if found or said or one_folder else around_ids(image_files):
        candidates = _candidates_in_folders(around.ids(image_files), mask_files)
        affixes, count = _best_of(candidates, around, image_files, mask_files, one_folder)
        if affixes:
            found.append((count, around, affixes))
            break
    if not found:
        return None
    most = max(found, key=lambda item: item[0])  # the first of equal ones
    if found[0][1] == Around() and not (said or most[1].whole):
        _refuse_another(found[0], most)
        most = found[0]
    _, around, affixes = most
    images = around.images(image_files, affixes) if one_folder else image_files
    return Match(around, affixes, images, mask_files, one_folder)


def _refuse_another(first: tuple[int, Around, Affixes], best: tuple[int, Around, Affixes]) -> None:
    """Raises: DataError where more masks are named as masks are, by a part of the images' names: maskN.png of imgN.jpg
    beside a few imgN.png. (val_N.png is none of train_N.jpg.)
    """
    (count, _, plain), (most, _, other) = first, best
    beside = other.before + other.after
    if most > count and (says_mask(beside) or not beside):
        raise DataError(
            f"{counted(count, 'mask')} named {plain.written()} and {most} named {other.written()}; say which are meant "
            f"with --mask-name '{other.written()}'"
        )


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
    fitting = _of_the_same_place(fitting, around)
    if not fitting:
        return None, 0
    order = sorted(fitting, key=lambda a: (-len(fitting[a]), -_alike(a), a.added, a.ending != ".png", a))
    _refuse_several(order, fitting)
    _refuse_shared(order, fitting)
    return order[0], len(fitting[order[0]])


def _of_the_same_place(fitting: dict[Affixes, set[str]], around: Around) -> dict[Affixes, set[str]]:
    """Without masks of other images: siteA_mask_1 and not siteB_mask_1 is that of siteA_1, and patient8_1 is none of
    patient7_1.
    """
    plain = around.before, around.after  # what masks of the images' own names have
    same = {a for a in fitting if a.before.startswith(plain[0]) and a.after.endswith(plain[1]) and a[:2] != plain}
    numbers = [re.findall(r"\d+", text) for text in plain]

    def other_number(affixes: Affixes) -> bool:
        theirs = (re.findall(r"\d+", text) for text in (affixes.before, affixes.after))
        return any(one and other and one != other for one, other in zip(numbers, theirs, strict=True))

    return {a: ids for a, ids in fitting.items() if (a in same if same and any(plain) else not other_number(a))}


def _candidates(stems: Collection[str], mask_files: Sequence[str]) -> list[Affixes]:
    """The namings under which most of some masks hold an image's id, the most frequent first."""
    known = set(stems)
    counts: Counter[Affixes] = Counter()
    for name in _some(mask_files):
        text, ending = stem_of(name), ending_of(name)
        for start in range(len(text)):
            for stop in range(start + 1, len(text) + 1):
                if text[start:stop] in known and not cuts_a_word(text, start, stop):
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
                    if text[:stop] in known and not cuts_a_word(text, 0, stop):
                        counts[Affixes("", text[stop:], ending_of(name), image_folder, mask_folder)] += 1
    return [affixes for affixes, _ in counts.most_common(20)]


def _some(mask_files: Sequence[str]) -> Sequence[str]:
    return mask_files[:: max(1, len(mask_files) // _LOOKED_AT)]


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


def _refuse_shared(order: Sequence[Affixes], fitting: dict[Affixes, set[str]]) -> None:
    """One folder of masks that is as good for each of several folders of images: rgb and depth, left and right."""
    best = order[0]
    masks = set(map(best.of, fitting[best]))
    for other in order[1:] if best.mask_folder else ():
        shared = masks.intersection(map(other.of, fitting[other]))
        if len(shared) > len(masks) / 2 and _alike(best) <= max(1, _alike(other)):
            raise DataError(
                f"the masks in {best.mask_folder} (such as {min(masks)}) may be of images in {best.image_folder} or in "
                f"{other.image_folder}; name one folder of images with --images, and that of their masks with --masks"
            )


def _alike(affixes: Affixes) -> int:
    """How many letters the two folders have in common: 2 of imagesTr and labelsTr."""
    one, other = affixes.image_folder.casefold(), affixes.mask_folder.casefold()
    start, end = common_start([one, other]), common_start([one[::-1], other[::-1]])
    return max(sum(map(str.isalpha, start)), sum(map(str.isalpha, end)))
