"""Predictions as annotation tools open them: COCO run lengths and LabelMe polygons.

Shapes: H x W, the upright image's height and width in pixels. Formats: https://cocodataset.org/#format-data and
https://github.com/wkentaro/labelme.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import cv2
import numpy as np

from semiseg.common.errors import UserError
from semiseg.common.files import replace_file, replacing
from semiseg.data.specs import DatasetSpec
from semiseg.inference.images import Item

_LABELME = "5.5.0"  # the version whose fields are written


def class_runs(classes: np.ndarray) -> dict[int, np.ndarray]:
    """COCO's uncompressed run lengths of each class that occurs in H x W class indices.

    Pixels are read column by column. Lengths of what is outside and inside take turns and begin with outside, so that
    the first is 0 where the class has the upper left pixel.
    """
    pixels = classes.ravel(order="F")
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    stops = np.append(starts[1:], len(pixels))
    class_of = pixels[starts]
    runs = {}
    for index in np.unique(class_of).tolist():
        chosen = class_of == index
        borders = np.stack([starts[chosen], stops[chosen]], 1).ravel()
        if borders[-1] < len(pixels):
            borders = np.append(borders, len(pixels))
        runs[index] = np.diff(borders, prepend=0)
    return runs


def box_of(runs: np.ndarray, height: int) -> list[int]:
    """Left, top, width and height of the pixels inside of a class's run lengths."""
    stops = np.cumsum(runs)[1::2]
    starts, last = stops - runs[1::2], stops - 1
    left, right = int(starts[0] // height), int(last[-1] // height)
    if (starts // height != last // height).any():  # from the bottom of a column to the top of the next
        return [left, 0, right - left + 1, height]
    top = int((starts % height).min())
    return [left, top, right - left + 1, int((last % height).max()) - top + 1]


def background_of(spec: DatasetSpec) -> int | None:
    """The class that only means "nothing", None where there is none."""
    names = [name.lower() for name in spec.classes]
    return names.index("background") if "background" in names else None


class CocoWriter:
    """One annotation for each class of an image, its whole mask as uncompressed run lengths; none for background.

    Category ids are class indices + 1. Annotations go to ``file`` as they come and images to ``images``, to be put
    together by ``finish``, so that nothing is held.
    """

    def __init__(self, file: TextIO, images: TextIO, spec: DatasetSpec):
        self._file, self._images, self._background = file, images, background_of(spec)
        self._image_count = self._annotation_count = 0
        categories = [{"id": index + 1, "name": name, "supercategory": ""} for index, name in enumerate(spec.classes)]
        about = {"description": f"predictions of semiseg on {spec.name}"}
        file.write(f'{{"info": {json.dumps(about)},\n"categories": {json.dumps(categories)},\n"annotations": [')

    def write(self, item: Item, classes: np.ndarray) -> None:
        """The image of uint8 H x W class indices."""
        height, width = classes.shape
        self._image_count += 1
        # Below the folder that was named, as tools know their images.
        name = str(PurePosixPath(item.name).with_name(item.path.name))
        image = {"id": self._image_count, "file_name": name, "width": width, "height": height}
        _add(self._images, image, self._image_count)
        for index, runs in class_runs(classes).items():
            if index != self._background:
                self._annotate(index, runs, height, width)

    def _annotate(self, index: int, runs: np.ndarray, height: int, width: int) -> None:
        self._annotation_count += 1
        annotation = {
            "id": self._annotation_count,
            "image_id": self._image_count,
            "category_id": index + 1,
            "segmentation": {"size": [height, width], "counts": runs.tolist()},
            "area": int(runs[1::2].sum()),
            "bbox": box_of(runs, height),
            "iscrowd": 0,
        }
        _add(self._file, annotation, self._annotation_count)

    def finish(self) -> None:
        """The end of the file: the list of images."""
        self._file.write('\n],\n"images": [')
        self._images.seek(0)
        for line in self._images:
            self._file.write(line)
        self._file.write("\n]}\n")


def _add(file: TextIO, entry: dict[str, Any], number: int) -> None:
    file.write(f"{',' if number > 1 else ''}\n{json.dumps(entry)}")


@contextlib.contextmanager
def coco_file(path: Path, spec: DatasetSpec) -> Iterator[CocoWriter]:
    """A COCO file under way, in place at the end; where the work inside stops early, with what is done by then.

    Raises: UserError if it cannot be written.
    """
    stopped = None
    with (
        replacing(path) as partial,
        partial.open("w", encoding="utf-8") as file,
        tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent) as images,
    ):
        writer = CocoWriter(file, images, spec)
        try:
            yield writer
        except (KeyboardInterrupt, UserError) as error:
            stopped = error
        writer.finish()
    if stopped:
        raise stopped


def polygons(classes: np.ndarray, background: int | None) -> list[tuple[int, np.ndarray]]:
    """(class, n x 2 x and y) that give ``classes`` (uint8 H x W) when they are filled in this order, later ones over
    earlier ones, border included, on a picture of ``background``.

    Each is the outer border of a region, by pixels that touch with a side, through the centres of its pixels. A
    polygon has no holes: what lies in a hole comes later, also regions of the background; others of the background are
    left out. All have at least 3 points, of which a region of one pixel or one line repeats the last.
    """
    regions = [(index, contour) for index in np.unique(classes).tolist() for contour in _outlines(classes == index)]
    # What encloses another region has the larger area.
    regions.sort(key=lambda region: -cv2.contourArea(region[1]))
    canvas = np.full(classes.shape, 255 if background is None else background, np.uint8)
    chosen = []
    for index, contour in regions:
        x, y = contour[0, 0]
        if canvas[y, x] != index:  # all of a region lies in the same hole, or in none
            cv2.drawContours(canvas, [contour], -1, index, cv2.FILLED)
            points = contour[:, 0]
            chosen.append((index, np.pad(points, ((0, max(0, 3 - len(points))), (0, 0)), mode="edge")))
    return chosen


def _outlines(mask: np.ndarray) -> Iterator[np.ndarray]:
    """The outer border of each region of a bool H x W mask, as OpenCV has it: n x 1 x 2."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    for label in range(1, count):
        left, top, width, height = boxes[label, :4].tolist()
        region = (labels[top : top + height, left : left + width] == label).astype(np.uint8)
        yield cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))[0][0]


def write_labelme(path: Path, item: Item, classes: np.ndarray, spec: DatasetSpec) -> None:
    """A LabelMe file that names its image by the way from its own folder. ``classes``: uint8 H x W.

    Raises: UserError if it cannot be written.
    """
    shapes = [
        {
            "label": spec.classes[index],
            "points": points.tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for index, points in polygons(classes, background_of(spec))
    ]
    content = {
        "version": _LABELME,
        "flags": {},
        "shapes": shapes,
        "imagePath": Path(os.path.relpath(item.path, os.path.realpath(path.parent))).as_posix(),
        "imageData": None,
        "imageHeight": classes.shape[0],
        "imageWidth": classes.shape[1],
    }
    replace_file(path, json.dumps(content) + "\n")
