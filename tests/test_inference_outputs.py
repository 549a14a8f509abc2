"""The files that are written for each image."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.common.errors import UserError
from semiseg.data.specs import get_spec
from semiseg.inference.images import Item
from semiseg.inference.outputs import ResultWriter

SPEC = get_spec("synthetic")


def item(name):
    return Item(Path(f"/photos/{name}.jpg"), name)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_each_image_leaves_pictures_and_a_line(tmp_path):
    classes = np.zeros((4, 10), np.uint8)
    classes[0] = 5
    image = np.full((4, 10, 3), 100, np.uint8)
    probabilities = np.full((6, 4, 10), 1 / 6, np.float16)
    with ResultWriter(tmp_path, SPEC) as writer:
        writer.write(item("deep/x"), image, classes, probabilities)
        writer.write(item("a, b"), image, classes, None)
    written = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert written == sorted(
        [
            *("classes.csv", "shares.csv", "probabilities/deep/x.npz"),
            *(f"{kind}/{name}.png" for kind in ("index", "color") for name in ("deep/x", "a, b")),
            *("overlay/deep/x.jpg", "overlay/a, b.jpg"),
        ]
    )
    with Image.open(tmp_path / "index/deep/x.png") as index:
        assert np.array_equal(np.asarray(index), classes)
    with Image.open(tmp_path / "overlay/deep/x.jpg") as overlay:
        assert overlay.size == (10, 4)
    with np.load(tmp_path / "probabilities/deep/x.npz") as packed:
        assert np.array_equal(packed["probabilities"], probabilities)
        assert tuple(packed["classes"]) == SPEC.classes
    assert rows(tmp_path / "shares.csv") == [
        ["image", "width", "height", *SPEC.classes],
        ["deep/x", "10", "4", "75.0000", "0.0000", "0.0000", "0.0000", "0.0000", "25.0000"],
        ["a, b", "10", "4", "75.0000", "0.0000", "0.0000", "0.0000", "0.0000", "25.0000"],
    ]
    assert rows(tmp_path / "classes.csv")[2] == ["1", "disk", "239", "83", "80"]


@pytest.mark.parametrize(
    ("formats", "written"),
    [
        (("coco",), {"coco.json"}),
        (("labelme",), {"labelme/deep/x.json"}),
        (("png", "labelme"), {"labelme/deep/x.json", "index/deep/x.png", "color/deep/x.png", "overlay/deep/x.jpg"}),
    ],
)
def test_only_what_was_asked_for_is_written(tmp_path, formats, written):
    with ResultWriter(tmp_path, SPEC, formats) as writer:
        writer.write(item("deep/x"), np.zeros((4, 10, 3), np.uint8), np.ones((4, 10), np.uint8), None)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == written | {"classes.csv", "shares.csv"}
    if "coco" in formats:
        assert json.loads((tmp_path / "coco.json").read_text())["images"][0]["file_name"] == "deep/x.jpg"


def test_a_stopped_command_leaves_the_lines_of_what_is_done(tmp_path):
    writer = ResultWriter(tmp_path, SPEC)
    writer.write(item("x"), np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), None)
    assert len(rows(tmp_path / "shares.csv")) == 2
    writer.__exit__(None, None, None)


def test_what_cannot_be_written_says_so(tmp_path):
    (tmp_path / "shares.csv").mkdir()
    with pytest.raises(UserError, match=r"shares.csv: cannot be written"):
        ResultWriter(tmp_path, SPEC)
