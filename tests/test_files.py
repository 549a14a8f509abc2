"""Files are whole or not there."""

import os

import pytest

from semiseg.common import files
from semiseg.common.errors import DataError, UserError
from semiseg.common.files import replace_file, replacing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path):
    replace_file(tmp_path / "a/b/x.txt", "größe\n")
    replace_file(tmp_path / "a/b/x.txt", b"new")
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "a/b").iterdir()] == [("x.txt", b"new")]


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("keep")
    (tmp_path / "folder/x").mkdir(parents=True)
    for path in (tmp_path / "file/x.txt", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot be written") as error:
            replace_file(path, "new")
        assert str(path) in str(error.value)
    assert (tmp_path / "file").read_text() == "keep"
    assert names(tmp_path) == ["file", "folder"]


def test_a_writer_gets_a_name_with_the_suffix_and_the_old_file_stays_until_it_is_done(tmp_path):
    path = tmp_path / "x.npz"
    path.write_text("old")
    with replacing(path) as partial:
        assert (partial.parent, partial.suffix) == (tmp_path, ".npz")
        partial.write_text("new")
        assert path.read_text() == "old"
    assert (names(tmp_path), path.read_text()) == (["x.npz"], "new")


@pytest.mark.parametrize("wrong", [OSError(28, "No space left on device"), ValueError("ours"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_the_old_file(tmp_path, wrong):
    path = tmp_path / "x.txt"
    path.write_text("old")
    expected = DataError if isinstance(wrong, OSError) else type(wrong)

    def write():
        with replacing(path, "free some space", DataError) as partial:
            partial.write_text("ne")
            raise wrong

    with pytest.raises(expected) as caught:
        write()
    assert (names(tmp_path), path.read_text()) == (["x.txt"], "old")
    if isinstance(wrong, OSError):
        assert str(caught.value) == f"{path}: cannot be written (No space left on device); free some space"


def test_a_reason_without_a_number_is_its_first_line(tmp_path):
    error = files.cannot_write(tmp_path / "x", OSError("MindSpore failed\nat line 3"))
    assert str(error) == f"{tmp_path / 'x'}: cannot be written (MindSpore failed); name another place"


def test_what_comes_before_is_called_when_the_new_file_is_whole_and_on_the_disk(tmp_path, monkeypatch):
    path, events = tmp_path / "x.txt", []
    path.write_text("old")
    real = os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (events.append("fsync"), real(descriptor)))
    with replacing(path, synced=True, before=lambda: events.append(path.read_text())) as partial:
        partial.write_text("new")
    assert events == ["fsync", "old", "fsync"]  # the file, then the folder
