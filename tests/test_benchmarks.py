"""The works that benchmarks/run.py times still run (on a picture or two; times are never tested)."""

import json
import subprocess
import sys

import pytest
from tiny import ROOT
from tool import load_tool

FOLDER = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images as the benchmarks make them, two small ones."""
    inputs = load_tool("inputs", "benchmarks")
    folder = tmp_path_factory.mktemp("images")
    inputs.write_images(folder / "voc", 2, 65, 70)
    return folder


def check(out):
    found = json.loads(out.splitlines()[-1])
    assert min(found["seconds"]) > 0
    assert found["mib"] > 100


def test_our_side_of_a_benchmark_runs_as_a_process_of_its_own(folder):
    parameters = json.dumps({"folder": str(folder / "voc"), "mode": "whole"})
    command = [sys.executable, str(FOLDER / "ours.py"), "evaluation", parameters]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check(done.stdout)


@pytest.mark.parametrize(
    ("work", "parameters"),
    [("data", {"folder": "voc", "steps": 1}), ("strong", {"images": 1, "views": 2}), ("count", {"images": 1})],
)
def test_our_side_of_a_benchmark_runs(folder, work, parameters, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)  # as in a process of its own: modules there import each other
    ours = load_tool("ours", "benchmarks")
    if "folder" in parameters:
        parameters = parameters | {"folder": str(folder / parameters["folder"])}
    monkeypatch.setattr(sys, "argv", ["ours.py", work, json.dumps(parameters)])
    ours.worker.main({work: getattr(ours, work)})
    check(capsys.readouterr().out)


@pytest.mark.parametrize("method", ["suponly", "mean_teacher", "u2pl", "ael", "ours"])
def test_the_hosts_part_of_a_step_is_timed(monkeypatch, method):
    monkeypatch.syspath_prepend(FOLDER)
    host = load_tool("host", "benchmarks")
    for name, value in {"SIDE": 65, "WARM_UP": 1, "STEPS": 2}.items():
        monkeypatch.setattr(host, name, value)
    monkeypatch.setattr(host, "NET", (*host.NET, "net.decoder.kwargs.inner_planes=8"))
    taken = host.seconds(method)
    assert len(taken) == 2
    assert min(taken) > 0


@pytest.mark.parametrize("kind", ["list", "folder"])
def test_the_start_with_many_images_is_measured_in_a_process_of_its_own(kind, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    scaling = load_tool("scaling", "benchmarks")
    monkeypatch.setattr(scaling.start, "LABELED", 2)
    monkeypatch.setattr(scaling.start, "VAL", 2)
    row = scaling.measure_start(kind, 30, 0)
    assert row["looks"] >= 2 * 2 + 2 * 2 + (30 if kind == "list" else 0)
    assert min(row[part] for part in (*scaling.PARTS, "processor")) > 0
    assert row["mib"] > 30
    assert f"| 30 | {kind} |" in scaling.start_table([row])
