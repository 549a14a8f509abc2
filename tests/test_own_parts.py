"""Parts that an owner's folders say."""

import pytest

from semiseg.prepare.own.parts import parts_of


def test_folders_train_val_and_test_are_parts_and_other_folders_are_trained_on():
    parts = parts_of(["train/a", "Val/b", "test/c/d", "city/e", "f"])
    assert parts.train == ("train/a", "city/e", "f")
    assert (parts.val, parts.test) == (("Val/b",), ("test/c/d",))
    assert parts.folders == ("Val", "test")


def test_folders_of_parts_may_lie_deeper():
    parts = parts_of(["north/train/a", "north/val/b", "south/val/c/d", "south/e"])
    assert (parts.train, parts.val) == (("north/train/a", "south/e"), ("north/val/b", "south/val/c/d"))
    assert parts.folders == ("north/val", "south/val")


def test_folders_whose_names_hold_a_part_are_ones_beside_those_of_training():
    ids = [
        "train_images/a",
        "test_images/b",
        "imagesTr/c",
        "imagesTs/d",
        "train2017/e",
        "Val2017/f",
        "x/training_set/g",
    ]
    parts = parts_of([*ids, "x/test_set/h", "field test/i", "latest/j", "contest_images/k"])
    assert parts.val == ("Val2017/f",)
    assert parts.test == ("test_images/b", "imagesTs/d", "x/test_set/h")
    assert parts.folders == ("Val2017", "imagesTs", "test_images", "x/test_set")


@pytest.mark.parametrize(
    "ids",
    [
        ["a", "b"],
        ["train/a", "train/b"],
        ["val/a", "test/b"],
        ["x/val/a", "val/x/b"],
        ["train", "val"],
    ],
)
def test_without_a_folder_to_score_or_images_beside_it_there_are_no_parts(ids):
    assert parts_of(ids) is None
