"""benchmarks/mutation.py: what a mutant is, and how it is told that a test notices one."""

import json
import subprocess
import sys

import pytest
from tiny import ROOT
from tool import load_tool

SOURCE = """\
def area(width, height):
    return width * height


def doubled(number):
    return number + number


def rest(left):
    while left > 0:
        left = left - 2
    return left
"""
TESTS = """\
import os
from little.sums import area, doubled, rest

def test_area():
    assert area(2, 3) == 6

def test_doubled_is_weak():
    assert doubled(0) == 0

def test_rest():
    assert rest(3) == -1
"""
CHANGES = {
    "unnoticed": ("number + number", "number - number"),
    "noticed": ("width * height", "width - height"),
    "endless": ("left - 2", "left * 2"),
    "no import": ("def area", "def arex"),
    "death": ("return left", "import os; os.abort()"),
}
# A process of its own: what it forks must not have imported the package.
EXAMINE = """\
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pytest
import mutation
from mutants import Mutant
mutation.TIMES, mutation.SHORTEST = 4, 1
root, folder, changes = Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4])
copy = mutation.Copy(root, folder, ("little", "tests"))
file = "little/sums.py"

def examine(names, *stages):
    source = (root / file).read_text()
    mutants = [Mutant(file, name, 0, 1, *changes[name], source.replace(*changes[name])) for name in names]
    try:
        return list(mutation.Examination(copy, {file: stages}).of_file(file, mutants))
    except mutation.Refused as error:
        return str(error)

weak = ["tests/test_sums.py::test_doubled_is_weak"]
print(json.dumps({
    "all": examine(changes, ["tests/test_sums.py"], weak),
    "second stage": examine(["unnoticed"], weak, ["tests/test_more.py"]),
    "wrong test": examine(changes, ["tests/test_wrong.py"]),
    "absent test": examine(changes, weak, ["tests/test_absent.py"]),
}))
"""
SEVERAL = "from little.sums import doubled\ndef test_two():\n    assert doubled(2) == 4\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A package of one module, with tests that are strong, weak, and wrong."""
    root = tmp_path_factory.mktemp("project")
    for name in ("little", "tests"):
        (root / name).mkdir()
    (root / "little/__init__.py").touch()
    (root / "little/sums.py").write_text(SOURCE)
    (root / "tests/test_sums.py").write_text(TESTS)
    (root / "tests/test_more.py").write_text(SEVERAL)
    (root / "tests/test_wrong.py").write_text("def test_wrong():\n    assert 1 == 2\n")
    return root


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return tmp_path_factory.mktemp("work") / "copy"


@pytest.fixture(scope="module")
def examined(root, copy):
    command = [sys.executable, "-c", EXAMINE, *map(str, (ROOT / "benchmarks", root, copy)), json.dumps(CHANGES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_mutant_is_told_apart(examined):
    records = {record["operator"]: record for record in examined["all"]}
    assert {name: record["result"] for name, record in records.items()} == {
        "unnoticed": "survived",
        "noticed": "killed",
        "endless": "timeout",
        "no import": "killed",
        "death": "killed",
    }
    assert records["noticed"]["by"] == "tests/test_sums.py::test_area"
    assert records["no import"]["by"] == "(import)"
    assert records["death"]["by"].startswith("(the process died")


def test_what_the_first_stage_lets_pass_the_second_may_notice(examined):
    (record,) = examined["second stage"]
    assert (record["result"], record["by"]) == ("killed", "tests/test_more.py::test_two")


def test_tests_that_fail_on_the_sources_as_they_are_are_refused_in_one_line(examined):
    assert examined["wrong test"] == (
        "tests/test_wrong.py: must pass on the sources as they are, but tests/test_wrong.py::test_wrong fails"
    )
    assert examined["absent test"] == ("tests/test_absent.py: must pass on the sources as they are, but (import) fails")


def test_sources_stay_as_they_are_and_the_copy_is_mended(examined, root, copy):
    assert (root / "little/sums.py").read_text() == SOURCE
    assert (copy / "tree/little/sums.py").read_text() == SOURCE


@pytest.fixture(scope="module")
def mutants():
    return load_tool("mutants", "benchmarks")


TYPED = '''\
"""One - two."""
from typing import NamedTuple

class Pair(NamedTuple):
    first: int | None
    second: "int" = 1  # ÄÖÜ

def late(é: int | None, other: int | None = None) -> int | None:
    """Three * four."""
    kept: dict[str, int | None] = {}
    return é - 7 if other is None else kept
'''


def test_mutants_change_what_runs_but_no_annotations_and_none_twice(mutants):
    pytest.importorskip("cosmic_ray")
    made = mutants.mutants_of("typed.py", TYPED)
    assert {(mutant.line, mutant.after) for mutant in made} == {
        (6, 'second: "int" = 2  # ÄÖÜ'),
        (6, 'second: "int" = 0  # ÄÖÜ'),
        (11, "return é + 7 if other is None else kept"),
        (11, "return é - 8 if other is None else kept"),
        (11, "return é - 6 if other is None else kept"),
        (11, "return é - 7 if other is not None else kept"),
    }
    assert all(mutant.text.splitlines()[mutant.line - 1].strip() == mutant.after for mutant in made)


def test_comparisons_are_changed_at_their_boundary_on_one_side_and_into_the_opposite(mutants):
    pytest.importorskip("cosmic_ray")
    made = mutants.mutants_of("compare.py", "def f(a, b):\n    return a < b\n")
    assert {mutant.after for mutant in made} == {"return a <= b", "return a != b", "return a >= b"}


def of_files(mutants, sizes):
    return [mutants.Mutant(file, "x", i, i, "", "", "") for file, size in sizes.items() for i in range(size)]


def test_a_sample_has_each_files_share_and_depends_on_the_seed_alone(mutants):
    everything = of_files(mutants, {"a": 60, "b": 30, "c": 10})
    first = mutants.sample(everything, 20, seed=1)
    assert [sum(mutant.file == file for mutant in first) for file in "abc"] == [12, 6, 2]
    assert mutants.sample(everything, 20, seed=1) == first
    assert mutants.sample(everything, 20, seed=2) != first
    assert mutants.sample(everything, 100, seed=1) == everything


def test_shares_are_whole_and_add_up(mutants):
    assert mutants.shares({"a": 5, "b": 3, "c": 3}, 4) == {"a": 2, "b": 1, "c": 1}
    assert mutants.shares({"a": 1, "b": 1, "c": 1}, 2) == {"a": 1, "b": 1, "c": 0}


@pytest.fixture(scope="module")
def mutation():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")  # modules there import each other
        yield load_tool("mutation", "benchmarks")


def record(result, by="", file="a.py", occurrence=0):
    return {
        "file": file, "line": 1, "operator": "x", "occurrence": occurrence, "before": "", "after": "",
        "result": result, "by": by,
    }  # fmt: skip


def test_the_table_counts_imports_and_time_limits_among_the_killed(mutation):
    records = [
        record("killed", "tests/test_a.py"), record("killed", "(import)"), record("timeout"), record("survived"),
        record("survived", file="b.py"),
    ]  # fmt: skip
    lines = mutation.table(records, {"a.py": 9, "b.py": 2, "c.py": 7}).splitlines()
    assert lines[2] == "| `a.py` | 9 | 4 | 3 | 1 | 1 | 1 | 75.0% |"
    assert lines[3] == "| `b.py` | 2 | 1 | 0 | 0 | 0 | 1 | 0.0% |"
    assert lines[4] == "| **all** | 11 | 5 | 3 | 1 | 1 | 2 | 60.0% |"


def test_recorded_mutants_are_known_again_and_the_last_record_counts(mutation, tmp_path):
    path = tmp_path / "records.json"
    lines = [record("survived"), record("killed", occurrence=1), record("killed", "by a new test")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = mutation.read_records(path)
    assert [item["result"] for item in records.values()] == ["killed", "killed"]
    assert ("a.py", "x", 1, "", "") in records
    assert mutation.read_records(tmp_path / "absent.json") == {}


def test_the_interval_is_wilsons(mutation):
    low, high = mutation.interval(90, 100)
    assert low == pytest.approx(0.8256, abs=1e-4)
    assert high == pytest.approx(0.9448, abs=1e-4)


def test_a_file_out_of_scope_is_named(mutation, capsys):
    assert mutation.main(["--files", "cli.py"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--files cli.py: expected ends of paths in scope: semiseg/metrics.py,")


def test_where_cosmic_ray_is_missing_one_line_says_how_to_get_it(mutation, capsys, monkeypatch):
    for name in ("cosmic_ray", "cosmic_ray.mutating"):
        monkeypatch.setitem(sys.modules, name, None)
    assert mutation.main(["--files", "metrics.py"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("import of cosmic_ray")
    assert line.endswith('pip install -c constraints.txt -e ".[test,parity,mutation]"')


def test_every_file_in_scope_has_tests_that_are_there(mutation):
    methods = {str(path.relative_to(ROOT)) for path in (ROOT / "semiseg/methods").rglob("*.py")}
    assert {file for file in mutation.STAGES if not (ROOT / file).is_file()} == set()
    assert {file for file in methods - set(mutation.STAGES) if "def " in (ROOT / file).read_text()} == set()
    tests = {test.partition("::")[0] for stages in mutation.STAGES.values() for stage in stages for test in stage}
    assert {test for test in tests if not (ROOT / test).is_file()} == set()
