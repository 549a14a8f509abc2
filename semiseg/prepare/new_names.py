"""Which mask belongs to which image, told by their names: from two folders to the paths that a data set describes."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from semiseg.common.errors import ConfigError, DataError
from semiseg.common.text import counted, shortened
from semiseg.data.discover import OTHER, find_images, scan
from semiseg.data.templates import mask_template
from semiseg.prepare.new_affixes import Affixes, Around, best_naming, cuts_a_number, ending_of, stem_of, told_by_words

_OUTLINES = (".json", ".geojson", ".ndjson")
_SAY_HOW = "--mask-name '{id}_x.png' says how masks are named"


class Naming(NamedTuple):
    """``image`` and ``mask``: paths below ``root``, as dataset.custom has them. ``pairs``: images with a mask.

    ``unused``: files in the folder of masks that are no image's mask.
    """

    root: Path
    image: str
    mask: str
    pairs: int
    unused: tuple[str, ...]


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
    match = _match(image_files, mask_files, one_folder, said)
    if match is None:
        raise DataError(_no_mask(images, masks, image_files, mask_files, outlines))
    if one_folder and not match.mixed:
        _refuse_masks_among_images(images, image_files, match)
    return _described(images, masks, match, check_endings=said is None)


class _Match(NamedTuple):
    """``around`` and ``affixes``: how images and masks are named. image_files, mask_files: what each was looked for in.

    mixed: the files of one folder, which the names of masks tell from images.
    """

    around: Around
    affixes: Affixes
    image_files: Sequence[str]
    mask_files: Sequence[str]
    mixed: bool


def _match(
    image_files: Sequence[str], mask_files: Sequence[str], one_folder: bool, said: Affixes | None
) -> _Match | None:
    """The naming that gives most images a mask; None where none gives any. Of one folder the files are the same."""
    if not (one_folder and said and said.mask_folder):
        around, affixes = best_naming(image_files, mask_files, one_folder, said)
        if affixes:
            images = around.images(image_files, affixes) if one_folder else image_files
            return _Match(around, affixes, images, mask_files, one_folder)
    parted = told_by_words(image_files, said) if one_folder else ([], [])
    around, affixes = best_naming(*parted, one_folder=False, said=said) if all(parted) else (Around(), None)
    return _Match(around, affixes, *parted, False) if affixes else None


def _described(images: Path, masks: Path, match: _Match, check_endings: bool) -> Naming:
    """As dataset.custom has it. Raises: DataError where some masks have another ending, if that is checked."""
    around, affixes, image_files, mask_files, mixed = match
    ids = around.ids(image_files)
    used = {affixes.of(sample) for sample in ids} & set(mask_files)
    if check_endings and not mixed:
        _refuse_other_endings(masks, mask_files, used, affixes, ids)
    root = Path(os.path.commonpath([images, masks]))
    endings = sorted({ending_of(name) for name in image_files})
    image = f"{around.before}{{id}}{around.after}{endings[0]}" if len(endings) == 1 else "{id}"
    field = "id" if len(endings) == 1 or around.whole else "stem"
    return Naming(
        root,
        _below(images, root) + image,
        _below(masks, root) + affixes.written(field),
        len(used),
        () if mixed else tuple(name for name in mask_files if name not in used),
    )


def _no_mask(
    images: Path, masks: Path, image_files: Sequence[str], mask_files: Sequence[str], outlines: Sequence[str]
) -> str:
    """What is wrong where no file is the mask of an image, and how to mend it."""
    if outlines:
        return f"{masks}: no file here is a mask of an image in {images}{_drawn_first(outlines)}"
    example = PurePosixPath(image_files[0])
    return (
        f"{masks}: no file here is named after an image in {images} ({example.name} wants {example.stem}.png, "
        f"{example.stem}_mask.png or the like; here: {shortened(mask_files, 2)}); "
        f"{_almost(image_files, mask_files) or _SAY_HOW}"
    )


def _almost(image_files: Sequence[str], mask_files: Sequence[str]) -> str:
    """What keeps masks from being told: one for each object, folders that differ, or numbers that are written
    otherwise; "" if none of it.
    """
    if of_objects := _of_objects(image_files, mask_files):
        return of_objects
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
        if image and PurePosixPath(image).stem != PurePosixPath(name).stem:
            return f"the number of {name} is written with other zeros than that of {image}: rename one of the two kinds"
    return ""


def _of_objects(image_files: Sequence[str], mask_files: Sequence[str]) -> str:
    """What to do with 1/images/1.png beside 1/masks/a.png, 1/masks/b.png, ...; "" where there is none of it."""
    images, masks = (image_files, mask_files) if image_files != mask_files else told_by_words(image_files)
    of_image, of_masks = (Counter(str(PurePosixPath(name).parent.parent) for name in some) for some in (images, masks))
    several = [place for place in of_image if of_image[place] == 1 and of_masks[place] > 1]
    if not several or len(several) < len(of_image) / 2:
        return ""
    return (
        f"{several[0]} has {of_masks[several[0]]} masks of one image: masks of single objects must be drawn into one "
        "mask for each image first, whose pixels hold 0, 1, 2, ..."
    )


def _without_zeros(text: str) -> str:
    return re.sub(r"\d+", lambda number: str(int(number[0])), text)


def other_views(ids: Iterable[str], masked: Collection[str]) -> dict[str, list[str]]:
    """Images without a mask that are other pictures of images: a second mask, superpixels, an overlay. How they are
    named ("{id}_viz") -> their ids.

    Told by an id with something added, the same for at least half of the images with a mask and for two. Ids may carry
    an ending, which is no part of what is compared.
    """
    ids = list(ids)
    known, with_mask = ({stem_of(sample) for sample in some} for some in (ids, masked))
    views: defaultdict[str, list[str]] = defaultdict(list)
    bases: defaultdict[str, set[str]] = defaultdict(set)
    for sample in set(ids).difference(masked):
        text = stem_of(sample)
        for at in range(1, len(text)):
            front, back = text[:at], text[at:]
            for base, name in ((front, "{id}" + back), (back, front + "{id}")):
                only_folder = name.endswith("/{id}")  # unlabeled/1.jpg beside 1.jpg: numbered anew
                if base in known and not only_folder and not cuts_a_number(text, at, at):
                    views[name].append(sample)
                    bases[name].add(base)
    enough = max(2, len(with_mask) / 2)
    return {name: sorted(found) for name, found in sorted(views.items()) if len(bases[name] & with_mask) >= enough}


def _refuse_other_endings(
    masks: Path, mask_files: Sequence[str], used: Collection[str], best: Affixes, ids: Iterable[str]
) -> None:
    """Raises DataError where images have no mask only because theirs ends otherwise (.PNG, .tif) than the others'."""
    missing = {best.of(sample).removesuffix(best.ending) for sample in ids if best.of(sample) not in used}
    others = [name for name in mask_files if name not in used and name.removesuffix(ending_of(name)) in missing]
    if others:
        raise DataError(
            f"{masks}: {counted(len(used), 'mask')} with the ending {best.ending}, {len(others)} with another "
            f"({shortened(others)}); give all masks one ending, or say which are meant (--mask-name)"
        )


def _refuse_masks_among_images(folder: Path, files: Sequence[str], match: _Match) -> None:
    """Raises DataError where files that are called masks are none by ``match``, and would be taken for images."""
    others = [name for name in files if not match.affixes.fit(name) and match.around.fit(name)]
    called = sorted(set(others).difference(match.image_files))
    if called:
        raise DataError(
            f"{folder}: {counted(len(called), 'file')} called masks ({shortened(called, 2)}) beside those named "
            f"{match.affixes.written()}, and would be taken for images; name a folder of images and one of masks, or "
            "move them away"
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
        return [masks.name] if ending_of(masks.name).lower() in _OUTLINES else []
    stems = {PurePosixPath(name).stem for name in image_files}
    others = [
        name for name in scan(masks).left_out.get(OTHER, ()) if ending_of(name).lower() in (*_OUTLINES, ".xml", ".txt")
    ]
    return [name for name in others if ending_of(name).lower() in _OUTLINES or PurePosixPath(name).stem in stems]


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


def _parsed(mask_name: str) -> Affixes:
    ending = PurePosixPath(mask_name.rpartition("}")[2]).suffix or mask_name.rpartition("}")[2]
    try:
        template = mask_template(mask_name)
        if not ending.startswith("."):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"--mask-name: expected {{id}} once and an ending ('{{id}}_label.png'), got {mask_name!r}"
        ) from None
    after = template.after.removesuffix(ending)
    return Affixes(template.before, after, ending, template.image_folder, template.mask_folder)
