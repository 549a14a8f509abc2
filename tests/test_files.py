"""Files are whole or not there."""

import pytest

from semiseg.common.errors import UserError
from semiseg.common.files import replace_file


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
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
