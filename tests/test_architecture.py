"""Data flows downwards: who may import whom, read from the source."""

import ast

import pytest
from tiny import ROOT

PACKAGE = ROOT / "semiseg"
FILES = sorted(PACKAGE.rglob("*.py"))

# Modules of the package that each part may import, beside its own part; errors and rng everybody may.
LEAVES = {"errors", "files", "rng"}
ALLOWED = {
    "errors": set(),
    "files": set(),
    "rng": set(),
    "pictures": {"data"},
    "schema": set(),
    "checkpoint_file": set(),
    "misfit": set(),
    "checkpoint": {"checkpoint_file", "misfit"},
    "cli": set(),
    "device": set(),
    "metrics": set(),
    "distributed": set(),
    "losses": set(),
    "config_keys": set(),
    "config_rules": {"config_keys"},
    "config": {"schema", "config_keys", "config_rules", "interop.published_config"},
    "data": set(),
    "models": {"config_keys"},
    "interop": {"checkpoint", "misfit", "config_keys", "models", "schema", "data"},
    "methods": {"config_keys", "distributed", "schema", "data", "models", "losses", "interop"},
    "inference": {"config_keys", "models"},
    "reporting": {"data", "metrics", "pictures"},
    "prediction": {"config_keys", "data", "models", "inference", "pictures"},
    "engine": {"config_keys", "distributed", "checkpoint", "data", "models", "losses", "methods", "pictures"},
}
MUST_NOT = {
    "data": {"mindspore", "torch"},
    "schema": {"mindspore"},
    "config": {"mindspore"},
    "config_keys": {"mindspore"},
    "config_rules": {"mindspore"},
    "metrics": {"mindspore"},
    "rng": {"mindspore"},
    "errors": {"mindspore"},
    "files": {"mindspore"},
    "pictures": {"mindspore"},
    "reporting": {"mindspore"},
}


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
    allowed = ALLOWED[part] | LEAVES | {part}
    wrong = [name for name in inside(path) if not any(f"{name}.".startswith(f"{ok}.") for ok in allowed)]
    assert wrong == []
    assert [name for name in imports(path) if name.partition(".")[0] in MUST_NOT.get(part, ())] == []


def test_the_whole_configuration_is_for_command_lines_alone():
    users = {p.stem for p in FILES if "config_keys.Config" in inside(p)} - {"config", "config_rules"}
    below = {p.stem for p in FILES if part_of(p) in ALLOWED}
    assert users & below <= {"published_config"}
    assert {"assemble", "evaluate", "train"} <= users


def test_every_part_has_its_arrows():
    command_lines = {p.stem for p in FILES if 'if __name__ == "__main__"' in p.read_text(encoding="utf-8")}
    others = {part_of(p) for p in FILES} - set(ALLOWED) - {""} - command_lines
    assert {name for name in others if not name.startswith("assemble")} == set()


def test_nothing_is_imported_relatively():
    assert [path for path in FILES if any(name.startswith(".") for name in imports(path))] == []


def test_nothing_is_drawn_from_global_random_state():
    for path in FILES:
        names = [name for name in imports(path) if name.partition(".")[0] == "random"]
        text = path.read_text(encoding="utf-8")
        assert names == [], path
        assert "np.random.seed" not in text, path
        if not part_of(path).startswith(
            "assemble"
        ):  # the initial weights: MindSpore's initialisers read no other source
            assert "set_seed" not in text, path


def test_the_twin_in_the_tests_is_independent():
    for path in FILES:
        assert not [name for name in imports(path) if name.partition(".")[0] in ("torch", "tests", "reference")], path
    for path in sorted((ROOT / "tests/reference").glob("*.py")):
        assert inside(path) == [], path
