"""What the doctor saw, as tables for people and JSON for a bug report."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from semiseg.common.files import read_file
from semiseg.doctor.versions import Machine


@dataclass(frozen=True)
class OperatorRow:
    """``forward``, ``backward``: largest relative differences, None where there is none; seconds on the device."""

    name: str
    shapes: list[list[int]]
    forward: float | None
    backward: float | None
    tolerance: float
    seconds_forward: float | None = None
    seconds_backward: float | None = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Within its tolerance, and nothing went wrong."""
        return not self.problem and max(self.forward or 0.0, self.backward or 0.0) <= self.tolerance


@dataclass(frozen=True)
class StepRow:
    """Two steps of a method. ``difference``: relative, of their losses to those of the ``reference``; None: no
    reference.
    """

    method: str
    size: str
    amp: str
    losses: list[float]
    seconds: list[float]
    mib: float | None
    difference: float | None
    reference: str
    tolerance: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Finite losses within the tolerance, and nothing went wrong."""
        return not self.problem and (self.difference or 0.0) <= self.tolerance


@dataclass
class Report:
    """``device``: that was tried; ``reasons``: why others do not initialise; ``reference``: what operators are compared
    with; ``left_out``: what was not tried and why.
    """

    machine: Machine
    device: str
    size: str
    reference: str
    reasons: dict[str, str] = field(default_factory=dict)
    operators: list[OperatorRow] = field(default_factory=list)
    steps: list[StepRow] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """A line for each row that is not right."""
        lines = [f"operator {row.name}: {row.problem or _beyond(row)}" for row in self.operators if not row.ok]
        for row in self.steps:
            if not row.ok:
                what = row.problem or f"losses differ by {row.difference:.1e}, allowed {row.tolerance:.0e}"
                lines.append(f"step of {row.method}, {row.size}, amp {row.amp}: {what}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """For a bug report."""
        rows = {name: [asdict(row) | {"ok": row.ok} for row in getattr(self, name)] for name in ("operators", "steps")}
        keys = ("device", "size", "reference", "reasons", "left_out")
        return {
            "ok": not self.problems(),
            **{key: getattr(self, key) for key in keys},
            "machine": self.machine.as_json(),
            **rows,
            "problems": self.problems(),
        }


def is_report(path: Path) -> bool:
    """Whether a file holds what ``as_json`` gives, or nothing."""
    try:
        content = read_file(path)
        return not content or json.loads(content).keys() >= {"machine", "operators", "steps", "problems"}
    except (OSError, ValueError, AttributeError):
        return False


def _beyond(row: OperatorRow) -> str:
    return f"differs by {max(row.forward or 0.0, row.backward or 0.0):.1e}, allowed {row.tolerance:.0e}"


def machine_lines(machine: Machine) -> list[str]:
    """Versions, and what there is of each accelerator."""
    lines = [
        ", ".join(f"{name} {version}" for name, version in machine.packages.items()),
        f"{machine.python}; {machine.platform}",
        f"{machine.processor}; {machine.memory} of memory",
        *(f"{name}={value}" for name, value in machine.variables.items()),
    ]
    for name, kind in machine.accelerators.items():
        lines += [f"{name}: driver files {', '.join(kind.files) or 'none'}; {kind.driver}"]
        lines += [f"  found {line}" for line in kind.found]
        lines += [f"  wanted {kind.wanted}"]
    return lines


def operator_table(rows: list[OperatorRow]) -> list[str]:
    """Markdown: a line an operator."""
    lines = ["| operator | forward | backward | allowed | ms forward | ms backward | |", "|---" * 7 + "|"]
    for row in rows:
        cells = [_number(row.forward), _number(row.backward), f"{row.tolerance:.0e}"]
        cells += [_milliseconds(row.seconds_forward), _milliseconds(row.seconds_backward or None)]
        lines.append(f"| {row.name} | {' | '.join(cells)} | {_verdict(row.ok, row.problem)} |")
    return lines


def step_table(rows: list[StepRow]) -> list[str]:
    """Markdown: a line a method, size and precision."""
    lines = ["| method | size | amp | losses | differ by | from | s first | s second | MiB | |", "|---" * 10 + "|"]
    for row in rows:
        cells = [row.method, row.size, row.amp, ", ".join(f"{loss:.4f}" for loss in row.losses) or "-"]
        cells += [_number(row.difference), row.reference, *(f"{s:.2f}" for s in row.seconds or [])]
        cells += ["-"] * (8 - len(cells)) + [f"{row.mib:.0f}" if row.mib is not None else "-"]
        lines.append(f"| {' | '.join(cells)} | {_verdict(row.ok, row.problem)} |")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.2f}"


def _verdict(ok: bool, problem: str) -> str:
    return "" if ok else f"**{problem.splitlines()[0][:80] if problem else 'differs'}**"
