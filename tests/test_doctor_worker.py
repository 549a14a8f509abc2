"""A device that crashes, hangs or does not start is told of, with all that it printed."""

import subprocess

import pytest

from semiseg.doctor import worker
from semiseg.doctor.worker import Died, Worker, tail, why_not

ANSWER = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if request["kind"] == "crash":
        print("the device is on fire", file=sys.stderr, flush=True)
        os.abort()
    if request["kind"] == "hang":
        time.sleep(60)
    print(json.dumps(request | {"device": sys.argv[1]}), flush=True)
"""


@pytest.fixture
def other(monkeypatch):
    monkeypatch.setattr(worker, "_START", ANSWER)


def test_requests_are_answered_one_after_the_other(other):
    with Worker("gpu") as device:
        assert device.ask("add", one=1) == {"kind": "add", "one": 1, "device": "gpu"}
        assert device.ask("add", one=2)["one"] == 2


def test_a_crash_is_named_with_what_was_printed(other):
    with Worker("gpu") as device:
        assert device.ask("fine")["device"] == "gpu"
        with pytest.raises(Died, match=r"signal SIGABRT: the device is on fire"):
            device.ask("crash")
        with pytest.raises(Died):
            device.ask("fine")


def test_a_device_that_hangs_is_given_up(other):
    with Worker("gpu", patience=0.3) as device, pytest.raises(Died, match=r"no answer in 0\.3 s"):
        device.ask("hang")
    assert device._process.returncode is not None


def test_a_process_that_does_not_start_says_why(monkeypatch):
    monkeypatch.setattr(worker, "_START", "raise SystemExit('no such device here')")
    with Worker("gpu") as device, pytest.raises(Died, match="exit code 1: no such device here"):
        device.ask("fine")


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("print('[2.0]')", ""),
        ("import sys; print('first'); print('last', file=sys.stderr); sys.exit(1)", "first\n\nlast"),
        ("import os; os.abort()", "ended by signal SIGABRT\n"),
        ("import os, sys; print(sys.argv[1], os.environ['GLOG_v']); sys.exit(3)", "Ascend 2"),
    ],
)
def test_the_whole_reason_is_told(monkeypatch, probe, reason):
    monkeypatch.setattr(worker, "_PROBE", probe)
    assert why_not("ascend") == reason


def test_a_probe_that_hangs_is_given_up(monkeypatch):
    def hang(*args, timeout, **options):
        raise subprocess.TimeoutExpired(args, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert why_not("gpu") == f"no answer in {worker.PATIENCE} s"


def test_the_last_lines_of_a_text():
    assert tail("a\n\nb\n \nc\n", 2) == "b\nc"
