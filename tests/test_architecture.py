"""Data flows downwards: who may import whom, read from the source."""

import ast
import graphlib
import subprocess
import sys

import pytest
from tiny import ROOT

from semiseg.cli import COMMANDS

PACKAGE = ROOT / "semiseg"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each part may import beside itself. An arrow points from left to right:
# common -> config -> data -> models -> losses -> methods -> engine -> command lines.
ALLOWED = {
    "common": set(),
    "cli": {"common"},
    "losses": {"common"},
    "metrics": set(),
    "config": {"common", "cli"},
    "data": {"common", "config"},
    "models": {"common", "config"},
    "checkpoints": {"common", "config"},
    "prepare": {"common", "cli", "config", "data"},
    "interop": {"common", "cli", "config", "data", "models", "checkpoints"},
    "methods": {"common", "config", "data", "models", "losses", "interop"},
    "inference": {"common", "config", "data", "models", "metrics"},
    "reporting": {"common", "config", "data", "metrics", "inference"},
    "engine": {"common", "config", "data", "models", "losses", "methods", "checkpoints", "inference"},
    # At the level of the command lines.
    "doctor": {"common", "cli", "config", "data", "models", "losses", "methods", "engine"},
}
# These parts start without MindSpore, whose import takes seconds: data tools, configuration, pages about runs.
WITHOUT_MINDSPORE = ("cli", "metrics", "config", "data", "prepare", "reporting")
COMMAND_LINES = ("train", "evaluate", "predict", "export", "report", "__main__")


def part_of(path):
    """``data`` for semiseg/data/x.py, ``losses`` for semiseg/losses.py, ``""`` for semiseg/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(path):
    """Full names of what a file imports, ``from a import b`` as a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def inside(path):
    """What a file imports of the package, without its first name."""
    return [name.removeprefix("semiseg.") for name in imports(path) if name.startswith("semiseg.")]


@pytest.mark.parametrize("path", [p for p in FILES if part_of(p) in ALLOWED], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    part = part_of(path)
    allowed = ALLOWED[part] | {part}
    assert [name for name in inside(path) if name.partition(".")[0] not in allowed] == []


def test_the_arrows_have_no_circle():
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())
    assert order.index("common") < order.index("data") < order.index("models") < order.index("engine")


def test_every_part_has_its_arrows_and_the_top_stays_small():
    top = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert {part_of(p) for p in FILES} - {""} == set(ALLOWED) | set(COMMAND_LINES)
    assert len(top) <= 8


def test_methods_and_engine_have_a_test_file_for_each_module_named_after_it():
    tests = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    of_the_suite = {"supervised", "method"}  # a whole method: test_methods.py runs all of them
    for path in FILES:
        *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
        if part_of(path) in ("methods", "engine") and name not in {"__init__"} | of_the_suite:
            names = {"_".join(["test", *folders[start:], name]) for start in range(len(folders) + 1)}
            assert names & tests, path


def test_the_whole_configuration_is_seen_by_what_builds_and_by_command_lines_alone():
    users = {p.relative_to(PACKAGE).with_suffix("").as_posix() for p in FILES if "config.keys.Config" in inside(p)}
    users = {name for name in users if not name.startswith("config/")}
    modules = [command.target.partition(":")[0] for command in COMMANDS.values()]
    commands = {name.removeprefix("semiseg.").replace(".", "/") for name in modules}
    assert users <= {"data/build", "data/lists", "data/paths", "engine/build", "engine/plan", *commands}
    assert {"data/build", "data/lists", "data/paths", "engine/build", "engine/plan"} <= users


def test_data_tools_and_configuration_start_without_mindspore():
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in FILES if part_of(p) in WITHOUT_MINDSPORE]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names!r}]; print('mindspore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_nothing_is_imported_relatively():
    assert [path for path in FILES if any(name.startswith(".") for name in imports(path))] == []


def test_nothing_is_drawn_from_global_random_state():
    for path in FILES:
        names = [name for name in imports(path) if name.partition(".")[0] == "random"]
        text = path.read_text(encoding="utf-8")
        assert names == [], path
        assert "np.random.seed" not in text, path
        if path.stem != "build":  # the initial weights: MindSpore's initialisers read no other source
            assert "set_seed" not in text, path


def test_the_twin_in_the_tests_is_independent():
    for path in FILES:
        assert not [name for name in imports(path) if name.partition(".")[0] in ("torch", "tests", "reference")], path
    for path in sorted((ROOT / "tests/reference").glob("*.py")):
        assert inside(path) == [], path
