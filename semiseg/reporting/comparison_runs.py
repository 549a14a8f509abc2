"""The runs behind tools/compare.py: which there are, and each by its own train.sh and eval.sh."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from tqdm import tqdm

from semiseg.common.errors import ConfigError
from semiseg.common.files import replace_file
from semiseg.common.run_files import RunFiles
from semiseg.config import load
from semiseg.config.same_run import another_run, changed_keys
from semiseg.data import truth
from semiseg.data.build import complete, fingerprints_of, open_part
from semiseg.data.lists import check_lists, read_split, read_val

_ORDER = ("suponly", "mean_teacher", "u2pl", "ael", "u2pl_ael", "ours")  # of the rows; others follow by name


@dataclass(frozen=True)
class Job:
    """One training run and its evaluation. ``leaf``: folder of the experiment; ``folder``: of the run; ``scoring``:
    overrides of the evaluation alone. The name of ``folder`` is the row's: the method, or a variant of it.
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
        """The experiment's method, or the name of its variant."""
        return self.folder.name

    @property
    def scores(self) -> Path:
        """What evaluation writes last."""
        return self.folder / "scores.json"

    @property
    def _settings(self) -> str:
        return json.dumps({"overrides": self.overrides, "scoring": self.scoring}, indent=1) + "\n"

    @property
    def _record(self) -> Path:
        return self.folder / "compare.json"

    @property
    def keys(self) -> list[str]:
        """All overrides of the training. Another seed is another label draw, where there are several.

        Raises:
            ConfigError: there are several, but none for this seed.
        """
        keys = [f"trainer.seed={self.seed}", f"saver.main_dir={self.folder}"]
        data = load(self.leaf, self.overrides).dataset
        draw = f"{self.split}_s{self.seed}"
        draws = sorted(data.splits.glob(f"{self.split}_s[0-9]*")) if data.splits and data.split == self.split else []
        if self.seed and draws:
            if data.splits / draw not in draws:
                count = len(draws) + 1
                raise ConfigError(
                    f"{data.splits / draw}: no label draw of seed {self.seed} (there are {count}); take --seeds "
                    f"{count}, or make more (tools/make_splits.py)"
                )
            keys.append(f"dataset.split={draw}")
        return [*keys, *self.overrides]

    def check_settings(self) -> None:
        """Refuses a folder that other settings, another recipe or other lists made: its scores would pass for those of
        these.

        Raises:
            ConfigError, DataError: they differ, or a key is one of ours. A folder without a record is taken as it is;
                earlier versions kept none.
        """
        config, spec = complete(load(self.leaf, self.keys))
        if (config.trainer.seed, config.saver.main_dir) != (self.seed, self.folder):
            raise ConfigError("trainer.seed and saver.main_dir are set for each run; leave them out (--seeds, --out)")
        written = RunFiles(self.folder).resolved
        began = written.is_file() or self.scores.is_file()  # else it failed before its first step
        if began and self._record.is_file() and (was := self._record.read_text(encoding="utf-8")) != self._settings:
            raise ConfigError(
                f"{self._record}: these runs had other settings ({' '.join(was.split())}); take another --out or name, "
                "or remove the folder"
            )
        if not written.is_file():
            return
        before = load(written)
        changed = changed_keys(before, config)
        if changed:
            raise ConfigError(f"{another_run(self.folder, changed)}; take another --out, or move this one away")
        images_before, images = (c.dataset.batch_size * c.trainer.accumulate for c in (before, config))
        if images_before != images:
            raise ConfigError(
                f"{self.folder}: holds a run of {images_before} labelled images a step (dataset.batch_size, "
                f"trainer.accumulate), now there are {images}; take another --out, or move this one away"
            )
        split = read_split(config, spec)
        check_lists(self.folder, split)
        for count in truth.changed(self.folder, fingerprints_of(config, spec, split)).values():
            raise ConfigError(f"{self.folder}: {count}; take another --out, or remove the folder")
        known = self.scoring and self.scores.is_file() and self._scored.is_file()
        if known and self._scored.read_text(encoding="utf-8") != self._scored_now():
            raise ConfigError(
                f"{self.scores}: of other images or masks than {' '.join(self.scoring)} names now; remove it, and this "
                "run is scored anew"
            )

    @property
    def _scored(self) -> Path:
        return self.folder / "scored.json"

    def _scored_now(self) -> str:
        """Ids and fingerprints of the masks that the keys of ``scoring`` name: their text alone does not tell a list
        that was edited since.
        """
        config, spec = complete(load(self.leaf, [*self.keys, *self.scoring]))
        val = open_part(config, spec, read_val(config, spec), "val")
        return json.dumps({"ids": list(val.ids), "masks": truth.fingerprints({"val": val})["val"]}) + "\n"

    def run(self, cores: str = "") -> None:
        """Trains and scores unless that was done; output goes to output.txt. ``cores``: as SEMISEG_CORES takes them.

        Raises:
            CalledProcessError: one of the two failed.
        """
        if self.scores.is_file():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._record, self._settings)
        keys = self.keys
        environment = os.environ | {"SEMISEG_PYTHON": sys.executable, "SEMISEG_CORES": cores}
        seconds = self.folder / "seconds"  # of training
        took_before = 0.0
        with contextlib.suppress(OSError, ValueError):  # not there, or cut off by a full disk
            took_before = float(seconds.read_text())
        with (self.folder / "output.txt").open("a", encoding="utf-8") as output:
            for script, extra in (("train.sh", ()), ("eval.sh", (*self.scoring, "--json", str(self.scores)))):
                command = ["bash", str(self.leaf / script), *keys, *extra]
                started = time.monotonic()
                subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT, env=environment)
                if script == "train.sh":
                    replace_file(seconds, f"{took_before + time.monotonic() - started:.0f}\n")
                    if self.scoring:
                        replace_file(self._scored, self._scored_now())


def shares_of_cores(shares: int) -> list[str]:
    """This process's cores in equal shares, as SEMISEG_CORES takes them; "" for all where there are not enough."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    each = len(cores) // shares
    if shares == 1 or each == 0:
        return [""] * shares
    return [",".join(map(str, cores[i * each : (i + 1) * each])) for i in range(shares)]


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
    return list(dict.fromkeys(wanted or ()) or sorted(set.intersection(*of_split.values()), key=_row_order))


def _row_order(method: str) -> tuple[int, str]:
    return (_ORDER.index(method) if method in _ORDER else len(_ORDER), method)


def run_all(jobs: Sequence[Job], at_once: int) -> subprocess.CalledProcessError | None:
    """Every job under a progress bar, runs side by side on cores of their own.

    Once one has failed no other is started, those under way are made to their end, and its error is returned.

    Raises:
        ConfigError: of a job; no other is started either.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for cores in shares_of_cores(at_once):
        free.put(cores)
    failed = Event()

    def run(job: Job) -> None:
        if failed.is_set():
            return
        cores = free.get()
        try:
            job.run(cores)
        except BaseException:
            failed.set()
            raise
        finally:
            free.put(cores)

    with ThreadPoolExecutor(at_once) as pool:
        made = [pool.submit(run, job) for job in jobs]
        try:
            for done in tqdm(as_completed(made), total=len(made), desc="compare", unit="run"):
                done.result()
        except subprocess.CalledProcessError as error:
            return error
    return None
