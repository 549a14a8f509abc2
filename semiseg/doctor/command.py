"""``semiseg doctor``: the command line, and the order of what is tried."""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semiseg import cli
from semiseg.common.files import replace_file
from semiseg.common.outputs import Output, check_outputs, make_folders
from semiseg.doctor import steps, trials
from semiseg.doctor.operators import OF_SEVERAL_DEVICES, OPERATORS, PUBLISHED, SMALL, Operator, Sizes
from semiseg.doctor.report import OperatorRow, Report, StepRow, is_report, machine_lines, operator_table, step_table
from semiseg.doctor.serving import read_trial
from semiseg.doctor.versions import machine
from semiseg.doctor.worker import Died, Worker, why_not
from semiseg.methods import METHODS

# Of losses at small size: float32 on two devices, where single pseudo-labels may flip; and mixed precision.
FULL, MIXED = 1e-2, 1e-1
_CRASHES = 5  # after so many no further operator is tried


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("doctor")
    parser.add_argument(
        "--device", choices=("auto", "ascend", "gpu", "cpu"), default="auto", help="default: %(default)s"
    )
    parser.add_argument("--small", action="store_true", help="small shapes alone: about a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all of it, to paste into a bug report")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 if anything differs beyond its tolerance or does not run."""
    args = parse(arguments)
    outputs = [Output("--json", args.json, replace=True, is_ours=is_report, kind="report")] if args.json else []
    check_outputs(outputs)
    make_folders(outputs)
    here = machine()
    print("\n".join(machine_lines(here)), flush=True)
    device, reasons = choose(args.device)
    for name, reason in reasons.items():
        print(f"{name} does not initialise:\n  " + "\n  ".join(reason.splitlines()), flush=True)
    sizes = SMALL if args.small else PUBLISHED
    report = Report(here, device or args.device, sizes.name, "numpy in float64" if device == "cpu" else "cpu", reasons)
    if device:
        examine(report, device, sizes)
    print("\n".join(summary(report)))
    if args.json:
        replace_file(args.json, json.dumps(report.as_json(), indent=1) + "\n")
    return 1 if report.problems() or not device else 0


def choose(wanted: str, probe: Callable[[str], str] = why_not) -> tuple[str | None, dict[str, str]]:
    """The device to examine, None where the wanted one does not work; and the whole reasons of those that do not."""
    reasons = {}
    for name in ("ascend", "gpu", "cpu") if wanted == "auto" else (wanted,):
        reason = probe(name)
        if not reason:
            return name, reasons
        reasons[name] = reason
    return None, reasons


def examine(report: Report, device: str, sizes: Sizes) -> None:
    """Fills in the report: operators, then steps."""
    several = ", ".join(sorted(OF_SEVERAL_DEVICES))
    report.left_out.append(f"{several}: they need several devices (tests/test_distributed.py tries them)")
    report.operators.extend(operator_rows(device, sizes))
    chosen = ["small"] if sizes is SMALL or device == "cpu" else ["small", "published"]
    if device == "cpu" and sizes is PUBLISHED:
        report.left_out.append("steps at published size: on a CPU they take minutes and up to 25 GB each")
    report.steps.extend(step_rows(device, chosen, steps.amp_values()))


def operator_rows(
    device: str, sizes: Sizes, operators: Sequence[Operator] = OPERATORS, worker: type[Worker] = Worker
) -> list[OperatorRow]:
    """Each operator on the device, beside the same on CPU; on CPU beside numpy."""
    rows, crashes = [], 0
    with tempfile.TemporaryDirectory() as folder, _Workers((device, "cpu"), worker) as workers:
        for operator in _bar(operators, "operators"):
            row = {"name": operator.name, "shapes": [list(shape) for shape, *_ in operator.inputs(sizes)]}
            row["tolerance"] = operator.allowed(device)
            if crashes >= _CRASHES:
                rows.append(OperatorRow(**row, forward=None, backward=None, problem="not tried after these crashes"))
                continue
            try:
                rows.append(OperatorRow(**row, **_compared(operator, sizes, workers, Path(folder))))
            except Died as error:
                rows.append(OperatorRow(**row, forward=None, backward=None, problem=str(error)))
                crashes += 1
    return rows


class _Workers:
    """A process for each of ``devices``, the examined one first. One that died is started anew at its next request."""

    def __init__(self, devices: Iterable[str], start: type[Worker]):
        self.devices = tuple(dict.fromkeys(devices))
        self._start = start
        self._running: dict[str, Worker] = {}

    def ask(self, device: str, kind: str, **request: Any) -> dict[str, Any]:
        """The reply. Raises: Died; of the CPU that another device is compared with it is said."""
        if device not in self._running:
            self._running[device] = self._start(device)
        try:
            return self._running[device].ask(kind, **request)
        except Died as error:
            self._running.pop(device).__exit__()
            if device == self.devices[0]:
                raise
            raise Died(f"on the {device} beside it: {error}") from None

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._running.values():
            worker.__exit__()


def _compared(operator: Operator, sizes: Sizes, workers: _Workers, folder: Path) -> dict:
    """What is seen of an operator: differences and seconds, or the problem."""
    tried = []
    for device in workers.devices:
        file = folder / f"{device}.npz"
        reply = workers.ask(device, "operator", name=operator.name, size=sizes.name, file=str(file))
        if "problem" in reply:
            return {"forward": None, "backward": None, "problem": reply["problem"]}
        tried.append(read_trial(reply, file))
    on_cpu = len(tried) == 1
    apart = trials.against_numpy(operator, sizes, tried[0]) if on_cpu else trials.against(*tried)
    return {**apart._asdict(), "seconds_forward": tried[0].forward, "seconds_backward": tried[0].backward}


def step_rows(
    device: str,
    sizes: Sequence[str],
    amps: Sequence[str],
    methods: Iterable[str] = tuple(METHODS),
    ask: Callable[..., dict] | None = None,
) -> list[StepRow]:
    """Each method at each size and precision, each in a process of its own; small ones beside full precision on CPU."""
    ask = ask or _ask_once
    rows = []
    for method in _bar(list(methods), "steps"):
        full = ask("cpu", method, "small", "off") if device != "cpu" or len(amps) > 1 else {"problem": "none"}
        for size in sizes:
            for amp in amps:
                alone = size == "published" or (device == "cpu" and amp == "off")
                reply = full if alone and device == "cpu" and len(amps) > 1 else ask(device, method, size, amp)
                rows.append(_step_row(method, size, amp, reply, None if alone else full))
    return rows


def _step_row(method: str, size: str, amp: str, reply: dict, full: dict | None) -> StepRow:
    losses, difference, problem = reply.get("losses", []), None, reply.get("problem", "")
    if not problem and not np.isfinite(losses).all():
        problem = f"a loss that is not finite: {losses}"
    if full is not None and not problem:
        expected = full.get("losses")
        problem = "" if expected else f"the same on CPU: {full['problem']}"
        difference = trials.relative(np.array(losses), np.array(expected)) if expected else None
    return StepRow(
        method,
        size,
        amp,
        losses,
        reply.get("seconds", []),
        reply.get("mib"),
        difference,
        "-" if full is None else "cpu, amp off",
        FULL if amp == "off" else MIXED,
        problem,
    )


def _ask_once(device: str, method: str, size: str, amp: str) -> dict:
    with Worker(device) as worker:
        try:
            return worker.ask("step", method=method, size=size, amp=amp)
        except Died as error:
            return {"problem": str(error)}


def _bar(items: Sequence, title: str) -> Iterable:
    return tqdm(items, desc=title, dynamic_ncols=True, disable=None)


def summary(report: Report) -> list[str]:
    """The tables, what was left out, and the problems."""
    lines = [f"device {report.device}, {report.size} shapes; largest relative differences from {report.reference}", ""]
    if report.operators:
        lines += [*operator_table(report.operators), ""]
    if report.steps:
        lines += [*step_table(report.steps), ""]
    lines += [f"not tried: {text}" for text in report.left_out]
    problems = report.problems()
    if not report.operators:
        problems = [f"device {report.device} does not initialise"]
    lines += [f"problem: {line}" for line in problems] or ["all within their tolerances"]
    return lines
