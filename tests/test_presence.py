"""Which files are there: every kind of file is seen for what it is, and long lists cost a bounded number of looks."""

import os

import numpy as np
import pytest

from semiseg.data import presence
from semiseg.data.ids import Ids
from semiseg.data.presence import RealFiles, are_files, real_files, sampled


def look(*paths):
    return list(real_files(map(str, paths), len(paths)))


def test_files_links_and_what_is_none_are_told_apart(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "folder").mkdir()
    links = {"link.jpg": "a.jpg", "gone.jpg": "absent", "self.jpg": "self.jpg", "to_folder": "folder"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    a = str(tmp_path / "a.jpg")
    assert look(tmp_path / "a.jpg", tmp_path / "link.jpg") == [a, os.path.realpath(a)]
    nothing = ("absent.jpg", "folder", "gone.jpg", "self.jpg", "to_folder", "a.jpg/below", "null\0byte")
    assert look(*(tmp_path / name for name in nothing)) == [None] * len(nothing)


def test_threads_keep_the_order_of_the_paths(tmp_path):
    names = [f"{i}.jpg" for i in range(300)]
    for name in names[::2]:
        (tmp_path / name).touch()
    assert [path is not None for path in look(*(tmp_path / name for name in names))] == [True, False] * 150


def test_where_one_may_not_look_is_an_error(tmp_path, monkeypatch):
    def refuse(path):  # root may look anywhere, so the system is not asked
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(PermissionError):
        look(tmp_path / "a.jpg")


def test_short_lists_are_looked_at_whole_and_of_long_ones_a_fixed_sample():
    assert sampled(7, 7).tolist() == list(range(7))
    for count in (8, 100, 700, 1_000_000):
        chosen = sampled(count, 7)
        assert chosen.tolist() == sampled(count, 7).tolist() == sorted(set(chosen.tolist()))
        assert chosen[0] >= 0
        assert chosen[-1] < count
    assert len(sampled(1_000_000)) == presence.LOOKED_AT
    assert np.diff(sampled(1_000_000)).max() < 200  # spread over the list ...
    assert np.bincount(sampled(1_000_000) % 50, minlength=50).min() > 200  # ... and not every 50th


@pytest.mark.parametrize("many", [0, 1000])
def test_listing_a_folder_tells_what_a_look_at_each_file_tells(tmp_path, monkeypatch, many):
    monkeypatch.setattr(presence, "_MANY", many)
    (tmp_path / "masks/sub").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name in ("masks/a.png", "masks/sub/b.png", "target.png"):
        (tmp_path / name).touch()
    (tmp_path / "masks/linked.png").symlink_to(tmp_path / "target.png")
    (tmp_path / "masks/broken.png").symlink_to(tmp_path / "absent.png")
    names = ["masks/a.png", "masks/c.png", "masks/sub/b.png", "masks/linked.png", "masks/broken.png", "masks/sub"]
    names += ["absent/a.png", "file/a.png", "target.png"]
    there = are_files(str(tmp_path), names)
    assert there.tolist() == [True, False, True, True, False, False, False, False, True]


def test_a_folder_that_may_be_entered_but_not_listed_is_looked_into(tmp_path, monkeypatch):
    monkeypatch.setattr(presence, "_MANY", 0)
    (tmp_path / "a.png").touch()

    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert are_files(str(tmp_path), ["a.png", "b.png"]).tolist() == [True, False]


@pytest.mark.parametrize("template", ["images/{id}.jpg", "{id}/image.jpg", "{id}"])
@pytest.mark.parametrize("ids", [["a", "b"], ["a/x", "linked/x", "linked/deep/y"]])
def test_real_paths_are_those_of_the_system(tmp_path, template, ids):
    tmp_path = tmp_path / "a folder {id}"
    for folder in ("images/a", "elsewhere/deep", "a", "b"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root").symlink_to(tmp_path)
    root = tmp_path / "root"
    expected = [os.path.realpath(root / template.replace("{id}", sample)) for sample in ids]
    files = RealFiles(root, Ids(ids), template, {})
    assert list(files) == expected
    assert files.take(np.ones(len(ids), bool)) == expected
    assert files.hashes.tolist() == list(map(hash, expected))
    assert list(RealFiles(root, Ids(ids), template, {1: "/other"})) == [expected[0], "/other", *expected[2:]]


def test_of_very_many_folders_a_sample_is_followed(tmp_path, monkeypatch):
    ids = Ids(f"{i}/x" for i in range(200))
    looks = []
    real = presence._real_folder
    monkeypatch.setattr(presence, "_real_folder", lambda path: looks.append(path) or real(path))
    assert len(list(RealFiles(tmp_path, ids, "{id}", {}, most=10))) == 200
    assert len(looks) == 10
