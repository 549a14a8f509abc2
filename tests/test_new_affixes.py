"""What names of masks have beside the ids of their images, and which words say that a file is a mask."""

import pytest

from semiseg.prepare.new_affixes import Affixes, best_naming, cuts_a_number, told_by_words


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["1.png", "2.png"], ["1_mask.png", "2Label.png", "gt 3.png", "SEG-4.png"]),
        (["JPEGImages/1.jpg", "imagesTr/2.png"], ["SegmentationClass/1.png", "labelsTr/2.png", "gtFine/a/3.png"]),
        (["train/1.png"], ["trainannot/1.png", "ann_dir/train/1.png", "ground_truth/1.png", "bitmasks/1.png"]),
        (["unlabeled/1.png", "unlabelled/2.png", "labelled/3.png", "masked ball.png"], ["labels/3.png"]),
        (["masks/road/1.png", "masks/road/2.png"], ["masks/road/1_mask.png"]),  # a folder of all says nothing
    ],
)
def test_words_tell_masks_from_images(images, masks):
    assert told_by_words([*images, *masks]) == (images, masks)
    assert told_by_words([*masks, *images]) == (images, masks)


def test_what_the_owner_said_is_a_mask_and_other_masks_are_no_images():
    files = ["1.png", "1_tree.png", "1_mask.png"]
    assert told_by_words(files, Affixes("", "_tree", ".png")) == (["1.png"], ["1_tree.png"])
    called = ["mask_1.png", "mask_1_tree.png"]  # photographs of masks, say
    assert told_by_words(called, Affixes("", "_tree", ".png")) == (["mask_1.png"], ["mask_1_tree.png"])


def test_the_naming_of_most_images_is_taken_and_the_shorter_one_of_two():
    images = [f"{i}.jpg" for i in range(6)]
    masks = [*(f"{i}_gt.png" for i in range(6)), *(f"{i}.png" for i in range(6)), "x_0.png"]
    assert best_naming(images, masks, False, None)[1] == Affixes("", "", ".png")
    assert best_naming(images, masks[:6], False, None)[1] == Affixes("", "_gt", ".png")
    assert best_naming(images, masks, False, Affixes("x_", "", ".png"))[1] == Affixes("x_", "", ".png")
    assert best_naming(images, ["z.png"], False, None)[1] is None


def test_how_a_naming_is_written_and_what_it_makes_of_an_id():
    renamed = Affixes("", "_m", ".png", "images", "masks")
    assert renamed.written("stem") == "{stem:images=masks}_m.png"
    assert renamed.of("train/images/1") == "train/masks/1_m.png"
    assert renamed.fit("train/masks/1_m.png")
    assert not renamed.fit("train/images/1_m.png")
    assert not renamed.fit("train/masks/1.tif")


@pytest.mark.parametrize(
    ("text", "start", "stop", "cut"), [("1001", 0, 3, True), ("a1", 1, 2, False), ("12a", 1, 3, True)]
)
def test_a_number_that_is_cut(text, start, stop, cut):
    assert cuts_a_number(text, start, stop) == cut
