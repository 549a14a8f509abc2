"""What stands around the code: workflows, forms for issues, hooks before a commit."""

import re
import sys

import pytest
import yaml
from tiny import ROOT

from semiseg.cli import COMMANDS
from semiseg.doctor import command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# An exact version, a major version or a commit; never a branch.
PINNED = re.compile(r"[\w-]+/[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})")
# Programs that a runner has or that a step before installs, and what follows `python -m`.
PROGRAMS = {"bash", "python", "gh"}
MODULES = {"pip", "build", "mkdocs"}


def name(path):
    return path.name


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(workflow):
    """Every command line that a workflow runs, those of the matrix included."""
    rows = [
        row for job in workflow["jobs"].values() for row in job.get("strategy", {}).get("matrix", {}).get("include", [])
    ]
    texts = [step["run"] for step in steps(workflow) if "run" in step and "matrix.command" not in step["run"]]
    return [line for text in [*texts, *(row["command"] for row in rows)] for line in text.splitlines()]


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflows_ask_for_little_and_take_pinned_actions(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert [step["uses"] for step in steps(workflow) if "uses" in step and not PINNED.fullmatch(step["uses"])] == []
    assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflows_run_what_is_there(path):
    lines = commands(read(path))
    assert lines
    for line in lines:
        program, *arguments = line.split()
        assert program in PROGRAMS, line
        if program in ("bash", "python"):
            assert arguments[1] in MODULES if arguments[0] == "-m" else (ROOT / arguments[0]).is_file(), line
        extras = re.findall(r"\[([\w,]+)\]", line)
        assert {extra for text in extras for extra in text.split(",")} <= set(PROJECT["optional-dependencies"]), line


def test_the_tests_run_on_every_python_that_is_allowed():
    low, high = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups())
    rows = read(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert [row["python"] for row in rows] == [f"3.{minor}" for minor in range(low, high)]
    assert {row["command"] for row in rows} == {"bash tools/test.sh", "bash .ci/run"}


def test_a_release_is_checked_before_it_is_built():
    release = read(ROOT / ".github/workflows/release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    lines = [step.get("run", "") for step in release["jobs"]["build"]["steps"]]
    check = next(
        i for i, line in enumerate(lines) if line.startswith('python tools/check_release.py "$GITHUB_REF_NAME"')
    )
    assert check < lines.index("python -m build")
    assert all(job.get("needs") == "build" for name, job in release["jobs"].items() if name != "build")


@pytest.mark.parametrize("path", FORMS, ids=name)
def test_forms_for_issues_are_complete(path):
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in fields}) == len(fields)
    assert all(part["attributes"]["label"] for part in fields)
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"`semiseg ([a-z-]+)", text)) <= set(COMMANDS)
    assert [page for page in re.findall(r"docs/[\w/-]+\.md", text) if not (ROOT / page).is_file()] == []


def test_a_bug_report_asks_for_what_the_doctor_says():
    fields = {part.get("id"): part for part in read(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")["body"]}
    assert fields["doctor"]["validations"] == {"required": True}
    asked = re.findall(r"`semiseg doctor (--[^`]*)`", fields["doctor"]["attributes"]["description"])
    assert asked
    for arguments in asked:
        command.parse(arguments.split())  # leaves the program where it does not know one
    assert {"command", "expected", "configuration", "log"} <= set(fields)


def test_the_hooks_take_the_ruff_of_the_tests():
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    (pin,) = re.findall(r"^ruff.*$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert hooks["ruff-check"]["additional_dependencies"] == hooks["ruff-format"]["additional_dependencies"] == [pin]
