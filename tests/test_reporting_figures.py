"""Which numbers of runs become which chart and table."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from semiseg.data.specs import get_spec
from semiseg.reporting import figures
from semiseg.reporting.record import RunRecord

SPEC = get_spec("synthetic")
NAMES = SPEC.classes


def run_of(name="run", iou=None, rows=()):
    """A run with these scores of each class, in the classes' order."""
    scores = iou and {"iou": dict(zip(NAMES, iou, strict=True)), "proto_iou": None, "confusion": np.eye(6).tolist()}
    return RunRecord(name, Path(name), SPEC, {}, [], rows, {}, scores)


def test_the_class_with_the_lowest_iou_comes_first():
    (group,) = figures.classes([run_of(iou=[90, 10, 50, 70, 30, 80])])
    order = ["disk", "cross", "ring", "triangle", "bar", "background"]
    assert [row[0] for row in group["table"].rows] == [*order, "mean"]
    assert [row[1] for row in group["table"].rows][:2] == ["10", "30"]
    figure = group["bars"].figure
    assert list(figure.layout.yaxis.ticktext) == order
    assert list(figure.data[0].x) == [10, 30, 50, 70, 80, 90]
    assert "lowest first" in group["bars"].caption


def test_of_several_runs_the_mean_decides_and_every_number_stays_with_its_class():
    runs = [run_of("a", [10, 20, 30, 40, 50, 60]), run_of("b", [90, 80, 30, 40, 50, 20])]
    (group,) = figures.classes(runs)
    assert [row[0] for row in group["table"].rows] == [*(NAMES[i] for i in (2, 3, 5, 0, 1, 4)), "mean"]
    assert group["table"].rows[2] == ["bar", "60", "20"]


def test_curves_of_classes_without_scores_go_by_the_last_evaluation():
    rows = [{"step": s, "eval": {"miou": 1, "iou": [50 - s, 40 + s, 30, 20, 10, 60]}} for s in (1, 25)]
    (group,) = figures.classes([run_of(rows=rows)])
    assert [chart.caption for chart in group["curves"]] == [NAMES[i] for i in (4, 3, 0, 2, 5, 1)]


def test_every_chart_has_words_for_those_who_do_not_see_it():
    rows = [{"step": step, "loss": 2.0 / step} for step in (1, 2)]
    counts = [1, 1, 3, 0, 0, 0, 5, 5, 5, 5, 5, 5]
    run = replace(run_of("mine", [1, 2, 3, 4, 5, 6]), points=[*rows, {"step": 3, "proto_counts": counts}])
    (loss,) = figures.curves([run])
    assert loss.words == "mine: 2 at step 1, 1 at step 2, lowest 1, highest 2"
    (use,) = figures.prototypes([run])
    assert use.words.startswith("background 2.0 of 2, disk 1.0 of 2, ring no pixel, ")
    (matrix,) = figures.confusion([run])
    assert "background 100%" in matrix["chart"].words
    (group,) = figures.classes([run])
    assert "table" in group["bars"].words
