"""The site of the documentation: every page is in it, and it builds without a warning where its tools are installed."""

import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
import yaml
from markdown_pages import tracked_pages
from tiny import ROOT
from tool import load_tool

TOOLS = ("mkdocs", "material", "mkdocstrings")
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def pages_of(nav):
    """Every page of a menu, in order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]


@pytest.fixture
def site_tools():
    for name in TOOLS:
        pytest.importorskip(name, reason='the site needs pip install -e ".[docs]"')


def test_the_menu_has_every_page_once():
    menu = pages_of(SITE["nav"])
    at_the_top_or_docs = [path.relative_to(ROOT).as_posix() for path in tracked_pages()]
    pages = [path for path in at_the_top_or_docs if path.startswith("docs/") or "/" not in path]
    assert sorted(menu) == sorted(pages)


def test_the_reference_is_of_what_is_there():
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    parts = re.findall(r"^<!-- ::: ([\w.]+)(?:\n    options: (.*))? -->$", text, re.MULTILINE)
    assert len(parts) == text.count(":::") > 10
    for module, options in parts:
        names = vars(import_module(module))
        assert [name for name in yaml.safe_load(options or "{members: []}")["members"] if name not in names] == []


LISTS = """Steps:
1. One

       code

   text
   - inner

     more
2. Two

```
- no list
  here
```"""
INDENTED = """Steps:

1. One

        code

    text
    - inner

        more

2. Two

```
- no list
  here
```"""


def test_lists_are_indented_for_the_sites_dialect(site_tools):
    assert load_tool("docs_site").with_indented_lists(LISTS) == INDENTED


def test_it_builds_without_a_warning(site_tools, tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "GITHUB_REPOSITORY": "someone/semiseg"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "docs/api/index.html").read_text(encoding="utf-8")
    assert 'id="semiseg.losses.ohem_cross_entropy"' in reference
    architecture = (tmp_path / "docs/architecture/index.html").read_text(encoding="utf-8")
    assert 'href="../../semiseg/losses.py/"' in architecture
    assert "ohem_cross_entropy" in (tmp_path / "semiseg/losses.py/index.html").read_text(encoding="utf-8")
    assert "https://github.com/someone/semiseg" in architecture
