"""Which outputs are refused before the work, and that looking makes nothing."""

import pytest

from semiseg.common.errors import ConfigError
from semiseg.common.outputs import Output, check_outputs, make_folders


@pytest.fixture
def there(tmp_path):
    """A folder with a file, a folder with an empty folder, a file."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used/a").write_text("")
    (tmp_path / "empty/deep").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    return tmp_path


def refused(message, *outputs, inputs=()):
    with pytest.raises(ConfigError, match=message) as stop:
        check_outputs(outputs, inputs)
    assert "\n" not in str(stop.value)


def test_files_and_folders_may_lie_in_each_other(there):
    outputs = [
        Output("--save", there / "new", is_folder=True),
        Output("--save", there / "new/index", is_folder=True),
        Output("--json", there / "new/scores/x.json"),
        Output("--log", there / "new/x.txt"),
    ]
    before = sorted(there.rglob("*"))
    check_outputs(outputs)
    assert sorted(there.rglob("*")) == before
    make_folders(outputs)
    assert sorted(str(p.relative_to(there / "new")) for p in (there / "new").rglob("*")) == ["index", "scores"]
    check_outputs(outputs)  # what it made itself is no obstacle


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Output("--a", "x"), Output("--b", "x")),
        (Output("--a", "x"), Output("--b", "x", is_folder=True)),
        (Output("--a", "x"), Output("--b", "x/deep/y")),
        (Output("--a", "x"), Output("--b", "z/../x/y", is_folder=True)),
    ],
)
def test_nothing_lies_at_or_below_a_file(there, first, second):
    outputs = [Output(one.option, there / one.path, one.is_folder) for one in (first, second)]
    refused("--a", *outputs)
    refused("--a", *reversed(outputs))


def test_what_is_there_stays_unless_it_may_be_replaced(there):
    refused("used: holds files already.*--out or else", Output("--out", there / "used", True, otherwise=" or else"))
    refused("file: is there already; name another file$", Output("--out", there / "file"))
    check_outputs([Output("--out", there / "used", True, replace=True), Output("--j", there / "file", replace=True)])
    check_outputs([Output("--out", there / "empty", is_folder=True)])


def test_a_file_is_no_folder_and_a_folder_no_file(there):
    refused("file: cannot be written.*--out", Output("--out", there / "file", is_folder=True, replace=True))
    refused("used: is a folder; --json expects the name of a file", Output("--json", there / "used", replace=True))
    refused("x.json: cannot be written.*file is a file", Output("--json", there / "file/deep/x.json"))


def test_an_input_is_never_an_output(there):
    (there / "link").symlink_to(there / "file")
    refused("link: is read", Output("--json", there / "link", replace=True), inputs=[there / "file"])
    refused("file: is read", Output("--out", there / "file", True, replace=True), inputs=[there / "file"])


def test_a_folder_that_cannot_be_made_is_one_line(there):
    with pytest.raises(ConfigError, match=r"file: cannot be written .*--out"):
        make_folders([Output("--out", there / "file", is_folder=True)])
