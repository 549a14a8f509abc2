"""``semiseg doctor``: what is tried in which order, what makes it fail, and what it hands out."""

import json
from typing import ClassVar

import numpy as np
import pytest

from semiseg.common.errors import ConfigError
from semiseg.doctor import command, serving, steps
from semiseg.doctor.operators import OPERATORS, SMALL
from semiseg.doctor.report import OperatorRow, Report, StepRow
from semiseg.doctor.versions import Machine
from semiseg.doctor.worker import Died

SOME = [operator for operator in OPERATORS if operator.name in ("exp", "sort", "matmul")]


class Here:
    """As Worker, in this process and always on its CPU. ``wrong``: operators that ``where`` gets wrong."""

    wrong: ClassVar[dict[str, str]] = {}
    where: ClassVar[str] = "gpu"

    def __init__(self, device):
        self.device, self.ended = device, False

    def ask(self, kind, **request):
        assert not self.ended
        fault = self.wrong.get(request.get("name")) if self.device == self.where else None
        if fault == "crash":
            raise Died("signal SIGSEGV: no more")
        if fault == "refuse":
            return {"problem": "RuntimeError: no such kernel"}
        reply = serving.WORKS[kind](**request)
        if fault == "differ":
            trial = serving.read_trial(reply, request["file"])
            np.savez(request["file"], trial.output + np.float32(1), *trial.gradients)
        return reply

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended = True


def rows(monkeypatch, **wrong):
    monkeypatch.setattr(Here, "wrong", wrong)
    found = command.operator_rows("gpu", SMALL, SOME, Here)
    return {row.name: row for row in found}


def test_on_cpu_operators_are_compared_with_numpy():
    found = command.operator_rows("cpu", SMALL, SOME, Here)
    assert [row.name for row in found] == [operator.name for operator in SOME]
    assert all(row.ok and row.seconds_forward > 0 for row in found)
    assert [row.backward is None for row in found] == [not operator.gradient for operator in SOME]


def test_on_another_device_operators_are_compared_with_the_cpu(monkeypatch):
    found = rows(monkeypatch)
    assert [(row.forward, row.backward) for row in found.values()] == [(0, 0), (0, None), (0, 0)]


def test_what_differs_is_refused_or_crashes_is_told_and_the_others_are_tried(monkeypatch):
    for fault, problem in (("differ", ""), ("refuse", "RuntimeError: no such kernel"), ("crash", "signal SIGSEGV")):
        found = rows(monkeypatch, exp=fault)
        assert not found["exp"].ok
        assert found["exp"].problem.startswith(problem)
        assert found["sort"].ok
        assert found["matmul"].ok


@pytest.mark.parametrize(("device", "said"), [("cpu", "signal SIGSEGV"), ("gpu", "on the cpu beside it: signal")])
def test_a_crash_of_the_cpu_is_one_line_and_the_others_are_tried(monkeypatch, device, said):
    monkeypatch.setattr(Here, "where", "cpu")
    monkeypatch.setattr(Here, "wrong", {"exp": "crash"})
    found = {row.name: row for row in command.operator_rows(device, SMALL, SOME, Here)}
    assert found["exp"].problem.startswith(said)
    assert found["sort"].ok
    assert found["matmul"].ok


def test_after_many_crashes_no_more_is_tried(monkeypatch):
    monkeypatch.setattr(command, "_CRASHES", 1)
    found = rows(monkeypatch, exp="crash")
    assert found["sort"].problem == "not tried after these crashes"


def asked(losses):
    """Answers for ``step_rows``: by (device, amp)."""
    return lambda device, method, size, amp: {"losses": losses[device, amp], "seconds": [2.0, 1.0], "mib": 5.0}


def test_steps_are_compared_with_the_cpu_in_full_precision():
    losses = {("cpu", "off"): [2.0, 1.0], ("gpu", "off"): [2.0, 1.001], ("gpu", "O2"): [2.3, 1.0]}
    found = command.step_rows("gpu", ["small", "published"], ["off", "O2"], ["ours"], asked(losses))
    assert [(row.size, row.amp, row.ok) for row in found] == [
        ("small", "off", True),
        ("small", "O2", False),
        ("published", "off", True),
        ("published", "O2", True),
    ]
    assert [row.difference for row in found] == [pytest.approx(0.0005), pytest.approx(0.15), None, None]


def test_on_cpu_mixed_precision_is_compared_with_full():
    losses = {("cpu", "off"): [2.0, 1.0], ("cpu", "O2"): [2.02, 1.0]}
    found = command.step_rows("cpu", ["small"], ["off", "O2"], ["ours"], asked(losses))
    assert [row.difference for row in found] == [None, pytest.approx(0.01)]
    assert [row.difference for row in command.step_rows("cpu", ["small"], ["off"], ["ours"], asked(losses))] == [None]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ({"losses": [1.0, float("nan")]}, "a loss that is not finite: [1.0, nan]"),
        ({"problem": "signal SIGKILL"}, "signal SIGKILL"),
    ],
)
def test_a_step_that_fails_is_told(reply, problem):
    (row,) = command.step_rows("cpu", ["small"], ["off"], ["ours"], lambda *_: reply)
    assert not row.ok
    assert row.problem == problem


def test_the_first_device_that_works_is_taken_and_the_reasons_of_others_kept():
    reasons = {"ascend": "no CANN", "gpu": "", "cpu": ""}
    assert command.choose("auto", reasons.get) == ("gpu", {"ascend": "no CANN"})
    assert command.choose("cpu", reasons.get) == ("cpu", {})
    assert command.choose("ascend", reasons.get) == (None, {"ascend": "no CANN"})


@pytest.fixture
def quick(monkeypatch):
    """Three operators and one method, in this process."""
    real = command.operator_rows, command.step_rows
    monkeypatch.setattr(command, "operator_rows", lambda device, sizes: real[0](device, sizes, SOME, Here))
    ask = lambda device, method, size, amp: serving.step(method, size, amp)  # noqa: E731
    monkeypatch.setattr(
        command, "step_rows", lambda device, sizes, amps: real[1](device, sizes, ["off"], ["suponly"], ask)
    )
    monkeypatch.setattr(command, "why_not", lambda device: "" if device == "cpu" else "line 1\nline 2")
    monkeypatch.setattr(command.choose, "__defaults__", (lambda device: command.why_not(device),))


def test_the_command_prints_tables_and_writes_a_report(quick, capsys, tmp_path):
    assert command.main(["--device", "cpu", "--small", "--json", str(tmp_path / "report.json")]) == 0
    printed = capsys.readouterr().out
    assert "| exp | " in printed
    assert "| suponly | small | off | " in printed
    assert "all within their tolerances" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"]
    assert report["machine"]["packages"]["mindspore"]
    assert [row["name"] for row in report["operators"]] == [operator.name for operator in SOME]
    assert report["steps"][0]["mib"] > 50
    assert command.main(["--device", "cpu", "--small", "--json", str(tmp_path / "report.json")]) == 0


@pytest.mark.parametrize("content", ["mine", "[1]", '{"ok": true}'])
def test_a_file_that_is_no_report_is_not_replaced(quick, tmp_path, content):
    other = tmp_path / "mine.json"
    other.write_text(content)
    with pytest.raises(ConfigError, match="is there already and no report of ours; name another file with --json"):
        command.main(["--device", "cpu", "--small", "--json", str(other)])
    assert other.read_text() == content


def test_a_device_that_does_not_initialise_is_exit_code_1_with_the_whole_reason(quick, capsys):
    assert command.main(["--device", "gpu", "--small"]) == 1
    printed = capsys.readouterr().out
    assert "gpu does not initialise:\n  line 1\n  line 2\n" in printed
    assert "problem: device gpu does not initialise" in printed


def test_anything_beyond_its_tolerance_is_exit_code_1(quick, monkeypatch):
    row = OperatorRow("exp", [[2]], 1e-3, None, 1e-5)
    monkeypatch.setattr(command, "operator_rows", lambda device, sizes: [row])
    monkeypatch.setattr(command, "step_rows", lambda device, sizes, amps: [])
    assert command.main(["--device", "cpu", "--small"]) == 1


def test_on_cpu_no_step_of_published_size_is_made(quick, monkeypatch):
    sizes = []
    monkeypatch.setattr(command, "operator_rows", lambda device, sizes: [])
    monkeypatch.setattr(command, "step_rows", lambda device, chosen, amps: sizes.append(chosen) or [])
    machine = Machine({}, "", "", "", "", {})
    for device, expected in (("cpu", ["small"]), ("gpu", ["small", "published"])):
        report = Report(machine, device, "published", "cpu")
        command.examine(report, device, command.PUBLISHED)
        assert sizes.pop() == expected
        assert len(report.left_out) == 1 + (device == "cpu")


def test_the_report_names_each_problem():
    report = Report(Machine({}, "", "", "", "", {}), "gpu", "small", "cpu")
    report.operators += [OperatorRow("exp", [], 1e-3, 2e-3, 1e-5), OperatorRow("log", [], 0.0, 0.0, 1e-5)]
    report.steps += [StepRow("ours", "small", "O2", [1.0], [1.0], 1.0, 0.5, "cpu, amp off", 0.1)]
    assert report.problems() == [
        "operator exp: differs by 2.0e-03, allowed 1e-05",
        "step of ours, small, amp O2: losses differ by 5.0e-01, allowed 1e-01",
    ]
    assert not report.as_json()["ok"]
    assert "**differs**" in "\n".join(command.summary(report))


def test_every_precision_of_the_configuration_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(command, "operator_rows", lambda *_: [])
    monkeypatch.setattr(command, "step_rows", lambda device, sizes, amps: tried.append(amps) or [])
    command.examine(Report(Machine({}, "", "", "", "", {}), "cpu", "small", ""), "cpu", SMALL)
    assert tried == [steps.amp_values()]
