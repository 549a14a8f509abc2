"""tools/check_release.py: a tag, the version, the citation and the changelog say the same."""

import re

import pytest
from tiny import ROOT
from tool import load_tool, run_tool

import semiseg
from semiseg.common.errors import UserError

TOOL = load_tool("check_release")
CHANGELOG = """# Changelog

## [Unreleased]

## [0.2.0] - 2027-01-31

### Added

- more

## [0.1.0] - 2026-11-30

- all
"""
CITATION = "title: SemiSeg\nversion: 0.2.0\ndate-released: 2027-01-31\nlicense: Apache-2.0\n"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "CITATION.cff").write_text(CITATION)
    monkeypatch.setattr(TOOL, "ROOT", tmp_path)
    monkeypatch.setattr(semiseg, "__version__", "0.2.0")
    return tmp_path


def test_the_notes_are_the_section_of_the_version():
    assert TOOL.section(CHANGELOG, "0.2.0") == ("2027-01-31", "### Added\n\n- more\n")
    assert TOOL.section(CHANGELOG, "0.1.0") == ("2026-11-30", "- all\n")


@pytest.mark.parametrize("version", ["0.3.0", "0.1", "Unreleased"])
def test_a_version_without_a_dated_section_is_refused(version):
    with pytest.raises(UserError, match=rf"expected a section '## \[{version}\]"):
        TOOL.section(CHANGELOG, version)
    with pytest.raises(UserError, match="with what is new"):
        TOOL.section("## [0.1.0] - 2026-11-30\n\n## [0.0.1] - 2026-11-29\n- all\n", "0.1.0")


def test_a_release_that_agrees_is_let_through(clone, capsys):
    code, out, err = run_tool(capsys, TOOL, "v0.2.0", "--notes", clone / "notes.md")
    assert (code, out, err) == (0, "v0.2.0 may be released\n", "")
    assert (clone / "notes.md").read_text() == "### Added\n\n- more\n"


def test_what_disagrees_is_named_in_one_line(clone, capsys):
    code, _, err = run_tool(capsys, TOOL, "v0.2.1")
    assert (code, err) == (2, "error: v0.2.1: semiseg/__init__.py says 0.2.0; tag that as v0.2.0, or change it there")
    for line, stale in (
        ("version: 0.2.0", "version: 0.1.0"),
        ("date-released: 2027-01-31", "date-released: 2026-11-30"),
    ):
        (clone / "CITATION.cff").write_text(CITATION.replace(line, stale))
        assert run_tool(capsys, TOOL, "v0.2.0")[::2] == (2, f"error: CITATION.cff: expected the line '{line}'")


def test_this_version_is_released_and_what_is_new_goes_above(capsys):
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE)[:2] == ["Unreleased", semiseg.__version__]
    code, _, err = run_tool(capsys, TOOL, f"v{semiseg.__version__}")
    assert code == 0, err
