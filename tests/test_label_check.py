"""Which classes labelled masks show: masks that cannot be meant are named before training."""

import numpy as np
import pytest
from own_data import make_set, mask_of, write_config, write_split
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.config import load
from semiseg.data import build, label_check
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.label_check import LabelsSeen, check_labels, label_problem, see_labels
from semiseg.data.lists import read_split
from semiseg.data.specs import custom_spec

NAMES = [f"{i:02}" for i in range(12)]
SPEC = custom_spec("own", ["ground", "crop", "weed"], "images/{id}.jpg", "masks/{id}.png")
TWO = custom_spec("own", ["no", "yes"], "images/{id}.jpg", "masks/{id}.png")


@pytest.fixture
def folder(tmp_path):
    make_set(tmp_path / "data", count=12)
    write_split(tmp_path, "4", NAMES[:4], NAMES[4:10], NAMES[10:])
    return tmp_path


def paint(folder, change, names=NAMES):
    for name in names:
        Image.fromarray(change(mask_of(name)).astype(np.uint8)).save(folder / f"data/masks/{name}.png")


def part(folder, spec=SPEC, names=NAMES):
    return SegmentationDataset(spec, folder / "data", names)


def quick_check(folder, *overrides, **dataset):
    config, spec = build.complete(load(write_config(folder, split="4", **dataset), overrides))
    return build.quick_check(config, spec, read_split(config, spec))


def test_black_and_white_masks_of_two_classes_are_refused_before_training(folder):
    paint(folder, lambda mask: 255 * (mask > 0))
    two = {"classes": ["no", "yes"], "colors": [[0, 0, 0], [0, 200, 0]]}
    with pytest.raises(DataError) as refused:
        quick_check(folder, custom=two)
    for part_of_it in (
        "no labelled pixel of yes, while ",
        "% of the pixels hold the ignore label 255 (looked at 4 of 4 labelled masks)",
        "mask_kind: color and colors, e.g. [[0, 0, 0], [255, 255, 255]]",
    ):
        assert part_of_it in str(refused.value)
    assert "\n" not in str(refused.value)
    meant = {"classes": ["no", "yes"], "colors": [[0, 0, 0], [255, 255, 255]], "mask_kind": "color"}
    assert quick_check(folder, custom=meant) == []


@pytest.mark.parametrize("value", [255, 100])
def test_a_class_that_is_drawn_with_the_ignore_value_is_named_and_training_goes_on(folder, value):
    paint(folder, lambda mask: np.where(mask == 2, value, mask))
    mask = mask_of(NAMES[0])
    mask[0, 0] = 2
    paint(folder, lambda m: np.where(mask == 2, value, m), NAMES[:1])
    notes = quick_check(folder, ignore_label=value)
    assert len(notes) == 1
    assert "no labelled pixel of weed, while" in notes[0]
    assert f"hold the ignore label {value} (looked at 4 of 4 labelled masks)" in notes[0]


def test_an_unlisted_value_is_refused_by_name_before_training(folder):
    paint(folder, lambda mask: np.where(mask == 1, 128, mask))
    with pytest.raises(DataError, match=r"masks/0\d\.png: label values 128 are neither"):
        quick_check(folder)


def test_a_missing_class_without_ignored_pixels_and_ignored_pixels_without_a_missing_class_are_fine(folder):
    paint(folder, lambda mask: np.minimum(mask, 1))
    assert quick_check(folder) == []
    paint(folder, lambda mask: np.where(np.arange(44) < 3, 255, (mask + np.arange(44)) % 3))
    assert quick_check(folder) == []


def test_only_as_many_masks_are_opened_as_show_every_class(folder, monkeypatch):
    paint(folder, lambda mask: (mask + np.arange(44)) % 3)
    opened = []
    real = label_check.read_mask
    monkeypatch.setattr(label_check, "read_mask", lambda path, *more: opened.append(path) or real(path, *more))
    assert see_labels(part(folder), 0, False).masks == len(opened) == 1
    opened.clear()
    monkeypatch.setattr(label_check, "MOST_MASKS", 5)
    paint(folder, lambda mask: np.where(mask == 2, 255, mask))
    seen = see_labels(part(folder), 0, False)
    assert (seen.masks, seen.listed, len(opened)) == (5, 12, 5)
    assert len({path.name for path in opened}) == 5
    assert "looked at 5 of 12 labelled masks" in label_problem(SPEC, seen).text


@pytest.mark.parametrize("workers", [0, 3])
def test_masks_that_cannot_be_read_are_passed_over_only_if_asked_for(folder, workers):
    (folder / "data/masks/00.png").write_bytes(b"no picture")
    paint(folder, lambda mask: np.minimum(mask, 1), NAMES[1:])
    with pytest.raises(DataError, match=r"00\.png"):
        check_labels(part(folder), workers, skip=False)
    assert see_labels(part(folder), workers, skip=True).masks == 11


def test_labels_that_are_all_ignored_are_named():
    pixels = np.zeros(256, np.int64)
    pixels[255] = 90
    problem = label_problem(TWO, LabelsSeen(pixels, 1, 1))
    assert "no labelled pixel of no, yes, while 100.0%" in problem.text
    assert not problem.hopeless  # the unlabelled images may still be learnt from
