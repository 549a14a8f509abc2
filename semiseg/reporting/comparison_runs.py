"""The runs behind tools/compare.py: which there are, and each by its own train.sh and eval.sh."""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from semiseg.common.errors import ConfigError
from semiseg.config import load

_ORDER = ("suponly", "mean_teacher", "u2pl", "ael", "u2pl_ael", "ours")  # of the rows; others follow by name


@dataclass(frozen=True)
class Job:
    """One training run and its evaluation. ``leaf``: folder of the experiment; ``folder``: of the run; ``scoring``:
    overrides of the evaluation alone.
    """

    leaf: Path
    folder: Path
    seed: int
    overrides: tuple[str, ...]
    scoring: tuple[str, ...] = ()

    @property
    def split(self) -> str:
        """The experiment's split."""
        return self.leaf.parent.name

    @property
    def method(self) -> str:
        """The experiment's method."""
        return self.leaf.name

    @property
    def scores(self) -> Path:
        """What evaluation writes last."""
        return self.folder / "scores.json"

    def run(self) -> None:
        """Trains and scores unless that was done; output goes to output.txt.

        Raises:
            CalledProcessError: one of the two failed.
        """
        if self.scores.is_file():
            return
        common = [f"trainer.seed={self.seed}", f"saver.main_dir={self.folder}"]
        draw = f"{self.split}_s{self.seed}"
        splits = load(self.leaf, self.overrides).dataset.splits
        if (
            self.seed and splits and (splits / draw).is_dir()
        ):  # another seed, another label draw, where there are several
            common.append(f"dataset.split={draw}")
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"SEMISEG_PYTHON": sys.executable}
        with (self.folder / "output.txt").open("a", encoding="utf-8") as output:
            for script, extra in (("train.sh", ()), ("eval.sh", (*self.scoring, "--json", str(self.scores)))):
                command = ["bash", str(self.leaf / script), *common, *self.overrides, *extra]
                subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT, env=environment)


def common_methods(experiments: Path, splits: Sequence[str], wanted: Iterable[str] | None) -> list[str]:
    """The ``wanted`` methods, or all that every split of the data set's folder ``experiments`` has.

    Raises:
        ConfigError: a split or a wanted method has no experiment.
    """
    of_split = {split: {path.parent.name for path in experiments.glob(f"{split}/*/config.yaml")} for split in splits}
    for split, methods in of_split.items():
        name = f"experiments/{experiments.name}/{split}"
        if not methods:
            raise ConfigError(f"{name}: no experiment there; see the folders of experiments/")
        missing = sorted(set(wanted or ()) - methods)
        if missing:
            raise ConfigError(f"{name}/{missing[0]}: no such experiment; there: {', '.join(sorted(methods))}")
    return list(wanted or sorted(set.intersection(*of_split.values()), key=_row_order))


def _row_order(method: str) -> tuple[int, str]:
    return (_ORDER.index(method) if method in _ORDER else len(_ORDER), method)


def run_all(jobs: Sequence[Job], at_once: int) -> subprocess.CalledProcessError | None:
    """Every job under a progress bar. Stops at the first that fails and returns its error."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for _ in tqdm(pool.map(Job.run, jobs), total=len(jobs), desc="compare", unit="run"):
                pass
        except subprocess.CalledProcessError as error:
            pool.shutdown(cancel_futures=True)
            return error
    return None
