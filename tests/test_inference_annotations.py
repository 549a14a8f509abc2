"""Predictions in the formats of annotation tools give the same pixels back."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from semiseg.common.errors import UserError
from semiseg.data.specs import custom_spec, get_spec
from semiseg.inference.annotations import box_of, class_runs, coco_file, polygons, write_labelme
from semiseg.inference.images import Item

SPEC = get_spec("synthetic")  # class 0 is background


def blocks(seed, height=23, width=31, cell=3, classes=6):
    """Regions of every form: noise in cells, and single pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-height // cell), -(-width // cell)))
    picture = np.kron(coarse, np.ones((cell, cell), int))[:height, :width].astype(np.uint8)
    picture[rng.random(picture.shape) < 0.05] = 1
    return picture


RINGS = np.zeros((9, 12), np.uint8)
RINGS[1:8, 1:11], RINGS[2:7, 2:10], RINGS[3:6, 3:9], RINGS[4, 5] = 1, 0, 2, 0
# A ring of 1 whose corner is a touch of two pixels, and 2 inside and outside that touch there as well.
TOUCHING = np.full((6, 6), 2, np.uint8)
TOUCHING[1:5, 1:5], TOUCHING[2:4, 2:4], TOUCHING[1, 1] = 1, 2, 2
PICTURES = [
    blocks(0),
    blocks(1, cell=1),
    blocks(2, cell=7),
    RINGS,
    TOUCHING,
    np.zeros((4, 5), np.uint8),
    np.full((1, 1), 3, np.uint8),
]


def decoded(segmentation):
    """H x W bool of uncompressed run lengths, by COCO's own rule."""
    flat, value = [], 0
    for count in segmentation["counts"]:
        flat += [value] * count
        value = 1 - value
    height, width = segmentation["size"]
    return np.array(flat, bool).reshape(width, height).T


def filled(shape, shapes, background):
    """What LabelMe makes of polygons: each filled with its border, one over the other."""
    canvas = Image.new("L", (shape[1], shape[0]), background)
    for index, points in shapes:
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in points], outline=index, fill=index)
    return np.asarray(canvas)


@pytest.mark.parametrize("classes", PICTURES)
def test_run_lengths_give_every_class_back(classes):
    runs = class_runs(classes)
    assert list(runs) == np.unique(classes).tolist()
    for index, counts in runs.items():
        mask = classes == index
        assert np.array_equal(decoded({"counts": counts.tolist(), "size": classes.shape}), mask)
        assert (counts[1:] > 0).all()
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        sides = [int(ends[-1] - ends[0] + 1) for ends in (columns, rows)]
        assert box_of(counts, classes.shape[0]) == [columns[0], rows[0], *sides]


def test_pycocotools_reads_the_run_lengths():
    mask_api = pytest.importorskip("pycocotools.mask")
    for classes in PICTURES:
        for index, counts in class_runs(classes).items():
            rle = mask_api.frPyObjects({"size": list(classes.shape), "counts": counts.tolist()}, *classes.shape)
            assert np.array_equal(mask_api.decode(rle), classes == index)
            assert mask_api.toBbox(rle).tolist() == box_of(counts, classes.shape[0])


def test_a_coco_file_holds_images_categories_and_a_mask_for_each_class(tmp_path):
    pictures = {"a": blocks(0), "deep/b": blocks(1, 40, 17), "empty": np.zeros((3, 4), np.uint8)}
    with coco_file(tmp_path / "coco.json", SPEC) as writer:
        for name, classes in pictures.items():
            writer.write(Item(tmp_path / f"photos/{name}.jpg", name), classes)
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["coco.json"]
    assert [(entry["id"], entry["name"]) for entry in content["categories"]] == list(enumerate(SPEC.classes, 1))
    images = {image["id"]: image for image in content["images"]}
    assert [image["file_name"] for image in images.values()] == ["a.jpg", "deep/b.jpg", "empty.jpg"]
    drawn = {number: np.zeros((image["height"], image["width"]), np.uint8) for number, image in images.items()}
    for number, annotation in enumerate(content["annotations"], 1):
        mask = decoded(annotation["segmentation"])
        assert (annotation["id"], annotation["area"], annotation["iscrowd"]) == (number, mask.sum(), 0)
        assert annotation["category_id"] != 1  # background
        drawn[annotation["image_id"]][mask] = annotation["category_id"] - 1
    for picture, classes in zip(drawn.values(), pictures.values(), strict=True):
        assert np.array_equal(picture, classes)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
def test_a_stopped_command_leaves_a_whole_file_of_what_is_done(tmp_path, error):
    def work():
        with coco_file(tmp_path / "coco.json", SPEC) as writer:
            writer.write(Item(tmp_path / "a.jpg", "a"), blocks(0))
            raise error

    with pytest.raises(error):
        work()
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 1


def test_a_fault_of_ours_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), coco_file(tmp_path / "coco.json", SPEC):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("background", [0, None])
@pytest.mark.parametrize("classes", PICTURES)
def test_polygons_one_over_the_other_give_the_picture_back(classes, background):
    shapes = polygons(classes, background)
    assert all(len(points) >= 3 for _, points in shapes)
    assert np.array_equal(filled(classes.shape, shapes, 255 if background is None else background), classes)


def test_background_is_drawn_in_holes_alone():
    assert [index for index, _ in polygons(RINGS, 0)] == [1, 0, 2, 0]
    assert polygons(np.zeros((4, 5), np.uint8), 0) == []


def test_a_labelme_file_names_its_image_from_its_own_folder(tmp_path):
    spec = custom_spec("two", ["road", "car"], "{id}.jpg", "{id}.png")
    image = tmp_path / "my photos/a.jpg"
    classes = np.array([[0, 0, 0], [0, 1, 0]], np.uint8)
    write_labelme(tmp_path / "out/labelme/deep/a.json", Item(image, "deep/a"), classes, spec)
    content = json.loads((tmp_path / "out/labelme/deep/a.json").read_text())
    assert (tmp_path / "out/labelme/deep" / content["imagePath"]).resolve() == image.resolve()
    assert (content["imageHeight"], content["imageWidth"], content["imageData"]) == (2, 3, None)
    assert [shape["label"] for shape in content["shapes"]] == ["road", "car"]
    assert {shape["shape_type"] for shape in content["shapes"]} == {"polygon"}
    assert content["shapes"][1]["points"] == [[1, 1]] * 3
