"""What stands around an image's id in the names of images and of their masks, and the words that masks go by."""

import pytest

from semiseg.prepare.own.affixes import Affixes, Around, around_ids, called_masks, cuts_a_word


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["1.png", "2.png"], ["1_mask.png", "2Label.png", "gt 3.png", "SEG-4.png"]),
        (["JPEGImages/1.jpg", "imagesTr/2.png"], ["SegmentationClass/1.png", "labelsTr/2.png", "gtFine/a/3.png"]),
        (["train/1.png"], ["trainannot/1.png", "ann_dir/train/1.png", "ground_truth/1.png", "1st_manual/1.png"]),
        (["unlabeled/1.png", "unlabelled/2.png", "labelled/3.png", "masked ball.png"], ["labels/3.png"]),
        (["masks/road/1.png", "masks/road/2.png"], ["masks/road/1_mask.png"]),  # a folder of all says nothing
        ([], []),
    ],
)
def test_words_tell_masks_from_images(images, masks):
    assert called_masks([*images, *masks]) == masks
    assert called_masks([*masks, *images]) == masks


def test_how_a_naming_is_written_and_what_it_makes_of_an_id():
    renamed = Affixes("", "_m", ".png", "images", "masks")
    assert renamed.written("stem") == "{stem:images=masks}_m.png"
    assert renamed.of("train/images/1") == "train/masks/1_m.png"
    assert renamed.fit("train/masks/1_m.png")
    assert not renamed.fit("train/images/1_m.png")
    assert not renamed.fit("train/masks/1.tif")


def test_what_images_share_is_tried_from_little_to_much():
    found = list(around_ids([f"a_img{n}_x-y.jpg" for n in (1, 2)]))
    assert found[:3] == [Around(), Around(after="-y"), Around(before="a_")]
    assert Around("a_img", "_x-y") in found
    assert Around("a_im") not in found  # amid a word
    assert list(around_ids(["a1.png", "a2.jpg"])) == [Around(), Around(whole=True)]
    assert list(around_ids(["cat.png", "car.png"])) == [Around()]
    assert [*Around("a_", "_x").ids(["a_1_x.png"]), *Around(whole=True).ids(["1.png"])] == ["1", "1.png"]


@pytest.mark.parametrize(
    ("text", "start", "stop", "cut"),
    [
        ("1001", 0, 3, True),
        ("a1", 1, 2, False),
        ("12a", 1, 3, True),
        ("unlabeled/1", 2, 11, True),
        ("x/labeled/1", 2, 11, False),
        ("x/y_1", 4, 5, False),
    ],
)
def test_a_number_or_the_name_of_a_folder_is_not_cut(text, start, stop, cut):
    assert cuts_a_word(text, start, stop) == cut
