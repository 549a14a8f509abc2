"""Parts that an owner's folders say."""

import pytest

from semiseg.prepare.new_parts import parts_of


def test_folders_train_val_and_test_are_parts_and_other_folders_are_trained_on():
    parts = parts_of(["train/a", "Val/b", "test/c/d", "city/e", "f"])
    assert parts.train == ("train/a", "city/e", "f")
    assert (parts.val, parts.test) == (("Val/b",), ("test/c/d",))
    assert parts.folders == ("Val", "test")


@pytest.mark.parametrize(
    "ids",
    [
        ["a", "b"],
        ["train/a", "train/b"],
        ["val/a", "test/b"],
        ["x/train/a", "x/val/b"],
        ["train", "val"],
    ],
)
def test_without_a_folder_to_score_or_images_beside_it_there_are_no_parts(ids):
    assert parts_of(ids) is None
