"""Cityscapes' labelTrainIds from labelIds or from polygons, by the official table (cityscapesScripts, labels.py)."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from semiseg.common.errors import DataError
from semiseg.common.files import matching, replace_file
from semiseg.common.text import counted
from semiseg.data.decode import BROKEN_PICTURE
from semiseg.data.formats import changes_values
from semiseg.data.image_files import read_bytes
from semiseg.data.pictures import index_png
from semiseg.data.specs import SPECS

IMAGES = {"train": 2975, "val": 500}
_IGNORE = 255

# Every official label but "license plate" (id -1, never drawn), in the order of its id 0..33. Those that are also names
# of SPECS["cityscapes"].classes are trained on, under their place there; all others are ignored.
LABELS = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road"),
    *("sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole"),
    *("polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck"),
    *("bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)
_NOT_DRAWN = "license plate"
_CLASSES = SPECS["cityscapes"].classes
TRAIN_ID = {name: _CLASSES.index(name) if name in _CLASSES else _IGNORE for name in LABELS}
_TABLE = np.full(256, _IGNORE, np.uint8)
_TABLE[: len(LABELS)] = list(TRAIN_ID.values())


def find_cityscapes(folder: Path) -> Path:
    """The folder that holds gtFine, given it, gtFine itself or the folder above. Raises: DataError without one."""
    for candidate in (folder, folder.parent if folder.name == "gtFine" else folder, folder / "cityscapes"):
        if (candidate / "gtFine").is_dir():
            return candidate
    raise DataError(f"{folder}: no Cityscapes here; expected the folder that holds leftImg8bit and gtFine")


def annotations(root: Path, part: str) -> dict[str, Path]:
    """ "<part>/<city>/<city>_<number>_<number>" -> labelIds picture, or polygons where only those are there; sorted."""
    folder, file_of = root / "gtFine" / part, {}
    for ending in ("_gtFine_polygons.json", "_gtFine_labelIds.png"):  # the later wins
        for path in (path for city in matching(folder, "*") for path in matching(city, f"*{ending}")):
            file_of[f"{part}/{path.parent.name}/{path.name.removesuffix(ending)}"] = path
    return dict(sorted(file_of.items()))


def read_train_ids(path: Path) -> np.ndarray:
    """uint8 H x W of 0..18 and 255 from a labelIds picture or a polygons file.

    Raises: DataError naming the file if it is damaged or holds other labels.
    """
    return _from_polygons(path) if path.suffix == ".json" else _from_label_ids(path)


def _from_label_ids(path: Path) -> np.ndarray:
    data = read_bytes(path, "mask")
    try:
        lossy = changes_values(data)
        with Image.open(io.BytesIO(data)) as picture:
            ids = np.asarray(picture)
    except BROKEN_PICTURE:
        raise DataError(f"{path}: not a complete, readable picture; extract gtFine_trainvaltest.zip again") from None
    if lossy:
        raise DataError(f"{path}: {lossy} changes label values; extract gtFine_trainvaltest.zip again")
    if ids.ndim != 2 or ids.dtype != np.uint8 or ids.max(initial=0) >= len(LABELS):
        raise DataError(f"{path}: holds something else than label ids 0..33; extract gtFine_trainvaltest.zip again")
    return _TABLE[ids]


def _from_polygons(path: Path) -> np.ndarray:
    """Polygons painted one over the other in the order of the file, as the official json2labelImg does.

    Objects of no or one point have no area and change nothing; ``without_area`` names them.
    """
    data = read_bytes(path, "mask")
    try:
        content = json.loads(data)
        picture = Image.new("L", (int(content["imgWidth"]), int(content["imgHeight"])), _IGNORE)
        drawer = ImageDraw.Draw(picture)
        for thing in content["objects"]:
            name = _known_name(thing["label"], path)
            if name != _NOT_DRAWN and not thing.get("deleted") and len(thing["polygon"]) > 1:
                drawer.polygon([(x, y) for x, y in thing["polygon"]], fill=TRAIN_ID[name])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: not a readable polygons file; extract gtFine_trainvaltest.zip again") from None
    return np.array(picture)


def without_area(path: Path) -> list[str]:
    """ "person (object 3, 1 point)" for each object of a polygons file that has no area. An unreadable file has none:
    ``read_train_ids`` refuses it.
    """
    try:
        things = json.loads(read_bytes(path, "mask"))["objects"]
        return [
            f"{thing['label']} (object {number}, {counted(len(thing['polygon']), 'point')})"
            for number, thing in enumerate(things)
            if len(thing["polygon"]) < 2 and not thing.get("deleted")
        ]
    except (DataError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _known_name(label: str, path: Path) -> str:
    """The official name; "cargroup" (several cars drawn as one) means car."""
    for name in (label, label.removesuffix("group")):
        if name in TRAIN_ID or name == _NOT_DRAWN:
            return name
    raise DataError(f"{path}: {label!r} is no label of Cityscapes")


@dataclass(frozen=True)
class TrainIdWriter:
    """Makes the labelTrainIds picture of a sample below ``out`` (gtFine itself, or a folder like it)."""

    root: Path
    out: Path
    overwrite: bool = False

    def __call__(self, item: tuple[str, Path]) -> str:
        """ "written", or "kept" where the right one is there already.

        Raises: DataError for a damaged annotation, one of another size than its image, or another file in the place;
            UserError if it cannot be written.
        """
        sample, source = item
        labels = read_train_ids(source)
        self._check_size(sample, source, labels)
        target = self.out / f"{sample}_gtFine_labelTrainIds.png"
        if target.exists() and not self.overwrite:
            if not _holds(target, labels):
                raise DataError(
                    f"{target}: another file is there already; --overwrite replaces it, --out writes elsewhere"
                )
            return "kept"
        replace_file(target, index_png(labels))
        return "written"

    def _check_size(self, sample: str, source: Path, labels: np.ndarray) -> None:
        path = self.root / SPECS["cityscapes"].image_path(sample)
        if not path.is_file():  # images may come later; the tool counts them
            return
        try:
            with Image.open(io.BytesIO(read_bytes(path, "image"))) as picture:
                width, height = picture.size
        except BROKEN_PICTURE:
            raise DataError(f"{path}: not a readable image; extract leftImg8bit_trainvaltest.zip again") from None
        if labels.shape != (height, width):
            raise DataError(
                f"{source}: {labels.shape[1]} x {labels.shape[0]} pixels (width x height), its image {width} x {height}"
            )


def _holds(path: Path, labels: np.ndarray) -> bool:
    try:
        with Image.open(io.BytesIO(read_bytes(path, "mask"))) as picture:
            return picture.mode in ("L", "P") and np.array_equal(np.asarray(picture), labels)
    except BROKEN_PICTURE:
        return False
