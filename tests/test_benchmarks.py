"""The works that benchmarks/run.py times still run (on a picture or two; times are never tested)."""

import json
import subprocess
import sys

import pytest
from tiny import ROOT
from tool import load_tool


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images as the benchmarks make them, two small ones, and a list of many names."""
    inputs = load_tool("inputs", "benchmarks")
    folder = tmp_path_factory.mktemp("images")
    inputs.write_images(folder / "voc", 2, 65, 70)
    inputs.write_many(folder / "many", 5)
    return folder


@pytest.mark.parametrize(
    ("work", "parameters"),
    [
        ("evaluation", {"folder": "voc", "mode": "whole"}),
        ("data", {"folder": "voc", "steps": 1}),
        ("count", {"images": 1}),
        ("many_ids", {"folder": "many"}),
    ],
)
def test_our_side_of_a_benchmark_runs(folder, work, parameters):
    if "folder" in parameters:
        parameters = parameters | {"folder": str(folder / parameters["folder"])}
    command = [sys.executable, str(ROOT / "benchmarks/ours.py"), work, json.dumps(parameters)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert min(found["seconds"]) > 0
    assert found["mib"] > 100
