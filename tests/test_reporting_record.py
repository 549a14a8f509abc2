"""Reading what a run left."""

from pathlib import Path

import pytest
from runs import STEPS, write_run

from semiseg.common.errors import DataError
from semiseg.config import flatten, load
from semiseg.data.specs import get_spec
from semiseg.reporting.record import RunRecord, list_sizes, planned_steps, read_metrics, short_names


@pytest.fixture
def record(ready):
    folder = write_run(ready)
    points, evaluations = read_metrics(folder / "metrics.jsonl")
    flat = flatten(load(folder / "config.resolved.yaml"))
    return RunRecord("run", folder, get_spec("synthetic"), flat, points, evaluations, list_sizes(folder))


def test_curves_are_the_logged_numbers(record):
    assert record.terms() == ["lr", "loss", "sup", "mask_ratio", "proto_sup"]
    steps, values = record.curve("mask_ratio")
    assert steps == list(range(22, 41, 2))
    assert values == [step / STEPS for step in steps]
    assert record.curve("nothing") == ([], [])
    assert record.score_curve("iou", 3) == ([13, 26, 39], [3.0, 13.0, 23.0])
    assert record.score_curve("iou", 99) == ([], [])
    assert record.score_curve("proto_miou") == ([13, 26, 39], [1.0, 2.0, 3.0])
    assert record.best["eval"]["miou"] == 22.5
    assert record.last_step == STEPS
    assert record.lists == {"labeled": 4, "unlabeled": 6, "val": 3}


def test_a_half_written_last_line_is_left_out_and_other_damage_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_metrics(path) == ([{"step": 1, "loss": 2.0}], [])
    for line in ("oops", "[1]", '{"loss": 1}', '{"step": 1, "eval": 3}'):
        path.write_text(f'{line}\n{{"step": 1, "loss": 2.0}}\n')
        with pytest.raises(DataError, match="line 1"):
            read_metrics(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_metrics(tmp_path / "gone.jsonl")


def test_names_of_earlier_versions_are_read_as_those_of_today(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "kept": 0.25}\n{"step": 2, "mask_ratio": 0.5}\n')  # a run that was continued
    assert read_metrics(path)[0] == [{"step": 1, "mask_ratio": 0.25}, {"step": 2, "mask_ratio": 0.5}]


def test_the_log_says_how_many_steps_a_run_should_have(tmp_path):
    path, line = tmp_path / "log.txt", "2026-01-02 03:04:05 {} epochs of 85 steps = {} steps; device: cpu\n"
    assert planned_steps(path) is None
    path.write_text("2026-01-02 03:04:05 prototypes by k-means on 9 epochs of 1 steps = 9 pixels\n")
    assert planned_steps(path) is None
    path.write_text(line.format(10, 850) + "2026-01-02 04:00:00 step 850: mIoU 42.00\n" + line.format(20, 1700))
    assert planned_steps(path) == 1700  # the run was prolonged


def test_runs_have_names_that_tell_them_apart():
    assert short_names([Path("/a/ours"), Path("/a/suponly")]) == ["ours", "suponly"]
    assert short_names([Path("/a/ours"), Path("/b/ours")]) == ["a/ours", "b/ours"]
    assert short_names([Path("/a/ours"), Path("/a/ours")]) == ["//a/ours (1)", "//a/ours (2)"]
