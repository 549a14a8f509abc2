"""The report's charts: from the numbers of runs to figures and the tables beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from semiseg.reporting.charts import Bars, Chart, bars, heat_map, in_use, line_chart, stacked_bars, stroke
from semiseg.reporting.record import RunRecord
from semiseg.reporting.series import Series, in_words
from semiseg.reporting.templates import Mark, table

_TERMS = {
    "loss": "loss, all terms",
    "sup": "loss on labelled pixels, linear head",
    "unsup": "loss on unlabelled pixels, linear head",
    "proto_sup": "loss on labelled pixels, prototype head",
    "proto_unsup": "loss on unlabelled pixels, prototype head",
    "contrast": "contrastive loss",
    "mask_ratio": "mask ratio: share of pseudo-labels used",
    "skipped": "unreadable images skipped so far",
    "overflows": "steps skipped so far, not finite in float16",
    "loss_scale": "loss scale of mixed precision",
    "lr": "learning rate of the encoder",
    "pseudo_accuracy": "accuracy of pseudo-labels, all pixels",
    "pseudo_accuracy_in_mask": "accuracy of pseudo-labels that count",
}
_MOST_CLASSES_DRAWN = 40
_SAME_IN_TABLE = "the table beside holds the same numbers"


def curves(runs: Sequence[RunRecord]) -> list[Chart]:
    """Scores while training, then every logged scalar; nothing where nothing was logged."""
    last = max(1, *(run.last_step for run in runs))
    lines = {"mIoU in percent (dashed: prototype head)": _score_lines(runs)}
    for term in dict.fromkeys([*_TERMS, *(term for run in runs for term in run.terms())]):
        lines[_TERMS.get(term, term)] = [Series(run.name, *run.curve(term), i) for i, run in enumerate(runs)]
    return _line_charts(lines, last)


def _line_charts(lines: dict[str, list[Series]], last: int, height: int = 230) -> list[Chart]:
    """caption -> lines; without points there is no line, without lines no chart."""
    charts = []
    for caption, of_one in lines.items():
        with_points = [line for line in of_one if line.x]
        figure = line_chart(with_points, last, height)
        if figure:
            charts.append(Chart(caption, figure, "curve", in_words(with_points)))
    return charts


def _score_lines(runs: Sequence[RunRecord]) -> list[Series]:
    return [
        Series(run.name + head, *run.score_curve(score), number, dashed)
        for number, run in enumerate(runs)
        for score, head, dashed in (("miou", "", False), ("proto_miou", ", prototype head", True))
    ]


def classes(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """For each set of classes ``bars`` (None without scores) with ``legend`` and ``table``, and ``curves``; the class
    with the lowest IoU comes first.
    """
    groups = []
    for group in _by_classes(runs):
        columns = [column for number, run in group if run.scores for column in _columns(run, number)]
        every, order = group[0][1].spec.classes, _lowest_first([run for _, run in group])
        names = [every[i] for i in order]
        columns = [replace(column, values=[column.values[i] for i in order]) for column in columns]
        rows = [[name, *(column.values[i] for column in columns)] for i, name in enumerate(names)]
        rows.append(["mean", *(float(np.mean(column.values)) for column in columns)])
        drawn = Chart("IoU in percent, lowest first", bars(names, columns), words=_SAME_IN_TABLE) if columns else None
        groups.append(
            {
                "legend": [Mark(stroke(c.color), c.name, c.opacity) for c in columns] if len(columns) > 1 else [],
                "bars": drawn,
                "table": table(["class", *(column.name for column in columns)], rows, "IoU in percent of each class"),
                "curves": _class_curves(group, order),
            }
        )
    return [group for group in groups if group["bars"] or group["curves"]]


def _lowest_first(runs: Sequence[RunRecord]) -> list[int]:
    """The classes by their mean IoU over ``runs`` (linear head); of runs without scores the last one while training."""
    names = runs[0].spec.classes
    scores = [[run.scores["iou"][name] for name in names] for run in runs if run.scores]
    if not scores:
        logged = [row["eval"].get("iou") for run in runs for row in run.evaluations[-1:]]
        scores = [iou for iou in logged if iou and len(iou) == len(names)]
    means = np.mean(scores, axis=0) if scores else np.zeros(len(names))
    return [int(i) for i in np.argsort(means, kind="stable")]


def _by_classes(runs: Iterable[RunRecord]) -> list[list[tuple[int, RunRecord]]]:
    """(number, run) in groups of one set of classes."""
    groups: dict[tuple[str, ...], list[tuple[int, RunRecord]]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(run.spec.classes, []).append((number, run))
    return list(groups.values())


def _columns(run: RunRecord, number: int) -> list[Bars]:
    """IoU of each class of the linear head and, where it was scored, of the prototype head."""
    heads = ((run.name, run.scores["iou"], False), (f"{run.name}, prototype head", run.scores["proto_iou"], True))
    return [Bars(name, [iou[c] for c in run.spec.classes], number, faint) for name, iou, faint in heads if iou]


def _class_curves(group: Sequence[tuple[int, RunRecord]], order: Sequence[int]) -> list[Chart]:
    last = max(1, *(run.last_step for _, run in group))
    names = group[0][1].spec.classes
    lines = {names[i]: [Series(run.name, *run.score_curve("iou", i), number) for number, run in group] for i in order}
    of_several = {name: [line for line in of_one if len(line.x) > 1] for name, of_one in lines.items()}
    return _line_charts(of_several, last, height=180)


def confusion(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """For each run that was scored ``name``, ``caption``, ``chart`` (None of very many classes) and ``mistakes``."""
    matrices = []
    for run in runs:
        if not run.scores:
            continue
        counts, names = np.array(run.scores["confusion"], np.float64), run.spec.classes
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        caption = f"{run.name}: row = truth, column = prediction, percent of the row"
        kind = "matrix wide" if len(names) > 12 else "matrix"
        right = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, np.diag(shares), strict=True))
        words = f"right of the pixels of each class: {right}; the table beside names the most frequent mistakes"
        chart = Chart(caption, heat_map(names, shares), kind, words) if len(names) <= _MOST_CLASSES_DRAWN else None
        rows = [[names[i], names[j], 100 * float(shares[i, j])] for i, j in _largest(shares)]
        mistakes = table(["pixels of", "taken for", "percent"], rows, f"most frequent mistakes of {run.name}")
        matrices.append({"name": run.name, "caption": caption, "chart": chart, "mistakes": mistakes})
    return matrices


def _largest(shares: np.ndarray, count: int = 8) -> list[tuple[int, int]]:
    """(row, column) of the largest shares beside the diagonal, largest first."""
    others = shares * (1 - np.eye(len(shares)))
    order = np.argsort(-others, axis=None, kind="stable")[:count]
    return [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, others.shape), strict=True) if others[i, j] > 0]


def prototypes(runs: Sequence[RunRecord]) -> list[Chart]:
    """For each run that has prototypes, how the pixels of a class share them."""
    charts = []
    for run in runs:
        rows = [row["proto_counts"] for row in run.points if row.get("proto_counts")]
        if not rows:
            continue
        half = rows[len(rows) // 2 :]  # what the prototypes have become, not how they began
        counts = np.array(half, np.float64).sum(0).reshape(run.spec.num_classes, -1)
        caption = f"{run.name}: pixels by nearest prototype of their class, second half of training; prototypes in use"
        use = (f"{name} {in_use(row)}" for name, row in zip(run.spec.classes, counts, strict=True))
        charts.append(Chart(caption, stacked_bars(run.spec.classes, counts), words=", ".join(use)))
    return charts
