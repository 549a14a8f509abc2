"""What test_survival.py runs in processes of its own: training with one of the faults of benchmarks/faults.py.

The processes are forked from one that has only imported MindSpore, which takes longer than the training.
"""

import multiprocessing
import os
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["semiseg.train"])


class Training:
    """``python faults.py ARGUMENTS`` as a running process; ``said``: the file for what it writes to stderr."""

    def __init__(self, arguments: list[str], said: Path):
        self._said = said
        self._process = CONTEXT.Process(target=train, args=(arguments, said))
        self._process.start()

    def going(self) -> bool:
        """Whether it has not ended."""
        return self._process.exitcode is None

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def ended(self) -> tuple[int | None, str]:
        """Waits. Exit code, minus the signal's number if one ended it, and what was written to stderr."""
        self._process.join(120)
        return self._process.exitcode, self._said.read_text()


def train(arguments: list[str], said: Path) -> None:
    """The work of the process."""
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.path.insert(0, str(BENCHMARKS))
    import faults

    sys.exit(faults.main(arguments))
