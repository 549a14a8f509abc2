"""Parts that an owner's folders say."""

import pytest

from semiseg.prepare.new_parts import parts_of


def test_folders_train_val_and_test_are_parts_and_other_folders_are_trained_on():
    parts = parts_of(["train/a", "Val/b", "test/c/d", "city/e", "f"])
    assert parts.train == ("train/a", "city/e", "f")
    assert (parts.val, parts.test) == (("Val/b",), ("test/c/d",))
    assert parts.folders == ("Val", "test")


def test_folders_of_parts_may_lie_deeper():
    parts = parts_of(["north/train/a", "north/val/b", "south/val/c/d", "south/e"])
    assert (parts.train, parts.val) == (("north/train/a", "south/e"), ("north/val/b", "south/val/c/d"))
    assert parts.folders == ("north/val", "south/val")


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
