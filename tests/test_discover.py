"""Finding images in folders: which files are images, and which ids a description gives them."""

import pytest

from semiseg.common.errors import DataError
from semiseg.data.discover import find_ids, list_images
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
    assert find_ids(described, tmp_path, with_mask=False) == ["1", "sub/2"]
    assert find_ids(described, tmp_path) == ["1"]


def test_signs_of_patterns_are_taken_literally(tmp_path):
    touch(tmp_path, "1[x].png", "1x.png")
    assert find_ids(spec("{id}[x].png", "masks/{id}.png"), tmp_path, with_mask=False) == ["1"]


def test_a_folder_without_what_is_described_is_refused(tmp_path):
    touch(tmp_path, "images/1.png")
    with pytest.raises(DataError, match=r"no image 'images/\{id\}.png' with a mask 'masks/\{id\}.png' here"):
        find_ids(spec("images/{id}.png", "masks/{id}.png"), tmp_path)
    with pytest.raises(DataError, match=r"check dataset\.data_root"):
        find_ids(spec("pictures/{id}.png", "masks/{id}.png"), tmp_path, with_mask=False)
