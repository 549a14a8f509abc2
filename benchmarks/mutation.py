"""Changes methods, losses, metrics, transforms, strong views and the step in small wrong ways, one at a time, and
counts how many changes a test notices. docs/testing.md has the figures.

``python benchmarks/mutation.py [--files NAME ...] [--sample N] [--seed S] [--json FILE] [--again]``: hours for all,
minutes for a file. Needs ``pip install -e ".[test,parity,mutation]"``.
"""

import argparse
import gc
import importlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mutant_tests import FAILED, IMPORT, PASSED, TIMEOUT, Copy, Outcome
from mutants import Mutant, mutants_of, sample

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("semiseg", "tests")
KILLED, SURVIVED = "killed", "survived"
TIMES, SHORTEST = 8, 10.0  # a limit is so many times what the tests take unchanged, and no less than so many seconds
Stages = tuple[Sequence[str], ...]

# What the tests import, for every run to begin with. Not what they test.
IMPORTED = (
    *("mindspore", "mindspore.ops", "numpy", "cv2", "scipy.cluster.vq", "scipy.special", "scipy.ndimage", "torch"),
    *("PIL.Image", "PIL.ImageFile", "PIL.TiffImagePlugin", "simplejpeg", "yaml", "tensorboardX", "psutil", "filelock"),
    *("pydantic.main", "pydantic.json_schema", "pydantic.types", "pydantic.functional_validators", "pooch", "pytest"),
)


def _tests(*names: str) -> list[str]:
    """Paths of test files, or of tests in them, by their names without ``tests/test_``."""
    return [f"tests/test_{file}.py{separator}{test}" for file, separator, test in (n.partition("::") for n in names)]


_GOLDEN = "golden::test_a_training_step"
_STEP = "parity_step::test_loss_gradients_weights_statistics_prototypes_and_teacher[ours]"
_SEMI = "parity_semi_steps::test_losses_gradients_weights_statistics_bank_and_confidences"
_FOLLOWED = "parity_ael::test_loss_and_gradient_of_the_consistency"
_PARTS = "step::test_micro_batches_make_the_step_of_the_whole_batch"
# For each file the tests that speak of it, fast ones first; what these do not notice is shown to the next stage.
STAGES: dict[str, Stages] = {
    "semiseg/metrics.py": (_tests("metrics"),),
    "semiseg/losses.py": (_tests("losses", "pseudo_labels"), _tests(_GOLDEN, f"{_FOLLOWED}[confidence1-{{}}]")),
    "semiseg/data/transforms.py": (_tests("transforms"),),
    "semiseg/data/photometric.py": (_tests("photometric"),),
    "semiseg/methods/pseudo_labels.py": (_tests("pseudo_labels"), _tests("mixing", "padding")),
    "semiseg/methods/sampling.py": (_tests("sampling"), _tests(_GOLDEN, "methods", _STEP)),
    "semiseg/methods/mixing.py": (_tests("mixing"), _tests(f"{_SEMI}[ael]", _STEP)),
    "semiseg/methods/context.py": (_tests("context"), _tests(_GOLDEN), _tests("step")),
    "semiseg/methods/__init__.py": (
        _tests("methods::test_methods_are_found_by_name_and_an_unknown_one_is_named_with_the_nearest"),
    ),
    "semiseg/methods/class_balance.py": (_tests("class_balance"),),
    "semiseg/methods/base.py": (_tests(_GOLDEN, "base"), _tests("methods", "padding"), _tests(_PARTS, _STEP)),
    "semiseg/methods/supervised.py": (_tests("base"),),
    "semiseg/methods/teacher.py": (
        _tests(
            "teacher::test_the_decay_starts_as_a_mean_and_is_limited",
            "teacher::test_weights_and_statistics_are_averaged_and_prototypes_are_not",
            "teacher::test_copying_takes_all_or_the_statistics_alone",
            "teacher::test_a_teacher_that_starts_with_the_semi_phase_is_a_copy_there",
            "teacher::test_entering_the_semi_phase_makes_a_copy_where_the_teacher_starts_there_and_else_changes_nothing",
            "teacher::test_teacher_statistics_by_forward_follow_the_teachers_own_activations",
        ),
        _tests("teacher", "methods"),
        _tests(_STEP, f"{_SEMI}[u2pl]"),
    ),
    "semiseg/methods/mean_teacher.py": (
        _tests(_GOLDEN),
        _tests("mean_teacher", "padding"),
        _tests("ael_equalizer", "teacher"),
        _tests(_PARTS, _STEP, f"{_SEMI}[u2pl]"),
    ),
    "semiseg/methods/fixmatch.py": (_tests("fixmatch"), _tests("parity_unimatch", "methods")),
    "semiseg/methods/unimatch.py": (_tests("unimatch"), _tests("parity_unimatch", "methods")),
    "semiseg/methods/prototype.py": (_tests(_GOLDEN), _tests("prototype", "padding"), _tests(_PARTS, _STEP)),
    "semiseg/methods/proto_init.py": (_tests("proto_init"), _tests("prototype", "padding")),
    "semiseg/methods/ael/banks.py": (_tests("ael_banks", "ael_adaptive_cutmix"), _tests(f"{_SEMI}[ael]")),
    "semiseg/methods/ael/copy_paste.py": (_tests("ael_copy_paste"), _tests(f"{_SEMI}[ael]", "padding")),
    "semiseg/methods/ael/adaptive_cutmix.py": (_tests("ael_adaptive_cutmix"), _tests(f"{_SEMI}[ael]", "padding")),
    "semiseg/methods/ael/equalizer.py": (_tests("ael_equalizer"), _tests(f"{_SEMI}[ael]")),
    "semiseg/methods/ael/method.py": (
        _tests(f"{_FOLLOWED}[confidence1-{{}}]", f"{_FOLLOWED}[confidence1-{{'gamma': 0.5, 'gamma2': 2.0}}]"),
        _tests(f"{_SEMI}[ael]", "padding"),
        _tests("parity_ael", "methods", "ael_equalizer"),
    ),
    "semiseg/methods/u2pl/memory_bank.py": (_tests("memory_bank"), _tests("contrast", f"{_SEMI}[u2pl]")),
    "semiseg/methods/u2pl/contrast.py": (_tests("contrast"), _tests("parity_u2pl", f"{_SEMI}[u2pl]")),
    "semiseg/methods/u2pl/method.py": (_tests("u2pl"), _tests(f"{_SEMI}[u2pl]"), _tests("padding", "methods")),
    "semiseg/engine/step.py": (
        _tests(_GOLDEN),
        _tests("prototype::test_the_loss_is_the_weighted_sum_of_its_terms", _PARTS),
        _tests("step"),
    ),
}


class Refused(Exception):
    """The tests fail without any mutant, or there is no file to change."""


class Examination:
    """Runs mutants of files against the stages of tests that speak of these files."""

    def __init__(self, copy: Copy, stages: Mapping[str, Stages]):
        self._copy, self._stages = copy, stages
        self._usual: dict[str, float] = {}  # seconds of processor time that tests take unchanged

    def of_file(self, file: str, mutants: Sequence[Mutant]) -> Iterator[dict]:
        """A record of each mutant of one file. Raises: Refused where the tests fail on the file as it is."""
        unchanged = (self._copy.tree / file).read_text(encoding="utf-8")
        for tests in self._stages[file]:
            for test in tests:
                self._measure(test)
        try:
            for mutant in mutants:
                self._copy.write(file, mutant.text)
                yield _record(mutant, self._outcome(file))
        finally:
            self._copy.write(file, unchanged)

    def _outcome(self, file: str) -> Outcome:
        """Of the first stage that notices, else of the last."""
        seconds = 0.0
        for tests in self._stages[file]:
            limit = max(SHORTEST, TIMES * sum(self._usual[test] for test in tests))
            outcome = self._copy.run(tests, limit)
            seconds += outcome.seconds
            if outcome.kind != PASSED:
                break
        return outcome._replace(seconds=seconds)

    def _measure(self, test: str) -> None:
        """Runs a test on the sources as they are, unless that was done before."""
        if test not in self._usual:
            outcome = self._copy.run([test], 3600, cache=True)
            if outcome.kind != PASSED:
                raise Refused(f"{test}: must pass on the sources as they are, but {outcome.by} fails")
            self._usual[test] = outcome.seconds


def _record(mutant: Mutant, outcome: Outcome) -> dict:
    fields = ("file", "line", "operator", "occurrence", "before", "after")
    result = {PASSED: SURVIVED, FAILED: KILLED, TIMEOUT: TIMEOUT}[outcome.kind]
    found = {"result": result, "by": outcome.by, "seconds": round(outcome.seconds, 2)}
    return {name: getattr(mutant, name) for name in fields} | found


def key_of(record: Mapping) -> tuple:
    """``Mutant.key`` of a record's mutant."""
    return tuple(record[name] for name in ("file", "operator", "occurrence", "before", "after"))


def read_records(path: Path | None) -> dict[tuple, dict]:
    """The records of a file (one JSON object a line, the last of a mutant counts) by their mutants' keys."""
    if path is None or not path.exists():
        return {}
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {key_of(record): record for record in records}


def table(records: Sequence[Mapping], sizes: Mapping[str, int]) -> str:
    """Markdown: what came of the mutants that were run, by file and in all. ``sizes``: all mutants of each file."""
    lines = ["| file | mutants | run | killed | by an import | by the limit of time | survived | killed of those run |"]
    lines.append("|---|" + "---:|" * 7)
    files = sorted({record["file"] for record in records})
    for name, chosen in [*((f"`{file}`", {file}) for file in files), ("**all**", set(files))]:
        of_files = [record for record in records if record["file"] in chosen]
        results = Counter(record["result"] for record in of_files)
        imports = sum(record["by"] == IMPORT for record in of_files)
        killed = len(of_files) - results[SURVIVED]
        cells = [sum(sizes[file] for file in chosen), len(of_files), killed, imports, results[TIMEOUT]]
        cells += [results[SURVIVED], f"{killed / len(of_files):.1%}"]
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def interval(killed: int, count: int) -> tuple[float, float]:
    """95% interval (Wilson's) of the share killed among all mutants, given that of a random sample."""
    from scipy.stats import binomtest

    bounds = binomtest(killed, count).proportion_ci(0.95, "wilson")
    return float(bounds.low), float(bounds.high)


def prepare() -> None:
    """Imports what every run of tests needs, as the package would have it imported."""
    sys.path.insert(0, str(ROOT))
    import semiseg  # noqa: F401  (sets what MindSpore reads at its own import)

    del sys.modules["semiseg"], sys.path[0]
    os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # pytest collects garbage twice a run: not among all this


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How many small wrong changes of the sources a test notices.")
    parser.add_argument("--files", nargs="+", metavar="NAME", help="files whose path ends so (default: all in scope)")
    parser.add_argument("--sample", type=int, metavar="N", help="N mutants at random, from each file its share")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a record a line; what is in it is not run again")
    parser.add_argument("--again", action="store_true", help="run recorded survivors again")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the mutants that are asked for and prints tables. Returns the exit code."""
    try:
        examine(parse(argv))
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f'{error}: pip install -c constraints.txt -e ".[test,parity,mutation]"', file=sys.stderr)
        return 2
    return 0


def examine(args: argparse.Namespace) -> None:
    """Runs the mutants that are asked for, those with a record aside, and prints what came of them."""
    files = [file for file in STAGES if not args.files or file.endswith(tuple(args.files))]
    if not files:
        raise Refused(f"--files {' '.join(args.files)}: expected ends of paths in scope: {', '.join(STAGES)}")
    mutants = [mutant for file in files for mutant in mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))]
    chosen = mutants if args.sample is None else sample(mutants, args.sample, args.seed)
    records = read_records(args.json)
    if args.again:
        records = {key: record for key, record in records.items() if record["result"] != SURVIVED}
    left = [mutant for mutant in chosen if mutant.key not in records]
    print(f"{len(mutants)} mutants in {len(files)} files, {len(chosen)} chosen, {len(left)} to run", flush=True)
    for record in run(left):
        records[key_of(record)] = record
        print(f"{record['result']:8} {record['file']}:{record['line']}: {record['after']}  {record['by']}", flush=True)
        if args.json:
            with args.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
    report([records[mutant.key] for mutant in chosen], Counter(mutant.file for mutant in mutants))


def run(mutants: Sequence[Mutant]) -> Iterator[dict]:
    """A record of each mutant, file by file."""
    if not mutants:
        return
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        examination = Examination(Copy(ROOT, Path(folder), PACKAGES), STAGES)
        for file in dict.fromkeys(mutant.file for mutant in mutants):
            yield from examination.of_file(file, [mutant for mutant in mutants if mutant.file == file])


def report(records: Sequence[Mapping], sizes: Mapping[str, int]) -> None:
    """Prints the survivors, the table, and what a sample says of all mutants (``sizes``: how many in each file)."""
    for record in records:
        if record["result"] == SURVIVED:
            print(f"survived {record['file']}:{record['line']} {record['before']}\n      -> {record['after']}")
    if records:
        print(table(records, sizes))
        killed = sum(record["result"] != SURVIVED for record in records)
        low, high = interval(killed, len(records))
        print(
            f"{killed} of {len(records)} killed, of {sum(sizes.values())} in all; 95% interval {low:.1%} to {high:.1%}"
        )


if __name__ == "__main__":
    sys.exit(main())
