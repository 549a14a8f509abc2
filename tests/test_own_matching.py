"""Which naming of masks gives most images a mask, and whether another one could be meant."""

import pytest

from semiseg.common.errors import DataError
from semiseg.prepare.own.affixes import Affixes
from semiseg.prepare.own.matching import match_files, other_naming

NUMBERS = [f"{i:02}" for i in range(1, 13)]


def of(template, numbers=NUMBERS):
    return [template.format(n) for n in numbers]


def naming(images, masks):
    match = match_files(images, masks, False, None)
    return match and match.affixes.written()


def in_one(files, said=None):
    match = match_files(files, files, True, said)
    return match and (sorted(match.image_files), match.affixes.written())


def test_the_naming_of_most_images_is_taken_and_the_shorter_one_of_two():
    images, masks = of("{}.jpg"), [*of("{}_gt.png"), *of("{}.png"), "x_01.png"]
    assert naming(images, masks) == "{id}.png"
    assert naming(images, masks[:12]) == "{id}_gt.png"
    assert match_files(images, masks, False, Affixes("x_", "", ".png")).used == {"x_01.png"}
    assert naming(images, ["z.png"]) is None


def test_masks_are_those_of_the_same_place():
    masks = [*of("siteA_mask_{}.png", NUMBERS[:3]), *of("siteB_mask_{}.png")]
    assert naming(of("siteA_{}.jpg"), masks) == "siteA_mask_{id}.png"
    assert naming(of("patient7_slice_{}.jpg"), of("patient8_slice_{}_seg.png")) is None
    assert naming(of("2020-01-05_{}.jpg"), of("2020-02-05_{}.png")) is None
    assert naming(of("image2d_{}.jpg"), of("mask2d_{}.png")) == "mask2d_{id}.png"


def test_a_few_masks_of_another_naming_are_asked_about():
    with pytest.raises(DataError, match=r"3 masks named \{id\}.png and 12 named mask\{id\}.png.*'mask\{id\}.png'"):
        naming(of("img{}.jpg"), [*of("img{}.png", NUMBERS[:3]), *of("mask{}.png")])

    train = of("train_{}.png", NUMBERS[:3])
    assert naming(of("train_{}.jpg"), [*train, *of("val_{}.png")]) == "{id}.png"


@pytest.mark.parametrize(
    ("folders", "masks"),
    [(("north", "south"), "West"), (("cam_left", "cam_right"), "right_masks"), (("2019", "2020"), "2021")],
)
def test_masks_that_fit_the_images_of_two_folders_are_asked_about(folders, masks):
    images = [name for folder in folders for name in of(folder + "/{}.jpg")]
    with pytest.raises(DataError, match=rf"masks in {masks} .* may be of images in {folders[0]} or in {folders[1]}; "):
        naming(images, of(masks + "/{}.png"))


def test_folders_of_like_names_belong_together():
    assert naming([*of("north/{}.jpg"), *of("south/{}.jpg")], of("South/{}.png")) == "{id:south=South}.png"
    assert (
        naming([*of("imagesTr/{}.png"), *of("imagesTs/{}.png")], of("labelsTr/{}.png")) == "{id:imagesTr=labelsTr}.png"
    )


def test_no_other_picture_is_taken_for_the_images():
    with pytest.raises(DataError, match=r"masks in label .* may be of images in depth or in rgb"):
        in_one([*of("rgb/{}.png"), *of("depth/{}.png"), *of("label/{}.png")])
    drive = [*of("images/{}_training.png"), *of("1st_manual/{}_manual1.png"), *of("mask/{}_training_mask.png")]
    with pytest.raises(DataError, match=r"2 masks of one image: 1st_manual.01_manual1"):
        in_one(drive)
    with pytest.raises(DataError, match=r"2 masks of one image: .*--mask-name '\{id\}/label.png'"):
        in_one([f"{n}_json/{name}.png" for n in NUMBERS for name in ("img", "label", "label_viz")])


def test_a_folder_within_another_ones_name_is_not_it():
    images = [*of("labeled/images/{}.png"), *of("unlabeled/images/{}.png")]
    assert in_one([*images, *of("labeled/masks/{}.png")]) == (images, "{id:images=masks}.png")


def test_what_the_owner_said_is_a_mask_and_other_masks_are_no_images():
    files = ["train/images/1.png", "train/masks/1.png", "train/labels/1.png"]
    assert in_one(files, Affixes("", "", ".png", "images", "masks")) == (files[:1], "{id:images=masks}.png")


def test_masks_of_images_that_have_none_may_be_named_otherwise():
    match = match_files(of("{}.jpg"), [*of("{}.png", NUMBERS[:8]), *of("{}_m.png", NUMBERS[6:])], False, None)
    affixes, files = other_naming(match)
    assert (affixes.written(), files) == ("{id}_m.png", of("{}_m.png", NUMBERS[8:]))
    assert other_naming(match_files(of("{}.jpg"), of("{}.png", NUMBERS[:8]), False, None)) is None
    renamed = match_files(
        [*of("train/{}.jpg"), *of("val/{}.jpg", NUMBERS[:2])], [*of("train/{}.png"), "validation/01.png"], False, None
    )
    assert other_naming(renamed)[0].written() == "{id:val=validation}.png"
