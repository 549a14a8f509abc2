"""Which mask belongs to which image, told by names alone."""

import pytest

from semiseg.common.errors import ConfigError, DataError
from semiseg.prepare.own.names import find_naming


@pytest.fixture
def named(tmp_path):
    """``named(images, masks, ...)``: empty files of these names in folders, and what is told from them."""

    def make(images, masks, image_folder="images", mask_folder="masks", mask_name=None):
        folders = tmp_path / image_folder, tmp_path / mask_folder
        for folder, names in zip(folders, (images, masks), strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).touch()
        naming = find_naming(*folders, mask_name)
        assert naming.root == (tmp_path if image_folder != mask_folder else folders[0])
        return naming.image, naming.mask, naming.pairs

    return make


NUMBERS = [f"{i:02}" for i in range(12)]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}.jpg", "{}.png"),
        ("{}.JPG", "{}_mask.png"),
        ("{}.png", "{}_label.tif"),
        ("{}.png", "{}.mask.png"),
        ("{}.jpeg", "mask_{}.png"),
        ("IMG_{}.jpg", "IMG_{}-gt.png"),
        ("{}_image.png", "{}_mask.png"),
        ("img-{}.tif", "seg-{}.tif"),
        ("scan_{}_raw.png", "label_{}_gt.png"),
        ("deep/{}.jpg", "deep/{}_L.png"),
        ("image{}.jpg", "mask{}.png"),
        ("frame{}img.jpg", "frame{}lab.png"),
        ("{}/image.png", "{}/mask.png"),
        ("north/{}.jpg", "{}.png"),
    ],
)
def test_usual_ways_to_name_masks_are_understood(named, image, mask):
    images, masks = [image.format(n) for n in NUMBERS], [mask.format(n) for n in NUMBERS[:9]]
    found_image, found_mask, pairs = named(images, masks)
    assert pairs == 9
    ids = [name.removeprefix(found_image.split("{id}")[0][7:]) for name in images]
    ids = [name.removesuffix(found_image.split("{id}")[1]) for name in ids]
    assert [found_image.replace("{id}", i) for i in ids] == [f"images/{name}" for name in images]
    assert [found_mask.replace("{id}", i) for i in ids[:9]] == [f"masks/{name}" for name in masks]


def test_images_of_several_kinds_keep_their_ending_in_the_id(named):
    assert named(["a.jpg", "b.png", "c.JPG"], ["a_m.png", "b_m.png"]) == ("images/{id}", "masks/{stem}_m.png", 2)


def test_masks_named_after_whole_file_names_are_understood(named):
    assert named(["a.jpg", "b.jpg"], ["a.jpg.png", "b.jpg.png"]) == ("images/{id}.jpg", "masks/{id}.jpg.png", 2)
    assert named(["a.jpg", "b.png"], ["a.jpg.png", "b.png.png"], "two", "of") == ("two/{id}", "of/{id}.png", 2)
    together = ["a.jpg", "b.png", "c.jpg", "a.jpg.png", "b.png.png", "c.jpg.png"]
    assert named(together, [], "one", "one") == ("{id}", "{id}.png", 3)


def test_one_id_may_be_part_of_another(named):
    images = [f"{i}.jpg" for i in range(1, 25)]
    assert named(images, [f"{i}_gt.png" for i in range(1, 25)]) == ("images/{id}.jpg", "masks/{id}_gt.png", 24)


@pytest.mark.parametrize(("image", "mask"), [("{}.png", "{}_mask.png"), ("{}.jpg", "{}.png")])
def test_masks_beside_their_images_are_told_from_them(named, image, mask):
    files = [image.format(n) for n in NUMBERS] + [mask.format(n) for n in NUMBERS[:5]]
    found = named(files, [], "both", "both")
    assert found == (image.format("{id}"), mask.format("{id}"), 5)


@pytest.mark.parametrize(
    ("image", "mask", "found"),
    [
        ("image{}.jpg", "mask{}.png", ("image{id}.jpg", "mask{id}.png")),
        ("{}_image.png", "{}_mask.png", ("{id}_image.png", "{id}_mask.png")),
        ("{}_sat.jpg", "{}_gt.png", ("{id}_sat.jpg", "{id}_gt.png")),
        ("{}/img.png", "{}/label.png", ("{id}/img.png", "{id}/label.png")),
        ("images/{}.jpg", "masks/{}.png", ("images/{id}.jpg", "masks/{id}.png")),
        ("img_dir/train/{}.jpg", "ann_dir/train/{}.png", ("img_dir/{id}.jpg", "ann_dir/{id}.png")),
        ("train/images/{}.jpg", "train/labels/{}.png", ("train/images/{id}.jpg", "train/labels/{id}.png")),
        ("seg/a/{}.png", "seg/gt/{}.png", ("seg/a/{id}.png", "seg/gt/{id}.png")),
        ("{0}/images/{0}.png", "{0}/masks/{0}.png", ("{id}.png", "{id:images=masks}.png")),
    ],
)
def test_in_one_folder_masks_are_told_by_words_as_well(named, image, mask, found):
    files = [name.format(n) for n in NUMBERS for name in (image, mask)]
    assert named(files, [], "one", "one") == (*found, 12)


def test_folders_amid_the_paths_may_be_named_otherwise_for_masks(named):
    images = [f"{part}/images/{n}.jpg" for part in ("train", "val") for n in NUMBERS] + ["more/01.jpg"]
    masks = [f"{part}/masks/{n}_m.png" for part in ("train", "val") for n in NUMBERS]
    assert named(images, masks) == ("images/{id}.jpg", "masks/{id:images=masks}_m.png", 24)
    assert named([*images, *masks], [], "one", "one") == ("{id}.jpg", "{id:images=masks}_m.png", 24)
    numbered_anew = [f"{folder}/{n}.png" for folder in ("trainannot", "valannot") for n in NUMBERS]
    with pytest.raises(DataError, match=r"2 masks of one image: .*; say which by folders: --images one of images"):
        named([f"{part}/{n}.png" for part in ("train", "val") for n in NUMBERS], numbered_anew, "few", "anew")


def test_a_folder_is_not_renamed_where_images_lie_in_both(named):
    with pytest.raises(DataError, match="no file here is named after an image"):
        named(["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"], ["dog/1.png", "dog/2.png"])


def test_masks_of_some_images_that_are_named_otherwise_are_refused(named):
    parts = [("train", [f"a{n}" for n in NUMBERS]), ("val", ["b1", "b2"])]
    files = [f"{part}{of}/{name}.png" for part, names in parts for of in ("", "annot") for name in names]
    with pytest.raises(DataError, match=r"12 masks named \{id:train=trainannot\}.png, 2 named \{id:val=valannot\}.png"):
        named(files, [], "one", "one")
    assert named(files, [], "one", "one", "{id:train=trainannot}.png")[2] == 12
    masks = [f"{n}_label.png" for n in NUMBERS[:5]] + [f"{n}_mask.png" for n in NUMBERS[5:]]
    with pytest.raises(DataError, match=r"7 masks named \{id\}_mask.png, 5 named \{id\}_label.png \(00_label.png, "):
        named([f"{n}.jpg" for n in NUMBERS], masks)
    together = [f"{n}.png" for n in NUMBERS] + [f"{n}_mask.png" for n in NUMBERS[2:]] + ["01_Mask.png"]
    with pytest.raises(DataError, match=r"10 masks named \{id\}_mask.png, 1 named \{id\}_Mask.png"):
        named(together, [], "both", "both")


def test_masks_of_two_kinds_in_one_folder_are_asked_about(named):
    files = [
        f"train/{kind.format(n)}.png" for n in NUMBERS for kind in ("images/{}_a", "mask/{}_a_mask", "manual/{}_m")
    ]
    with pytest.raises(DataError, match=r"12 masks named .*_mask.png, and 12 files called masks that are no image's"):
        named([*files, "test/images/01_b.png"], [], "one", "one")


def test_a_name_said_by_hand_counts_in_one_folder_as_well(named):
    files = [f"{kind}{n}.png" for n in NUMBERS for kind in ("image", "tree", "shade")]
    with pytest.raises(DataError, match="no file here is named after"):
        named(files, [], "one", "one")
    files = [name for name in files if not name.startswith("shade")]
    assert named(files, [], "two", "two", "tree{id}.png") == ("image{id}.png", "tree{id}.png", 12)
    renamed = [f"{n}/{kind}/x.png" for n in NUMBERS for kind in ("photo", "tree")]
    assert named(renamed, [], "3", "3", "{id:photo=tree}.png") == ("{id}.png", "{id:photo=tree}.png", 12)


def test_masks_of_single_objects_must_be_drawn_into_one(named):
    images = [f"{n}/images/{n}.png" for n in NUMBERS]
    masks = [f"{n}/masks/{letter}.png" for n in NUMBERS for letter in "abc"]
    with pytest.raises(DataError, match="00 has 3 masks of one image: masks of single objects must be drawn into one"):
        named(images, masks)
    with pytest.raises(DataError, match="00 has 3 masks of one image"):
        named([*images, *masks], [], "one", "one")


@pytest.mark.parametrize(
    ("image_folder", "mask_folder", "image", "mask"),
    [
        ("all", "all/masks", "{id}.png", "masks/{id}.png"),
        ("all/images", "all", "images/{id}.png", "{id}.png"),
        ("a/photos", "b/c/masks", "a/photos/{id}.png", "b/c/masks/{id}.png"),
    ],
)
def test_folders_may_lie_in_each_other_or_far_apart(tmp_path, image_folder, mask_folder, image, mask):
    for folder in (image_folder, mask_folder):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name in NUMBERS:
            (tmp_path / folder / f"{name}.png").touch()
    naming = find_naming(tmp_path / image_folder, tmp_path / mask_folder)
    assert (naming.image, naming.mask, naming.pairs) == (image, mask, 12)


def test_several_masks_of_an_image_are_asked_about_and_can_be_chosen(named):
    masks = [f"{n}_{kind}.png" for n in NUMBERS for kind in ("color", "labels")]
    with pytest.raises(DataError, match=r"2 masks of one image: .*00_color\.png.*--mask-name '\{id\}_color\.png'"):
        named([f"{n}.jpg" for n in NUMBERS], masks)
    found = named([f"{n}.jpg" for n in NUMBERS], masks, mask_name="{id}_labels.png")
    assert found == ("images/{id}.jpg", "masks/{id}_labels.png", 12)


def test_the_mask_of_the_images_own_name_needs_no_question(named):
    masks = [*(f"{n}.png" for n in NUMBERS), *(f"{n}_color.png" for n in NUMBERS)]
    assert named([f"{n}.jpg" for n in NUMBERS], masks)[1] == "masks/{id}.png"


def test_files_that_are_no_images_mask_are_counted(tmp_path):
    for name in ("images/a.jpg", "images/b.jpg", "masks/a.png", "masks/z.png", "masks/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_naming(tmp_path / "images", tmp_path / "masks").unused == ("z.png",)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ([f"{i:03}.jpg" for i in range(1, 41)], [f"{i}.png" for i in range(1001, 1041)]),
        ([f"{i}.jpg" for i in range(1, 21)], [f"{i}.png" for i in range(21, 30)]),
        ([f"{i}.jpg" for i in range(1, 10)], [f"{i}5_m.png" for i in range(1, 10)]),
    ],
)
def test_no_id_is_cut_out_of_a_longer_number(named, images, masks):
    with pytest.raises(DataError, match="no file here is named after an image"):
        named(images, masks)


def test_images_in_numbers_beside_masks_of_some_are_no_masks_of_each_other(named):
    together = [f"{i}.png" for i in range(1, 21)] + [f"{i}_mask.png" for i in range(1, 9)]
    assert named(together, [], "one", "one") == ("{id}.png", "{id}_mask.png", 8)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (["a/1.jpg", "b/2.jpg"], ["1.png", "2.png"], r"1\.png has the name of a/1\.jpg but lies in another folder"),
        (
            ["1.jpg", "2.jpg"],
            ["001.png", "002.png"],
            r"number of 001\.png is written with other zeros than that of 1\.jpg",
        ),
        (["img001.jpg", "img002.jpg"], ["mask1.png"], r"number of mask1\.png .* other zeros than that of img001\.jpg"),
        (["1.jpg", "2.jpg"], ["x.png", "y.png"], r"--mask-name '\{id\}_x\.png' says"),
        (["a/b.jpg", "a/c.jpg"], ["2020/x.png"], r"--mask-name '\{id\}_x\.png' says"),
    ],
)
def test_what_keeps_masks_from_being_told_is_said(named, images, masks, message):
    with pytest.raises(DataError, match=message):
        named(images, masks)


def test_a_folder_of_masks_that_is_not_there_is_called_one(named, tmp_path):
    named(["a.jpg"], ["a.png"])
    with pytest.raises(DataError, match="gone: no such folder of masks"):
        find_naming(tmp_path / "images", tmp_path / "gone")


def test_names_that_have_nothing_in_common_are_one_line_with_the_way_out(named):
    with pytest.raises(DataError) as error:
        named(["a.jpg", "b.jpg"], ["x.png", "y.png", "z.png"])
    assert "a.jpg wants a.png, a_mask.png" in str(error.value)
    assert "x.png, y.png, ... and 1 more" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("others", "folder", "message"),
    [
        (
            [f"{n}.json" for n in NUMBERS],
            "masks",
            r"masks: no image in this folder, but 12 files .*\(00.json, 01.json, ",
        ),
        ([f"{n}.json" for n in NUMBERS], "images", r"images: no file here is a mask .*, but 12 files .*\(00.json, "),
        (["x.png", *(f"{n}.json" for n in NUMBERS)], "masks", r"masks: no file here is a mask .*, but 12 files"),
        (["instances.json"], "masks", r"1 file .*\(instances.json\)"),
        ([f"{n}.txt" for n in (*NUMBERS, "notes")], "masks", "12 files"),
        ([f"{n}.xml" for n in NUMBERS], "masks", "12 files"),
    ],
)
def test_polygons_must_be_drawn_first(named, others, folder, message):
    with pytest.raises(DataError, match=f"{message}.*polygons must be drawn as PNG masks first"):
        named([f"{n}.jpg" for n in NUMBERS], others, mask_folder=folder)


def test_a_file_of_polygons_in_the_place_of_a_folder_of_masks_is_told(named, tmp_path):
    with pytest.raises(DataError):
        named(["a.jpg"], ["instances.json"])
    with pytest.raises(
        DataError, match=r"instances.json: a file; expected a folder of masks, but.*must be drawn as PNG"
    ):
        find_naming(tmp_path / "images", tmp_path / "masks/instances.json")
    with pytest.raises(DataError, match=r"a.jpg: a file; expected a folder of masks$"):
        find_naming(tmp_path / "images", tmp_path / "images/a.jpg")


def test_polygons_beside_masks_do_not_matter(named):
    masks = [f"{n}.{ending}" for n in NUMBERS for ending in ("png", "json")]
    assert named([f"{n}.jpg" for n in NUMBERS], masks)[1:] == ("masks/{id}.png", 12)


@pytest.mark.parametrize("name", ["label.png", "{id}", "{id}_{id}.png", "{id:a=a}.png", "{id}png"])
def test_a_name_of_masks_without_id_or_ending_is_refused(named, name):
    with pytest.raises(ConfigError, match=r"--mask-name: expected \{id\} once and an ending"):
        named(["a.jpg"], ["a.png"], mask_name=name)


def test_an_empty_folder_is_named(named):
    with pytest.raises(DataError, match="masks: no image in this folder"):
        named(["a.jpg"], [])


@pytest.mark.parametrize("other", [".PNG", ".tif"])
def test_masks_with_another_ending_than_the_others_are_not_left_out(named, other):
    images = [f"{number}.jpg" for number in NUMBERS]
    masks = [f"{number}_m{other if number < '04' else '.png'}" for number in NUMBERS]
    with pytest.raises(DataError, match=rf"8 masks with the ending \.png, 4 with another \(00_m\{other}, .*one ending"):
        named(images, masks)
    assert named(images, masks, mask_name="{id}_m.png")[2] == 8
    assert named(images, [f"{number}_m.png" for number in NUMBERS])[2] == 12  # the others lie there as well: drawings
