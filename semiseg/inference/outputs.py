"""What is written for each predicted image: pictures, annotations, probabilities, a line of class shares.

DIR/index/NAME.png    format png: class indices, with the data set's palette
DIR/color/NAME.png    the same in colours
DIR/overlay/NAME.jpg  colours over the image
DIR/coco.json         format coco: one file for all images
DIR/labelme/NAME.json    format labelme
DIR/probabilities/NAME.npz   where asked for: "probabilities", float16 C x H x W; "classes", their names
DIR/shares.csv        a line an image: size and the percentage of pixels of each class
DIR/classes.csv       index, name and colour of each class
"""

import contextlib
import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from semiseg.common.files import cannot_write, replace_file
from semiseg.common.os_errors import refuse_special
from semiseg.data.pictures import Painter, PredictionWriter, jpeg, png
from semiseg.data.specs import DatasetSpec
from semiseg.inference.annotations import coco_file, write_labelme
from semiseg.inference.images import Item

FORMATS = ("png", "coco", "labelme")
_JPEG_LIMIT = 65535  # pixels a side


class ResultWriter:
    """Writes results one image after the other in some of ``FORMATS``; a context manager that closes what grows.

    Raises: UserError wherever a file cannot be written.
    """

    def __init__(self, out: Path, spec: DatasetSpec, formats: Collection[str] = ("png",)):
        self._out, self._spec, self._painter, self._formats = out, spec, Painter(spec), formats
        self._write_classes = PredictionWriter(out, spec)
        self._open = contextlib.ExitStack()
        replace_file(out / "classes.csv", _classes_table(spec))
        self._table = out / "shares.csv"
        with self._told():
            if self._table.exists():
                refuse_special(self._table)
            self._file = self._table.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        self._coco = self._open.enter_context(coco_file(out / "coco.json", spec)) if "coco" in formats else None
        self._shares = csv.writer(self._file, lineterminator="\n")
        self._line("image", "width", "height", *spec.classes)

    def write(self, item: Item, image: np.ndarray, classes: np.ndarray, probabilities: np.ndarray | None) -> None:
        """All files of one image: uint8 H x W x 3 RGB, uint8 H x W, and float16 C x H x W where they are kept."""
        name = item.name
        if "png" in self._formats:
            self._write_pictures(name, image, classes)
        if self._coco:
            self._coco.write(item, classes)
        if "labelme" in self._formats:
            write_labelme(self._out / "labelme" / f"{name}.json", item, classes, self._spec)
        if probabilities is not None:
            packed = io.BytesIO()
            np.savez_compressed(packed, probabilities=probabilities, classes=np.array(self._spec.classes))
            replace_file(self._out / "probabilities" / f"{name}.npz", packed.getvalue())
        counts = np.bincount(classes.ravel(), minlength=self._spec.num_classes)
        shares = [f"{100 * count / classes.size:.4f}" for count in counts]
        self._line(name, classes.shape[1], classes.shape[0], *shares)

    def _write_pictures(self, name: str, image: np.ndarray, classes: np.ndarray) -> None:
        self._write_classes(name, classes)
        overlay = self._painter.overlay(image, classes)
        fits = max(classes.shape) <= _JPEG_LIMIT
        suffix, content = ("jpg", jpeg(overlay)) if fits else ("png", png(overlay))
        replace_file(self._out / "overlay" / f"{name}.{suffix}", content)

    def _line(self, *cells: object) -> None:
        with self._told():
            self._shares.writerow(cells)
            self._file.flush()  # a stopped command leaves the lines of what is done

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._table, error) from error

    def __enter__(self) -> "ResultWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        with contextlib.suppress(OSError):  # what could not be written has been told
            self._file.close()
        self._open.__exit__(kind, error, trace)


def _classes_table(spec: DatasetSpec) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("index", "class", "red", "green", "blue"))
    table.writerows((index, name, *spec.palette[index]) for index, name in enumerate(spec.classes))
    return text.getvalue()
