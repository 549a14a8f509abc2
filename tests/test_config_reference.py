"""docs/configuration.md is what the dataclasses say."""

import re

import pytest
from tool import load_tool, run_tool

from semiseg.config import flatten, load
from semiseg.config.keys import Config
from semiseg.config.schema import parse_scalar_or_tree

tool = load_tool("config_reference")


@pytest.fixture(scope="module")
def rows():
    """Key -> (default, expected, meaning)."""
    found = {}
    for line in tool.reference().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0].startswith("`"):
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_the_page_is_current(capsys):
    code, _, err = run_tool(capsys, tool, "--check")
    assert (code, err) == (0, ""), "python tools/config_reference.py writes it"


def test_an_old_page_is_told_and_written_anew(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "OUT", tmp_path / "page.md")
    assert run_tool(capsys, tool, "--check")[0] == 2
    assert run_tool(capsys, tool)[0] == 0
    assert run_tool(capsys, tool, "--check")[0] == 0
    (tmp_path / "page.md").write_text("old")
    assert run_tool(capsys, tool, "--check")[0] == 2
    assert (tmp_path / "page.md").read_text() == "old"


def test_every_key_has_a_row_with_its_default(rows):
    full = flatten(tool.filled(Config()))
    assert set(full) <= set(rows)
    for key, value in full.items():
        found = parse_scalar_or_tree(rows[key][0].strip("`"), "page")
        plain = list(value) if isinstance(value, tuple) else value
        assert found == plain, key
    assert rows["net.proto_head"][0] == "`null`"
    assert rows["dataset.val.crop.type"][0] == "`center`"


def test_meaning_and_range_come_from_the_code(rows):
    assert rows["trainer.epochs"] == ["`80`", "at least 1", "an epoch is one pass over the unlabelled list"]
    assert rows["net.num_classes"][1] == "2..255 or null"
    assert rows["dataset.train.unlabeled_dir"][1] == "a path or null"


def test_every_key_of_an_experiment_can_be_looked_up(rows):
    for folder in ("cityscapes/186/u2pl", "pascal/183/ours", "custom/20/ours"):
        written = load(tool.ROOT / "experiments" / folder).origins
        assert set(written) <= set(rows)
