"""A finished run is prolonged by trainer.resume=extend, and by nothing else."""

import json
import os
import signal

import numpy as np
import pytest

from semiseg import cli, train
from semiseg.checkpoints import io as checkpoint_io
from semiseg.config import load
from semiseg.engine import build
from semiseg.engine.optim import poly
from semiseg.engine.step import TrainStep

SHORT, LONG, EXTEND = "trainer.epochs=1", "trainer.epochs=2", "trainer.resume=extend"  # 3 and 6 steps


def run(path, overrides, *more):
    return cli.run(train.main, ["--config", str(path), *overrides, *more])


@pytest.fixture
def finished(tiny_config, tiny_overrides, tmp_path):
    """(config file, overrides, folder of a finished run of one epoch)."""
    path, overrides = tiny_config(), [*tiny_overrides, "trainer.log_every=1"]
    assert run(path, overrides, SHORT) == 0
    return path, overrides, tmp_path / "run"


def stop_at(patch, number):
    """SIGTERM in the middle of a step."""
    real = TrainStep.__call__

    def call(self, step, labeled, unlabeled):
        if step == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, step, labeled, unlabeled)

    patch.setattr(TrainStep, "__call__", call)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_prolonged_run_goes_on_by_the_new_schedule_and_says_so(finished, capsys):
    path, overrides, folder = finished
    first = lines(folder)
    assert run(path, overrides, LONG, EXTEND) == 0
    found = lines(folder)
    assert found[: len(first)] == first  # what was done stays
    rates = [line["lr"] for line in found if "eval" not in line]
    base = load(path, overrides).trainer.optimizer.kwargs.lr
    expected = [poly(step, 3, 0.9) for step in range(3)] + [poly(step, 6, 0.9) for step in range(3, 6)]
    assert rates == pytest.approx([base * factor for factor in expected])
    log = (folder / "log.txt").read_text()
    assert "prolonged (trainer.resume=extend): trainer.epochs 1 -> 2, 3 -> 6 steps" in log
    assert f"at step 3 the learning rate jumps from 0 to {base * poly(3, 6, 0.9):.3g}" in log
    assert load(folder / "config.resolved.yaml").trainer.epochs == 2
    # From here on it is a run of two epochs like any other.
    for resume in (EXTEND, "trainer.resume=auto"):
        assert run(path, overrides, LONG, resume) == 0
        assert "this run is finished (6 steps" in capsys.readouterr().out
    assert (folder / "log.txt").read_text().count("prolonged (trainer.resume=extend)") == 1


def test_two_runs_that_are_prolonged_alike_are_equal_one_of_them_stopped_on_the_way(finished, tmp_path, monkeypatch):
    path, overrides, folder = finished
    other = [*overrides, f"saver.main_dir={tmp_path}/other"]
    assert run(path, other, SHORT) == 0
    assert run(path, overrides, LONG, EXTEND) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert run(path, other, LONG, EXTEND) == 130
    assert run(path, other, LONG, EXTEND) == 0  # the same command continues
    assert lines(tmp_path / "other") == lines(folder)
    for name in ("last.ckpt", "best.ckpt"):
        (found, record), (expected, known) = (
            checkpoint_io.read(place / "checkpoints" / name) for place in (tmp_path / "other", folder)
        )
        assert record == known
        assert found.keys() == expected.keys()
        assert [key for key in found if not np.array_equal(found[key], expected[key])] == []


def test_a_run_that_is_not_finished_can_be_prolonged_too(tiny_config, tiny_overrides, tmp_path, monkeypatch):
    path, overrides = tiny_config(), [*tiny_overrides, "trainer.log_every=1", "trainer.eval_on=false"]
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        assert run(path, overrides, SHORT) == 130
    assert run(path, overrides, LONG, EXTEND) == 0
    base = load(path, overrides).trainer.optimizer.kwargs.lr
    expected = [poly(0, 3, 0.9), poly(1, 3, 0.9), *(poly(step, 6, 0.9) for step in range(2, 6))]
    assert [line["lr"] for line in lines(tmp_path / "run")] == pytest.approx([base * factor for factor in expected])
    jump = f"at step 2 the learning rate jumps from {base * poly(2, 3, 0.9):.3g} to {base * poly(2, 6, 0.9):.3g}"
    assert jump in (tmp_path / "run/log.txt").read_text()


def snapshot(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_without_the_switch_the_refusal_names_it(finished, capsys):
    path, overrides, folder = finished
    before = snapshot(folder)
    for more, named in (([LONG], True), ([LONG, "trainer.seed=3"], False), ([LONG, "trainer.seed=3", EXTEND], False)):
        capsys.readouterr()
        assert run(path, overrides, *more) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert "holds a run of another configuration" in error
        assert ("trainer.resume=extend prolongs the run" in error) == named
    assert snapshot(folder) == before


def test_a_run_is_never_made_shorter(finished, capsys):
    path, overrides, folder = finished
    assert run(path, overrides, LONG, EXTEND) == 0
    before = snapshot(folder)
    for resume in (EXTEND, "trainer.resume=auto"):
        capsys.readouterr()
        assert run(path, overrides, SHORT, resume) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert "trainer.epochs was 2, now 1" in error
        assert "prolongs" not in error
    assert snapshot(folder) == before


def test_where_there_is_no_run_there_is_nothing_to_prolong(tiny_config, tiny_overrides, tmp_path, capsys):
    assert run(tiny_config(), tiny_overrides, EXTEND) == 2
    assert "no run is there to prolong" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_old_configuration_stays_until_the_longer_run_begins(finished, monkeypatch):
    path, overrides, folder = finished
    before = snapshot(folder)

    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(build, "monitor", fails)
    with pytest.raises(ZeroDivisionError):
        run(path, overrides, LONG, EXTEND)
    after = snapshot(folder)
    assert {file: content for file, content in after.items() if file in before and file.name != "run.lock"} == {
        file: content for file, content in before.items() if file.name != "run.lock"
    }
    monkeypatch.undo()
    assert run(path, overrides, SHORT) == 0  # the run of before is still whole
