"""A run that is killed again and again, at any moment, ends bit for bit as the one that was not.

The faults are those of benchmarks/faults.py. benchmarks/reliability.py does many more of them and writes the table of
docs/reliability.md.
"""

import json
import os
import time

import numpy as np
import pytest
from conftest import PROTO
from faulty_training import Training
from tiny import ROOT, TINY_NET

from semiseg.checkpoints import io as checkpoint_io
from semiseg.engine.lock import RunLock

SIGKILLED, REFUSED = -9, 2
# 6 steps, the first 3 supervised; scored after 3 and 6.
TRAIN = ["trainer.epochs=2", "trainer.eval_every=1", "saver.every=2", "trainer.log_every=1", "dataset.workers=1"]


def outcome(folder):
    """What a run leaves: metrics.jsonl as it is, then arrays and record of both checkpoints."""
    files = [checkpoint_io.read(folder / "checkpoints" / name) for name in ("last.ckpt", "best.ckpt")]
    return (folder / "metrics.jsonl").read_text(), [record for _, record in files], [arrays for arrays, _ in files]


def assert_same(folder, expected):
    metrics, records, arrays = outcome(folder)
    assert metrics == expected[0]
    steps = [record["step"] for record in map(json.loads, metrics.splitlines()) if "eval" not in record]
    assert steps == list(range(1, 7))  # no hole, no double
    assert records == expected[1]
    for found, wanted in zip(arrays, expected[2], strict=True):
        assert found.keys() == wanted.keys()
        assert [name for name in found if not np.array_equal(found[name], wanted[name])] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_data):
    """(how to start a run of the tiny data in a folder, outcome of the run that nothing disturbs)."""
    place = tmp_path_factory.mktemp("survival")
    config = place / "config.yaml"
    config.write_text(
        f"base: {ROOT}/experiments/_base/recipes/synthetic_ours.yaml\n"
        f"dataset: {{data_root: '{tiny_data}', splits: '{tiny_data}/splits', split: 4, batch_size: 2}}\n"
        "trainer: {sup_only_epoch: 1, jit: false}\n"
        "device: cpu\n"
    )
    overrides = [*TINY_NET, "dataset.train.crop.size=[33, 33]", *PROTO]

    def begin(folder, fault="none:0"):
        arguments = [fault, "--config", str(config), *overrides, *TRAIN, f"saver.main_dir={folder}"]
        return Training(arguments, place / "stderr.txt")

    done, stderr = begin(place / "whole").ended()
    assert done == 0, stderr
    return begin, outcome(place / "whole")


def killed_at_random(process, metrics, lines, rng):
    """SIGKILL after so many lines of the log, and a random time on top; whether the run was still going."""
    while process.going() and (not metrics.is_file() or len(metrics.read_bytes().splitlines()) < lines):
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.4))
    process.kill()
    return process.ended()[0] == SIGKILLED


def test_kills_at_any_moment_and_a_full_disk_change_nothing(tmp_path, whole):
    begin, expected = whole
    faults = [
        ("half a checkpoint:1", SIGKILLED),  # before there is any
        ("in the k-means:4", SIGKILLED),
        ("full:20000", REFUSED),
        ("before the new one takes its place:3", SIGKILLED),
        ("in an evaluation:2", SIGKILLED),
    ]
    for fault, code in faults:
        found, stderr = begin(tmp_path / "run", fault).ended()
        assert found == code, f"{fault}: {stderr}"
        if code == REFUSED:
            assert "cannot be written" in stderr.splitlines()[-1]
    assert killed_at_random(begin(tmp_path / "run"), tmp_path / "run/metrics.jsonl", 4, np.random.default_rng(11))
    assert begin(tmp_path / "run").ended()[0] == 0
    assert_same(tmp_path / "run", expected)
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.is_file()]  # nothing half-written is left


def test_a_second_start_is_refused_while_a_run_writes(tmp_path, whole):
    begin, _ = whole
    folder = tmp_path / "run"
    folder.mkdir()
    with RunLock(folder):
        code, stderr = begin(folder).ended()
    assert code == REFUSED
    assert f"process {os.getpid()} on " in stderr
    assert list(folder.iterdir()) == []
