"""Which mask belongs to which image, told by their names: from two folders to the paths that a data set describes."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from semiseg.common.errors import ConfigError, DataError
from semiseg.common.text import counted, shortened
from semiseg.data.discover import OTHER, find_images, scan
from semiseg.data.templates import mask_template
from semiseg.prepare.own.affixes import Affixes, called_masks, ending_of
from semiseg.prepare.own.matching import Match, match_files, other_naming

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
    match = match_files(image_files, mask_files, images == masks, said)
    if match is None:
        raise DataError(_no_mask(images, masks, image_files, mask_files, outlines))
    if said is None:
        _refuse_other_naming(masks, match)
        if images == masks and not match.mixed:
            _refuse_other_masks(masks, match)
    return _described(images, masks, match)


def _described(images: Path, masks: Path, match: Match) -> Naming:
    """As dataset.custom has it."""
    around, affixes = match.around, match.affixes
    root = Path(os.path.commonpath([images, masks]))
    endings = sorted({ending_of(name) for name in match.image_files})
    image = f"{around.before}{{id}}{around.after}{endings[0]}" if len(endings) == 1 else "{id}"
    field = "id" if len(endings) == 1 or around.whole else "stem"
    used = match.used
    return Naming(
        root,
        _below(images, root) + image,
        _below(masks, root) + affixes.written(field),
        len(used),
        () if match.mixed else tuple(name for name in match.mask_files if name not in used),
    )


def _no_mask(
    images: Path, masks: Path, image_files: Sequence[str], mask_files: Sequence[str], outlines: Sequence[str]
) -> str:
    """What is wrong where no file is the mask of an image, and how to mend it."""
    if outlines:
        return f"{masks}: no file here is a mask of an image in {images}{_drawn_first(outlines)}"
    called = called_masks(image_files) if images == masks else []
    example = PurePosixPath(min(set(image_files).difference(called), default=image_files[0]))
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
    numbered = {_numbers(stem): stem for stem in images if _numbers(stem)}
    for name in mask_files:
        mask = PurePosixPath(name).stem
        image = numbered.get(_numbers(mask))
        if image and re.findall(r"\d+", image) != re.findall(r"\d+", mask):
            other = images[image]
            return f"the number of {name} is written with other zeros than that of {other}: rename one of the two kinds"
    return ""


def _of_objects(image_files: Sequence[str], mask_files: Sequence[str]) -> str:
    """What to do with 1/images/1.png beside 1/masks/a.png, 1/masks/b.png, ...; "" where there is none of it."""
    masks = mask_files if image_files != mask_files else called_masks(image_files)
    images = sorted(set(image_files).difference(masks))
    of_image, of_masks = (Counter(str(PurePosixPath(name).parent.parent) for name in some) for some in (images, masks))
    several = [place for place in of_image if of_image[place] == 1 and of_masks[place] > 1]
    if not several or len(several) < len(of_image) / 2:
        return ""
    return (
        f"{several[0]} has {of_masks[several[0]]} masks of one image: masks of single objects must be drawn into one "
        "mask for each image first, whose pixels hold 0, 1, 2, ..."
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def _refuse_other_naming(masks: Path, match: Match) -> None:
    """Raises DataError where images have no mask only because theirs is named otherwise (.PNG, .tif) than others'."""
    other = other_naming(match)
    if other is None:
        return
    affixes, files = other
    kinds = f"named {match.affixes.written()}, {len(files)} named {affixes.written()} ({shortened(files, 2)})"
    mend = "give all masks one kind of name"
    if affixes._replace(ending="") == match.affixes._replace(ending=""):
        kinds = f"with the ending {match.affixes.ending}, {len(files)} with another ({shortened(files)})"
        mend = "give all masks one ending"
    elif affixes.mask_folder or match.affixes.mask_folder:
        mend = "name one folder of images with --images, and that of their masks with --masks"
    most = counted(len(match.used), "mask")
    raise DataError(f"{masks}: {most} {kinds}; {mend}, or say which are meant (--mask-name)")


def _refuse_other_masks(folder: Path, match: Match) -> None:
    """Raises DataError where as many files are called masks as are masks: only the owner knows which are meant."""
    used = match.used
    others = sorted(set(match.mask_files) - used)
    if len(others) >= len(used) / 2:
        raise DataError(
            f"{folder}: {counted(len(used), 'mask')} named {match.affixes.written()}, and "
            f"{counted(len(others), 'file')} called masks that are no image's ({shortened(others, 2)}); name one "
            "folder of images with --images, and that of their masks with --masks"
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
