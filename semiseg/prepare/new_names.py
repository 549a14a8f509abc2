"""Which mask belongs to which image, told by their names: from two folders to the paths that a data set describes."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from semiseg.common.errors import ConfigError, DataError
from semiseg.common.text import counted, shortened
from semiseg.data.discover import OTHER, find_images, scan

_LOOKED_AT = 300  # masks whose names are compared with those of all images
_SEPARATORS = "_-. "
_OUTLINES = (".json", ".geojson", ".ndjson")
_SAY_HOW = "--mask-name '{id}_x.png' says how masks are named"
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")


class Naming(NamedTuple):
    """``image`` and ``mask``: paths below ``root``, as dataset.custom has them. ``pairs``: images with a mask.

    ``unused``: files in the folder of masks that are no image's mask.
    """

    root: Path
    image: str
    mask: str
    pairs: int
    unused: tuple[str, ...]


class _Affixes(NamedTuple):
    """What stands before and after an image's id in the name of its mask, and the mask's ending."""

    before: str
    after: str
    ending: str

    def of(self, stem: str) -> str:
        return f"{self.before}{stem}{self.after}{self.ending}"

    @property
    def added(self) -> int:
        return len(self.before) + len(self.after)


class _Around(NamedTuple):
    """What stands before and after an id in an image's name. whole: the ending is part of the id."""

    before: str = ""
    after: str = ""
    whole: bool = False

    def ids(self, image_files: Iterable[str]) -> list[str]:
        if self.whole:
            return list(image_files)
        return [_stem(name)[len(self.before) :].removesuffix(self.after) for name in image_files]

    def images(self, files: Sequence[str], affixes: _Affixes) -> list[str]:
        """Of one folder's files those that are no mask so named."""
        if not self.whole:
            return [name for name in files if not _is_mask(name, affixes)]
        masks = set(map(affixes.of, files))  # a mask is named after a file that is there
        return [name for name in files if name not in masks]


def find_naming(images: Path, masks: Path, mask_name: str | None = None) -> Naming:
    """How masks are named. ``mask_name``: that said by hand, "{id}_label.png" below ``masks``.

    Raises:
        DataError: a folder is not there or empty, no mask belongs to an image (polygons are none), or several masks
            belong to each.
        ConfigError: ``mask_name`` does not hold {id} once.
    """
    images, masks = (Path(os.path.normpath(folder.absolute())) for folder in (images, masks))
    image_files = _files(images, masks)
    outlines = _outlines(masks, image_files)
    if masks.is_file():
        raise DataError(f"{masks}: a file; expected a folder of masks{_drawn_first(outlines)}")
    if not masks.exists():
        raise DataError(f"{masks}: no such folder of masks")
    mask_files = _files(masks, images, outlines)
    said = None if mask_name is None else _parsed(mask_name)
    one_folder = images == masks
    around, best = _best(image_files, mask_files, one_folder, said)
    if best is None:
        if outlines:
            raise DataError(f"{masks}: no file here is a mask of an image in {images}{_drawn_first(outlines)}")
        example = PurePosixPath(image_files[0])
        raise DataError(
            f"{masks}: no file here is named after an image in {images} ({example.name} wants {example.stem}.png, "
            f"{example.stem}_mask.png or the like; here: {shortened(mask_files, 2)}); "
            f"{_almost(image_files, mask_files) or _SAY_HOW}"
        )
    if one_folder:
        image_files = around.images(image_files, best)
    ids = around.ids(image_files)
    used = {best.of(sample) for sample in ids} & set(mask_files)
    if said is None and not one_folder:
        _refuse_other_endings(masks, mask_files, used, best, ids)
    root = Path(os.path.commonpath([images, masks]))
    endings = sorted({_ending(name) for name in image_files})
    image = f"{around.before}{{id}}{around.after}{endings[0]}" if len(endings) == 1 else "{id}"
    field = "{id}" if len(endings) == 1 or around.whole else "{stem}"
    return Naming(
        root,
        _below(images, root) + image,
        _below(masks, root) + f"{best.before}{field}{best.after}{best.ending}",
        len(used),
        () if one_folder else tuple(name for name in mask_files if name not in used),
    )


def _almost(image_files: Sequence[str], mask_files: Sequence[str]) -> str:
    """What keeps masks from being told: folders that differ, or numbers that are written otherwise; "" if neither."""
    images = {PurePosixPath(name).stem: name for name in image_files}
    for name in mask_files:
        image = images.get(PurePosixPath(name).stem)
        if image and PurePosixPath(image).parent != PurePosixPath(name).parent:
            return (
                f"{name} has the name of {image} but lies in another folder: name the folder of images and that of "
                "masks, with the same folders below them"
            )
    numbered = {_without_zeros(stem): name for stem, name in images.items()}
    for name in mask_files:
        image = numbered.get(_without_zeros(PurePosixPath(name).stem))
        if image:
            return f"the number of {name} is written with other zeros than that of {image}: rename one of the two kinds"
    return ""


def _without_zeros(text: str) -> str:
    return re.sub(r"\d+", lambda number: str(int(number[0])), text)


def other_views(ids: Iterable[str], masked: Collection[str]) -> dict[str, list[str]]:
    """Images without a mask that are other pictures of images: a second mask, superpixels, an overlay. How they are
    named ("{id}_viz") -> their ids.

    Told by an id with something added, the same for at least half of the images with a mask and for two. Ids may carry
    an ending, which is no part of what is compared.
    """
    ids = list(ids)
    known, with_mask = ({_stem(sample) for sample in some} for some in (ids, masked))
    views: defaultdict[str, list[str]] = defaultdict(list)
    bases: defaultdict[str, set[str]] = defaultdict(set)
    for sample in set(ids).difference(masked):
        text = _stem(sample)
        for at in range(1, len(text)):
            front, back = text[:at], text[at:]
            for base, name in ((front, "{id}" + back), (back, front + "{id}")):
                only_folder = name.endswith("/{id}")  # unlabeled/1.jpg beside 1.jpg: numbered anew
                if base in known and not only_folder and not _cuts_a_number(text, at, at):
                    views[name].append(sample)
                    bases[name].add(base)
    enough = max(2, len(with_mask) / 2)
    return {name: sorted(found) for name, found in sorted(views.items()) if len(bases[name] & with_mask) >= enough}


def _refuse_other_endings(
    masks: Path, mask_files: Sequence[str], used: Collection[str], best: _Affixes, ids: Iterable[str]
) -> None:
    """Raises DataError where images have no mask only because theirs ends otherwise (.PNG, .tif) than the others'."""
    missing = {best.of(sample).removesuffix(best.ending) for sample in ids if best.of(sample) not in used}
    others = [name for name in mask_files if name not in used and name.removesuffix(_ending(name)) in missing]
    if others:
        raise DataError(
            f"{masks}: {counted(len(used), 'mask')} with the ending {best.ending}, {len(others)} with another "
            f"({shortened(others)}); give all masks one ending, or say which are meant (--mask-name)"
        )


def _files(folder: Path, other: Path, outlines: Sequence[str] = ()) -> list[str]:
    """Pictures below a folder, without those of the ``other`` folder where that lies in this one."""
    if outlines and not scan(folder).images:
        raise DataError(f"{folder}: no image in this folder{_drawn_first(outlines)}")
    found = list(find_images(folder).images)
    if other != folder and other.is_relative_to(folder):
        inside = _below(other, folder)
        found = [name for name in found if not name.startswith(inside)]
    if not found:
        raise DataError(f"{folder}: no image in this folder, beside those in {other}")
    return found


def _outlines(masks: Path, image_files: Sequence[str]) -> list[str]:
    """Files in the place of masks that describe polygons or boxes: JSON, or XML and text named after an image."""
    if not masks.is_dir():
        return [masks.name] if _ending(masks.name).lower() in _OUTLINES else []
    stems = {PurePosixPath(name).stem for name in image_files}
    others = [
        name for name in scan(masks).left_out.get(OTHER, ()) if _ending(name).lower() in (*_OUTLINES, ".xml", ".txt")
    ]
    return [name for name in others if _ending(name).lower() in _OUTLINES or PurePosixPath(name).stem in stems]


def _drawn_first(outlines: Sequence[str]) -> str:
    if not outlines:
        return ""
    return (
        f", but {counted(len(outlines), 'file')} of annotations ({shortened(outlines, 2)}): polygons must be drawn as "
        "PNG masks first, one for each image, whose pixels hold 0, 1, 2, ... (LabelMe: labelme2voc.py; COCO: annToMask "
        "of pycocotools)"
    )


def _below(folder: Path, root: Path) -> str:
    """``images/`` for a folder below ``root``, "" for ``root`` itself."""
    path = folder.relative_to(root).as_posix()
    return "" if path == "." else f"{path}/"


def _parsed(mask_name: str) -> _Affixes:
    parts = mask_name.replace("{stem}", "{id}").split("{id}")
    ending = PurePosixPath(parts[-1]).suffix or (parts[-1] if parts[-1].startswith(".") else "")
    if len(parts) != 2 or not ending:
        raise ConfigError(f"--mask-name: expected {{id}} once and an ending ('{{id}}_label.png'), got {mask_name!r}")
    return _Affixes(parts[0], parts[1].removesuffix(ending), ending)


def _best(
    image_files: Sequence[str], mask_files: Sequence[str], one_folder: bool, said: _Affixes | None
) -> tuple[_Around, _Affixes | None]:
    """What images have around their ids, and how masks are named by ids: the naming that gives most images a mask."""
    there = set(mask_files)
    best, most = (_Around(), None), 0
    for around in _around_ids(image_files):
        if most and not around.whole:
            break  # what images share is part of an id where that gives masks
        candidates = [said] if said else _candidates(around.ids(image_files), mask_files)
        fitting = {}
        for affixes in candidates:
            of_images = around.images(image_files, affixes) if one_folder else image_files
            if one_folder and not (affixes.added or around.whole) and len(of_images) == len(image_files):
                continue  # every image would be its own mask
            ids = {sample for sample in around.ids(of_images) if affixes.of(sample) in there}
            if ids:
                fitting[affixes] = ids
        if fitting:
            order = sorted(fitting, key=lambda a: (-len(fitting[a]), a.added, a.ending != ".png", a))
            _refuse_several(order, fitting)
            if len(fitting[order[0]]) > most:
                best, most = (around, order[0]), len(fitting[order[0]])
    return best


def _around_ids(image_files: Sequence[str]) -> Iterator[_Around]:
    """Nothing; whole names (1.png.png, 2.jpg.png) where endings differ; else what all images share in front of and
    behind what tells them apart ("_image" in 1_image.png).
    """
    yield _Around()
    if len({_ending(name) for name in image_files}) > 1:
        yield _Around(whole=True)
        return
    stems = [_stem(name) for name in image_files]
    if len(stems) < 2:
        return
    front, back = _common_start(stems), _common_start([stem[::-1] for stem in stems])[::-1]
    before = front[: max(front.rfind(c) for c in _SEPARATORS) + 1] if not any("/" in stem for stem in stems) else ""
    starts = [at for at in map(back.find, _SEPARATORS) if at >= 0]
    after = back[min(starts) :] if starts else ""
    yield from [pair for pair in (_Around("", after), _Around(before), _Around(before, after)) if any(pair)]


def _common_start(texts: Sequence[str]) -> str:
    """Between the first and the last in order lie all others, and begin as these two do."""
    first, last = min(texts), max(texts)
    same = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, min(len(first), len(last)))]


def _candidates(stems: Collection[str], mask_files: Sequence[str]) -> list[_Affixes]:
    """The namings under which most of some masks hold an image's id, the most frequent first."""
    known = set(stems)
    counts: Counter[_Affixes] = Counter()
    step = max(1, len(mask_files) // _LOOKED_AT)
    for name in mask_files[::step]:
        text, ending = _stem(name), _ending(name)
        for start in range(len(text)):
            for stop in range(start + 1, len(text) + 1):
                if text[start:stop] in known and not _cuts_a_number(text, start, stop):
                    counts[_Affixes(text[:start], text[stop:], ending)] += 1
    return [affixes for affixes, _ in counts.most_common(20)]


def _cuts_a_number(text: str, start: int, stop: int) -> bool:
    """Whether a part of a name begins or ends amid digits: 1001 is no mask of image 1."""
    borders = (text[at - 1 : at + 1] for at in (start, stop))
    return any(len(border) == 2 and border.isdigit() for border in borders)


def _refuse_several(order: Sequence[_Affixes], fitting: dict[_Affixes, set[str]]) -> None:
    """Several masks of most images: only the owner knows which one is meant. A plain name is."""
    best = order[0]
    others = [a for a in order[1:] if len(fitting[a] & fitting[best]) > len(fitting[best]) / 2]
    if others and best.added:
        example = min(fitting[others[0]] & fitting[best])
        raise DataError(
            f"{counted(1 + len(others), 'mask')} of one image: {best.of(example)}, {others[0].of(example)}; say which "
            f"with --mask-name '{best.of('{id}')}' (one mask with all classes is expected)"
        )


def _is_mask(name: str, affixes: _Affixes) -> bool:
    """Whether a file in a folder of images and masks is named as masks are."""
    stem = _stem(name)
    if not affixes.added:
        return _ending(name) == affixes.ending and affixes.ending.lower() not in _LOSSY
    fits = stem.startswith(affixes.before) and stem.endswith(affixes.after) and len(stem) > affixes.added
    return fits and _ending(name) == affixes.ending


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix


def _stem(name: str) -> str:
    """The path without the ending: "deep/a" for deep/a.png."""
    return name.removesuffix(_ending(name))
