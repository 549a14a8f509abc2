"""Which images are meant, and under which names their results go."""

from pathlib import Path

import pytest

from semiseg.common.errors import DataError
from semiseg.data.discover import MaskFiles
from semiseg.data.specs import custom_spec
from semiseg.inference.images import find_items


@pytest.fixture
def folder(tmp_path):
    for name in ("a/x.jpg", "a/deep/y.PNG", "b/x.jpg", "a/notes.txt", "a/.hidden.png", "empty/readme"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(folder, *inputs, out="out"):
    return [item.name for item in find_items([folder / path for path in inputs], folder / out)]


def test_a_folder_means_all_images_below_it(folder):
    found = find_items([folder / "a"], folder / "out")
    assert [item.name for item in found] == ["deep/y", "x"]
    assert [item.path for item in found] == [folder / "a/deep/y.PNG", folder / "a/x.jpg"]


def test_a_file_keeps_its_name_whatever_its_extension(folder):
    (folder / "scan.jp2").write_bytes(b"")
    assert names(folder, "scan.jp2", "a/x.jpg") == ["scan", "x"]


def test_links_have_names_of_their_own_also_where_they_lead_to_one_file(folder):
    for name in ("cam1.jpg", "cam2.jpg"):
        (folder / "b" / name).symlink_to(folder / "b/x.jpg")
    found = find_items([folder / "b", folder / "b/cam2.jpg"], folder / "out")
    assert [(item.name, item.path) for item in found] == [
        (name, folder / f"b/{name}.jpg") for name in ("cam1", "cam2", "x")
    ]


def test_each_image_counts_once(folder):
    assert names(folder, "a", "a/x.jpg", "a/../a/x.jpg") == ["deep/y", "x"]


def test_equal_names_get_their_extension_then_their_folder(folder):
    assert names(folder, "a", "b") == ["a/deep/y.PNG", "a/x.jpg", "b/x.jpg"]
    (folder / "a/x.png").write_bytes(b"")
    assert names(folder, "a") == ["deep/y.PNG", "x.jpg", "x.png"]
    (folder / "a/X.png").write_bytes(b"")  # one file on some systems
    assert names(folder, "a/x.png", "a/x.jpg") == ["x.png", "x.jpg"]
    with pytest.raises(DataError, match="same name"):
        names(folder, "a/x.png", "a/X.png")


def test_a_folder_named_as_an_images_results_is_not_in_their_way(folder):
    (folder / "a/x.png").mkdir()
    (folder / "a/x.png/z.jpg").write_bytes(b"")
    assert names(folder, "a") == ["deep/y.PNG", "x.jpg", "x.png/z.jpg"]


def test_images_that_cannot_be_told_apart_are_refused(folder):
    (folder / "c/a").mkdir(parents=True)
    (folder / "c/a/x.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="same name") as error:
        names(folder, "a", "c/a")
    assert str(folder / "a/x.jpg") in str(error.value)
    assert str(folder / "c/a/x.jpg") in str(error.value)


@pytest.mark.parametrize(("path", "message"), [("gone.jpg", "no such image"), ("empty", "no image in this folder")])
def test_missing_images_and_empty_folders_are_refused(folder, path, message):
    with pytest.raises(DataError, match=message) as error:
        names(folder, "a", path)
    assert str(folder / path) in str(error.value)


def test_masks_and_hidden_files_in_a_folder_are_left_out_and_told(folder):
    for path in ("c/x.jpg", "c/x_mask.png", "c/._x.jpg", "c/.ipynb_checkpoints/x.jpg", "c/scan.JPE"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")
    masks, said = MaskFiles(custom_spec("own", ["a", "b"], "images/{id}.jpg", "images/{id}_mask.png"), None), []
    items = find_items([folder / "c"], folder / "out", masks, said.append)
    assert [item.name for item in items] == ["scan", "x"]
    assert said == [
        f"3 of 5 files in {folder / 'c'} are left out (hidden: 2 (._x.jpg, .ipynb_checkpoints/); masks: 1 (x_mask.png))"
    ]
    assert names(folder, "c/x_mask.png") == ["x_mask"]  # named, it is meant


def test_earlier_results_are_no_input(folder):
    assert names(folder, "", out="a") == ["b/x"]
    for path in ("a", "a/x.jpg"):
        with pytest.raises(DataError, match="output folder"):
            names(folder, path, out="a")


def test_the_working_directory_has_a_name_too(folder, monkeypatch):
    monkeypatch.chdir(folder / "a")
    assert [item.name for item in find_items([Path(), Path("../b/x.jpg")], Path("out"))] == [
        "a/deep/y.PNG",
        "a/x.jpg",
        "b/x.jpg",
    ]
