"""Runs tests on a changed copy of the sources, each time in a process forked from this one: what is imported here need
not be imported again. Nothing of the package itself may be imported here, nor any operation of MindSpore run.

The copy is of files: MindSpore compiles functions from their source, which must be the changed one.
"""

import json
import os
import py_compile
import resource
import select
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

PASSED, FAILED, TIMEOUT = "passed", "failed", "timeout"
PATIENCE = 10  # a child that waits for something may take so many times its limit of processor time
LONGEST = 2000  # characters of a message; a pipe takes it in one piece
IMPORT = "(import)"  # in place of the name of a test: none was reached


class Outcome(NamedTuple):
    """What came of a run of tests."""

    kind: str  # PASSED, FAILED or TIMEOUT
    by: str  # the first test that failed; IMPORT; how the process died
    seconds: float  # of processor time: other work on the machine does not count


class Copy:
    """A copy of the folders ``packages`` of ``root`` under ``folder``, with links to all else that ``root`` holds."""

    def __init__(self, root: Path, folder: Path, packages: Sequence[str]):
        imported = sorted({name.partition(".")[0] for name in sys.modules} & set(packages))
        if imported:
            raise RuntimeError(f"{', '.join(imported)}: imported already, so that no change would be seen")
        self.tree, self._temporary = folder / "tree", folder / "temporary"
        self.tree.mkdir(parents=True)
        for item in root.iterdir():
            if item.name in packages:
                shutil.copytree(item, self.tree / item.name, ignore=shutil.ignore_patterns("__pycache__"))
            elif not item.name.startswith("."):
                (self.tree / item.name).symlink_to(item)
        for package in packages:
            _compile(self.tree / package)

    def write(self, file: str, text: str) -> None:
        """Changes a file of the copy."""
        path = self.tree / file
        path.unlink()  # else open files of earlier children would change
        path.write_text(text, encoding="utf-8")

    def run(self, tests: Sequence[str], limit: float, cache: bool = False) -> Outcome:
        """Runs tests (files, or names as pytest takes them) until one fails.

        Args:
            limit: seconds of processor time after which the child is ended. cache: keep compiled tests for later.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._be_the_child(tests, writing, limit, cache)
        os.close(writing)
        message, ended = b"", []
        try:
            ended, _, _ = select.select([reading], [], [], PATIENCE * limit)
            message = os.read(reading, 2 * LONGEST) if ended else b""
        finally:
            os.close(reading)
            status, seconds = _killed(child)
        if message:
            return Outcome(*json.loads(message), seconds)
        if not ended or os.waitstatus_to_exitcode(status) == -signal.SIGXCPU:
            return Outcome(TIMEOUT, f"after {limit:.0f} s", seconds)
        return Outcome(FAILED, f"(the process died: {os.waitstatus_to_exitcode(status)})", seconds)

    def _be_the_child(self, tests: Sequence[str], writing: int, limit: float, cache: bool) -> NoReturn:
        try:
            os.setsid()  # a process group of its own, to be killed as one
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), resource.getrlimit(resource.RLIMIT_CPU)[1]))
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nowhere, stream)
            os.chdir(self.tree)
            sys.path[:0] = [str(self.tree), str(self.tree / "tests")]
            sys.dont_write_bytecode = not cache
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # looking for them takes as long as some tests
            result = _tested([f"--basetemp={self._temporary}", *tests])
            os.write(writing, json.dumps(result).encode())
        finally:
            os._exit(1)


class _FirstFailure:
    """A plugin of pytest that notes the first test that failed."""

    name = ""

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


def _tested(arguments: Sequence[str]) -> tuple[str, str]:
    """(PASSED or FAILED, by what) of a run of pytest."""
    import pytest

    first = _FirstFailure()
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments], plugins=[first])
    if code == pytest.ExitCode.OK:
        return PASSED, ""
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        return FAILED, "(no test was chosen)"
    return FAILED, first.name[:LONGEST] or IMPORT


def _killed(child: int) -> tuple[int, float]:
    """Ends a child and its process group. Returns its wait status and the seconds of processor time that it took."""
    for kill in (os.killpg, os.kill):  # the group is not there before the child has made it
        try:
            kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
    _, status, usage = os.wait4(child, 0)
    return status, usage.ru_utime + usage.ru_stime


def _compile(folder: Path) -> None:
    """Compiles modules so that a changed one is noticed by its content: its size and time may be the same."""
    for path in folder.rglob("*.py"):
        py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
