"""What an installation is told and holds: version, files that are no Python, what is cited."""

import re
import sys
from importlib import import_module

import pytest
import yaml
from tiny import ROOT

import semiseg

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_command_leads_to_a_function(project):
    module, function = project["project"]["scripts"]["semiseg"].split(":")
    assert callable(getattr(import_module(module), function))


def test_every_file_that_is_no_python_is_packed(project):
    (patterns,) = project["tool"]["setuptools"]["package-data"].values()
    files = [p for p in (ROOT / "semiseg").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert [p for p in files if not any(p.match(pattern) for pattern in patterns)] == []
    assert ROOT / "semiseg/py.typed" in files


def test_requirements_are_what_pip_reads(project):
    dynamic = project["tool"]["setuptools"]["dynamic"]
    assert dynamic["version"] == {"attr": "semiseg.__version__"}
    (name,) = dynamic["dependencies"]["file"]
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9-]+(==|>=)[0-9.*]+(,<[0-9.]+)?", line) for line in lines)
    assert {"mindspore", "pydantic", "plotly", "jinja2", "pooch", "filelock"} <= {re.split("[=>]", s)[0] for s in lines}


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == semiseg.__version__
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Xu", "Liu", "Bian", "Yang"]
    assert (paper["year"], paper["type"]) == (2022, "conference-paper")
