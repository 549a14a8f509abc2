"""What a run folder tells: configuration, logged numbers, sizes of its lists. Reading only, without MindSpore."""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.common.errors import DataError
from semiseg.common.files import read_file
from semiseg.common.os_errors import reason
from semiseg.common.run_files import RunFiles
from semiseg.data.specs import DatasetSpec

Row = dict[str, Any]
# Of scalars, as earlier versions logged them.
_OLD_NAMES = {"kept": "mask_ratio", "pseudo_accuracy_kept": "pseudo_accuracy_in_mask"}
_PLANNED = re.compile(r"^\S+ \S+ \d+ epochs of \d+ steps = (\d+) steps;", re.MULTILINE)  # as train.opening_lines has it


@dataclass(frozen=True)
class RunRecord:
    """One run, ready to be shown.

    flat: every key of the configuration with its value. points and evaluations: the lines of metrics.jsonl, those of
    training and those of scoring. lists: name -> number of ids. scores: what ``score`` found, None where nothing was
    scored; then ``why_not`` says why. steps: of the whole run, None where log.txt does not say it; running: whether it
    is training just now. unread: keys that nothing reads in it.
    """

    name: str
    folder: Path
    spec: DatasetSpec
    flat: Mapping[str, Any]
    points: Sequence[Row]
    evaluations: Sequence[Row]
    lists: Mapping[str, int]
    scores: Row | None = None
    why_not: str = ""
    steps: int | None = None
    running: bool = False
    unread: Collection[str] = ()

    @property
    def last_step(self) -> int:
        """The last step that was logged."""
        return max((row["step"] for row in (*self.points, *self.evaluations)), default=0)

    @property
    def state(self) -> str:
        """goes on, finished or stopped; "" where nobody knows how long the run should be."""
        if self.running:
            return "goes on"
        if self.steps is None:
            return ""
        return "finished" if self.last_step >= self.steps else "stopped"

    @property
    def reached(self) -> str | int:
        """The last step that was logged, of a run that is not finished with the number of all: ``560 of 850``."""
        unfinished = self.steps is not None and self.last_step < self.steps
        return f"{self.last_step} of {self.steps}" if unfinished else self.last_step

    @property
    def best(self) -> Row | None:
        """The evaluation with the highest mIoU of those that best.ckpt is chosen from: its line of metrics.jsonl."""
        candidates = [row for row in self.evaluations if row.get("candidate", True)]
        return max(candidates, key=lambda row: row["eval"]["miou"], default=None)

    @property
    def supervised(self) -> float | None:
        """mIoU at the end of the supervised phase, where unlabelled images came in after it."""
        scores = [row["eval"]["miou"] for row in self.evaluations if row.get("phase") == "supervised"]
        return scores[-1] if scores else None

    @property
    def skipped(self) -> int:
        """How often an unreadable image was skipped in training (``dataset.on_error: skip``)."""
        return max((row.get("skipped", 0) for row in self.points), default=0)

    def terms(self) -> list[str]:
        """Names of the scalars of training, in the order in which they first occur."""
        names: dict[str, None] = {}
        for row in self.points:
            names |= dict.fromkeys(name for name, value in row.items() if isinstance(value, int | float))
        names.pop("step", None)
        return list(names)

    def curve(self, term: str) -> tuple[list[int], list[float]]:
        """(steps, values) of a scalar of training."""
        rows = [row for row in self.points if isinstance(row.get(term), int | float)]
        return [row["step"] for row in rows], [float(row[term]) for row in rows]

    def score_curve(self, *path: str | int) -> tuple[list[int], list[float]]:
        """(steps, percent) of a score of the evaluations: ``score_curve("miou")``, ``score_curve("iou", 3)``."""
        steps, values = [], []
        for row in self.evaluations:
            value = row["eval"]
            for key in path:
                inside = key in value if isinstance(value, dict) else isinstance(value, list) and key < len(value)
                value = value[key] if inside else None
            if value is not None:
                steps.append(row["step"])
                values.append(float(value))
        return steps, values


def read_metrics(path: Path) -> tuple[list[Row], list[Row]]:
    """(lines of training, lines of scoring) of metrics.jsonl, scalars by the names of today. A half-written last line,
    of a run that goes on, is left out.

    Raises:
        DataError: the file is not there or holds no such lines.
    """
    try:
        lines = read_file(path).decode(errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); expected the folder of a training run") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row["step"], int) or not isinstance(row.get("eval", {}), dict):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                continue
            raise DataError(f"{path} line {number}: not a line of a training log; is the file damaged?") from None
        rows.append({_OLD_NAMES.get(name, name): value for name, value in row.items()})
    return [row for row in rows if "eval" not in row], [row for row in rows if "miou" in row.get("eval", {})]


def planned_steps(path: Path) -> int | None:
    """How many steps a run should have, as log.txt says at each of its starts; None where it does not."""
    try:
        starts = _PLANNED.findall(read_file(path).decode(errors="replace"))
    except OSError:
        return None
    return int(starts[-1]) if starts else None


def list_sizes(folder: Path) -> dict[str, int]:
    """Number of ids of each list that a run keeps in ``folder``/lists."""
    return {path.stem: len(read_file(path).split(b"\n")) - 1 for path in sorted(RunFiles(folder).lists.glob("*.txt"))}


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path that tell all of them apart."""
    parts = [Path(os.path.normpath(folder.absolute())).parts for folder in folders]  # links keep their name
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]
