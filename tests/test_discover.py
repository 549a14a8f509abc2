"""Finding images in folders: which files are images, and which ids a description gives them."""

import os

import pytest

from semiseg.common.errors import DataError
from semiseg.data.discover import IMAGE_SUFFIXES, MaskFiles, find_samples, list_images, scan, with_masks
from semiseg.data.specs import custom_spec


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_of_images_is_a_list(tmp_path):
    for name in ("b.PNG", "sub/a 1.jpg", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["b.PNG", "sub/a 1.jpg"]
    with pytest.raises(DataError, match="no such folder"):
        list_images(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in this folder"):
        list_images(tmp_path / "empty")


def spec(image, mask):
    return custom_spec("own", ["a", "b"], image, mask)


def test_ids_are_what_stands_between_the_two_ends_of_a_description(tmp_path):
    touch(tmp_path, "images/left_1.jpg", "images/left_sub/2.jpg", "images/right_3.jpg", "images/left_.jpg")
    touch(tmp_path, "images/left_4.txt", "images/.left_5.jpg", "masks/1.png", "masks/7.png")
    described = spec("images/left_{id}.jpg", "masks/{id}.png")
    ids = find_samples(described, tmp_path)[0]
    assert ids == ["1", "sub/2"]
    assert with_masks(described, tmp_path, ids) == ["1"]


def test_two_images_with_one_mask_are_refused(tmp_path):
    touch(tmp_path, "images/1.jpg", "images/1.png", "images/2.png", "masks/1.png", "masks/2.png")
    described = spec("images/{id}", "masks/{stem}.png")
    with pytest.raises(
        DataError, match=r"images/1\.jpg and images/1\.png have one mask masks/1\.png: the same picture"
    ):
        with_masks(described, tmp_path, find_samples(described, tmp_path)[0])
    assert with_masks(described, tmp_path, ["1.jpg", "2.png"]) == ["1.jpg", "2.png"]


def test_signs_of_patterns_are_taken_literally(tmp_path):
    touch(tmp_path, "1[x].png", "1x.png")
    assert find_samples(spec("{id}[x].png", "masks/{id}.png"), tmp_path)[0] == ["1"]


def test_a_folder_without_what_is_described_is_refused(tmp_path):
    touch(tmp_path, "images/1.png")
    described = spec("images/{id}.png", "masks/{id}.png")
    with pytest.raises(DataError, match=r"none of 1 image 'images/\{id\}.png' has a mask 'masks/\{id\}.png'"):
        with_masks(described, tmp_path, find_samples(described, tmp_path)[0])
    with pytest.raises(DataError, match=r"check dataset\.data_root"):
        find_samples(spec("pictures/{id}.png", "masks/{id}.png"), tmp_path)


# What is left out


OWN = ("images/{id}.png", "images/{id}_mask.png")


@pytest.mark.parametrize(
    ("image", "mask", "images", "masks"),
    [
        (*OWN, ["a.png", "sub/b.png"], ["a_mask.png", "sub/b_mask.png"]),
        ("images/{id}.png", "images/mask_{id}.png", ["a.png"], ["mask_a.png"]),
        ("images/{id}_rgb.png", "images/{id}.png", ["a_rgb.png"], ["a.png"]),
        ("images/{id}", "images/{stem}_label.png", ["a.jpg", "b.png"], ["a_label.png", "b_label.png"]),
        ("images/{id}.jpg", "images/{id}.png", ["a.jpg", "b.jpg"], ["a.png"]),
    ],
)
def test_files_that_the_mask_description_fits_are_never_images(tmp_path, image, mask, images, masks):
    touch(tmp_path / "images", *images, *masks)
    described = spec(image, mask)
    found = scan(tmp_path / "images", MaskFiles(described, tmp_path))
    assert list(found.images) == images
    assert found.left_out == {"masks": masks}
    suffix = image.partition("{id}")[2]
    assert find_samples(described, tmp_path)[0] == [name[: len(name) - len(suffix)] for name in images]


def test_in_another_folder_a_mask_is_told_by_what_its_name_has_beside_the_id(tmp_path):
    touch(tmp_path / "more", "a.png", "a_mask.png", "b.png")
    touch(tmp_path / "data/images", "a.png")
    masks = MaskFiles(spec(*OWN), tmp_path / "data")
    assert list_images(tmp_path / "more", masks) == ["a.png", "b.png"]
    touch(tmp_path / "dots", "a.png", "a.label.png")
    assert list_images(tmp_path / "dots", MaskFiles(spec("{id}.png", "gt/{id}.label.png"), None)) == ["a.png"]
    plain = MaskFiles(spec("images/{id}.jpg", "masks/{id}.png"), tmp_path / "data")
    assert list_images(tmp_path / "more", plain) == ["a.png", "a_mask.png", "b.png"]


def test_nothing_in_a_folder_of_masks_is_an_image(tmp_path):
    touch(tmp_path, "left/1_left.png", "gt/1_ids.png", "gt/1_color.png", "gt/deep/2_instance.png")
    masks = MaskFiles(spec("left/{id}_left.png", "gt/{id}_ids.png"), tmp_path)
    assert scan(tmp_path, masks).left_out == {"masks": ["gt/1_color.png", "gt/1_ids.png", "gt/deep/2_instance.png"]}
    assert list_images(tmp_path, masks) == ["left/1_left.png"]


def test_nothing_in_a_folder_of_masks_amid_the_paths_is_an_image(tmp_path):
    touch(
        tmp_path, *(f"{part}/{kind}/1.png" for part in ("train", "val") for kind in ("images", "masks")), "more/2.png"
    )
    described = spec("{id}.png", "{id:images=masks}.png")
    ids, found = find_samples(described, tmp_path)
    assert ids == ["more/2", "train/images/1", "val/images/1"]
    assert found.left_out == {"masks": ["train/masks/1.png", "val/masks/1.png"]}
    assert with_masks(described, tmp_path, ids) == ["train/images/1", "val/images/1"]


def test_a_folder_of_masks_above_the_images_is_not_theirs_alone(tmp_path):
    touch(tmp_path, "set/1.png", "set/rgb/1.png")
    masks = MaskFiles(spec("set/rgb/{id}.png", "set/{id}.png"), tmp_path)
    assert list_images(tmp_path, masks) == ["set/rgb/1.png"]


def test_hidden_files_and_folders_are_no_images(tmp_path):
    touch(tmp_path, "a.png", "._a.png", ".ipynb_checkpoints/a-checkpoint.png", "sub/.b.png", "sub/b.png")
    found = scan(tmp_path)
    assert list(found.images) == ["a.png", "sub/b.png"]
    assert found.left_out == {"hidden": ["._a.png", ".ipynb_checkpoints/", "sub/.b.png"]}


def test_every_ending_counts_in_capitals_too(tmp_path):
    names = sorted(f"{i:02}{ending}" for i, ending in enumerate(sorted(IMAGE_SUFFIXES)))
    touch(tmp_path, *names, *(f"big{name.upper()}" for name in names))
    assert {".jpg", ".jpeg", ".jfif", ".jpe"} <= IMAGE_SUFFIXES
    assert list_images(tmp_path) == sorted([*names, *(f"big{name.upper()}" for name in names)])


def test_what_is_left_out_is_counted_and_named_in_one_line(tmp_path):
    touch(tmp_path / "images", "a.png", "a_mask.png", "b_mask.png", "c_mask.png", "notes.txt", "B.JPG", "._a.png")
    ids, found = find_samples(spec(*OWN), tmp_path)
    assert ids == ["a"]
    assert found.notes() == (
        f"6 of 7 files in {tmp_path}/images are left out (hidden: 1 (._a.png); masks: 3 (a_mask.png, b_mask.png, ... "
        "and 1 more); other files: 1 (notes.txt); not named images/{id}.png: 1 (B.JPG))",
    )
    touch(tmp_path / "clean", "a.png")
    assert scan(tmp_path / "clean").notes() == ()


# Links


def test_linked_folders_are_followed_once_and_never_in_circles(tmp_path):
    touch(tmp_path, "set/own/a.png", "elsewhere/b.png", "elsewhere/deep/c.png")
    for link, target in (
        ("set/linked", "elsewhere"),
        ("set/again", "elsewhere"),
        ("set/a_link_to_own", "set/own"),
        ("set/own/up", "set"),
        ("elsewhere/deep/circle", "elsewhere"),
    ):
        (tmp_path / link).symlink_to(tmp_path / target, target_is_directory=True)
    assert list_images(tmp_path / "set") == ["again/b.png", "again/deep/c.png", "own/a.png"]


def test_linked_files_are_images_and_broken_links_are_named(tmp_path):
    touch(tmp_path, "there/a.png", "set/b.png")
    (tmp_path / "set/a.png").symlink_to(tmp_path / "there/a.png")
    (tmp_path / "set/gone.png").symlink_to(tmp_path / "there/gone.png")
    (tmp_path / "set/self.png").symlink_to(tmp_path / "set/self.png")
    found = scan(tmp_path / "set")
    assert dict(found.images.items()) == {"a.png": str(tmp_path / "there/a.png"), "b.png": str(tmp_path / "set/b.png")}
    assert found.left_out == {"broken links": ["gone.png", "self.png"]}


def test_a_folder_is_listed_without_a_look_at_each_file(tmp_path, monkeypatch):
    touch(tmp_path, *(f"sub/{i}.png" for i in range(50)), "sub/notes.txt")
    looks = []
    for name in ("stat", "lstat"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, **kw: looks.append(a) or real(*a, **kw))
    assert len(scan(tmp_path).images) == 50
    assert not [path for (path,) in looks if str(path).endswith((".png", ".txt"))]


def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "closed/b.png")
    real = os.scandir

    def refuse(folder):  # root may list everything, so the system is not asked
        if os.fspath(folder).rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"closed: this folder cannot be listed \(Permission denied\); allow it"):
        list_images(tmp_path)
