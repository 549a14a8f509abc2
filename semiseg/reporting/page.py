"""The report as one HTML page: what it shows, in which order, in which words."""

from collections.abc import Iterable, Sequence

import numpy as np

from semiseg.reporting import html, svg
from semiseg.reporting.record import RunRecord

_TERMS = {
    "loss": "loss, all terms",
    "sup": "loss on labelled pixels, linear head",
    "unsup": "loss on unlabelled pixels, linear head",
    "proto_sup": "loss on labelled pixels, prototype head",
    "proto_unsup": "loss on unlabelled pixels, prototype head",
    "contrast": "contrastive loss",
    "kept": "share of pixels whose pseudo-label is used",
    "skipped": "unreadable images skipped so far",
    "lr": "learning rate of the encoder",
    "pseudo_accuracy": "accuracy of pseudo-labels, all pixels",
    "pseudo_accuracy_kept": "accuracy of pseudo-labels that are used",
}
_FIRST = ("method", "dataset.type", "dataset.split", "trainer.epochs", "trainer.seed", "net.encoder.type")
_MOST_CLASSES_DRAWN = 40


def render(runs: Sequence[RunRecord]) -> str:
    """The page for one or several runs; a colour stands for a run everywhere."""
    title = f"Training report: {', '.join(run.name for run in runs)}"
    sections = [
        ("summary", "Summary", _summary(runs)),
        ("curves", "Training curves", _curves(runs)),
        ("classes", "IoU per class", _classes(runs)),
        ("confusion", "Confusion", _confusion(runs)),
        ("images", "Worst and best images", _images(runs)),
        ("prototypes", "Use of prototypes", _prototypes(runs)),
        ("configuration", "Configuration", _configuration(runs)),
    ]
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, name, parts in sections if any(parts))
    body = [html.heading(title, 1), f"<nav>{links}</nav>"]
    for anchor, name, parts in sections:
        body += html.section(anchor, name, parts)
    return html.document(title, body)


_HEAD = ("run", "mIoU", "prototype head", "method", "data", "labels", "unlabelled", "steps", "best while training")


def _summary(runs: Sequence[RunRecord]) -> list[str]:
    rows, notes = [], []
    for run in runs:
        scores, best = run.scores or {}, run.best
        sizes = (run.lists.get("labeled"), run.lists.get("unlabeled"), run.last_step)
        shown = f"{best['eval']['miou']:.2f} at step {best['step']}" if best else None
        scored = (scores.get("miou"), scores.get("proto_miou"))
        rows.append([run.name, *scored, run.flat["method"], run.spec.name, *sizes, shown])
        where = "{images} images, mode {mode}, {checkpoint}".format(**scores) if scores else f"none, {run.why_not}"
        notes.append(html.paragraph(f"Scored of {run.name}: {where}", quiet=True))
        if run.skipped:
            notes.append(
                html.paragraph(f"{run.name}: {run.skipped} times an unreadable image was skipped; log.txt names them")
            )
    return [html.table(_HEAD, rows), *notes, _run_legend(runs)]


def _run_legend(runs: Sequence[RunRecord]) -> str:
    return html.legend((svg.stroke(i), run.name, 1.0) for i, run in enumerate(runs)) if len(runs) > 1 else ""


def _curves(runs: Sequence[RunRecord]) -> list[str]:
    last = max(1, *(run.last_step for run in runs))
    charts = [html.figure("mIoU in percent (dashed: prototype head)", svg.line_chart(_score_lines(runs), last))]
    terms = dict.fromkeys([*_TERMS, *(term for run in runs for term in run.terms())])
    for term in terms:
        lines = [svg.Series(run.name, *run.curve(term), i) for i, run in enumerate(runs) if run.curve(term)[0]]
        charts.append(html.figure(_TERMS.get(term, term), svg.line_chart(lines, last)))
    return [html.grid("charts", charts)]


def _score_lines(runs: Sequence[RunRecord]) -> list[svg.Series]:
    lines = []
    for number, run in enumerate(runs):
        for score, dashed in (("miou", False), ("proto_miou", True)):
            steps, values = run.score_curve(score)
            if steps:
                head = ", prototype head" if dashed else ""
                lines.append(svg.Series(run.name + head, steps, values, number, dashed))
    return lines


def _by_classes(runs: Iterable[RunRecord]) -> list[list[tuple[int, RunRecord]]]:
    """(number, run) in groups of one set of classes."""
    groups: dict[tuple[str, ...], list[tuple[int, RunRecord]]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(run.spec.classes, []).append((number, run))
    return list(groups.values())


def _classes(runs: Sequence[RunRecord]) -> list[str]:
    parts = []
    for group in _by_classes(runs):
        classes = group[0][1].spec.classes
        columns = [column for number, run in group if run.scores for column in _columns(run, number)]
        if columns:
            rows = [[name, *(column.values[i] for column in columns)] for i, name in enumerate(classes)]
            rows.append(["mean", *(float(np.mean(column.values)) for column in columns)])
            if len(columns) > 1:
                parts.append(html.legend((svg.stroke(c.color), c.name, c.opacity) for c in columns))
            drawing = html.figure("IoU in percent", svg.bars(classes, columns))
            parts.append(html.grid("pair", [drawing, html.table(["class", *(c.name for c in columns)], rows)]))
        parts.append(html.details("IoU per class over training", _class_curves(group)))
    return parts


def _columns(run: RunRecord, number: int) -> list[svg.Bars]:
    """IoU of each class of the linear head and, where it was scored, of the prototype head."""
    heads = ((run.name, run.scores["iou"], False), (f"{run.name}, prototype head", run.scores["proto_iou"], True))
    return [svg.Bars(name, [iou[c] for c in run.spec.classes], number, faint) for name, iou, faint in heads if iou]


def _class_curves(group: Sequence[tuple[int, RunRecord]]) -> str:
    charts, last = [], max(1, *(run.last_step for _, run in group))
    for index, name in enumerate(group[0][1].spec.classes):
        lines = [svg.Series(run.name, *run.score_curve("iou", index), number) for number, run in group]
        charts.append(html.figure(name, svg.line_chart([line for line in lines if len(line.x) > 1], last, height=160)))
    return html.grid("charts", charts)


def _confusion(runs: Sequence[RunRecord]) -> list[str]:
    figures = []
    for run in runs:
        if not run.scores:
            continue
        counts, names, drawing = np.array(run.scores["confusion"], np.float64), run.spec.classes, ""
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        if len(names) <= _MOST_CLASSES_DRAWN:
            drawing = f'<div class="scroll">{svg.heat_map(names, shares)}</div>'
        caption = f"{run.name}: row = truth, column = prediction, percent of the row"
        rows = [[names[i], names[j], 100 * float(shares[i, j])] for i, j in _largest(shares)]
        mistakes = html.heading("Most frequent mistakes") + html.table(["pixels of", "taken for", "percent"], rows)
        kind = "matrix wide" if len(names) > 12 else "matrix"
        figures.append(html.grid("pair", [html.figure(caption, drawing, kind), f"<div>{mistakes}</div>"]))
    return figures


def _largest(shares: np.ndarray, count: int = 8) -> list[tuple[int, int]]:
    """(row, column) of the largest shares beside the diagonal, largest first."""
    others = shares * (1 - np.eye(len(shares)))
    order = np.argsort(-others, axis=None, kind="stable")[:count]
    return [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, others.shape), strict=True) if others[i, j] > 0]


def _images(runs: Sequence[RunRecord]) -> list[str]:
    parts = []
    for run in runs:
        if not run.scores:
            continue
        classes = zip(run.spec.palette, run.spec.classes, strict=True)
        parts.append(html.legend((f"rgb{color}", name, 1.0) for color, name in classes))
        for kind in ("worst", "best"):
            rows = run.scores[kind]
            if rows:
                parts.append(html.heading(f"{kind.capitalize()} of {run.name}"))
            for row in rows:
                caption = f"{row['name']}: mIoU {row['miou']:.1f}, {row['accuracy']:.1f} % of the pixels right"
                parts.append(html.sample(caption, row["pictures"].items()))
    if parts:
        note = "mIoU of an image: mean over the classes in its mask or prediction. Errors: red wrong, gray not counted."
        parts.insert(0, html.paragraph(note, True))
    return parts


def _prototypes(runs: Sequence[RunRecord]) -> list[str]:
    figures = []
    for run in runs:
        rows = [row["proto_counts"] for row in run.points if row.get("proto_counts")]
        if not rows:
            continue
        half = rows[len(rows) // 2 :]  # what the prototypes have become, not how they began
        counts = np.array(half, np.float64).sum(0).reshape(run.spec.num_classes, -1)
        caption = f"{run.name}: pixels by nearest prototype of their class, second half of training; prototypes in use"
        figures.append(html.figure(caption, svg.stacked_bars(run.spec.classes, counts)))
    note = "In use is exp(entropy of the shares): 1.0 means that one prototype does everything."
    return [html.paragraph(note, True), html.grid("pair", figures)] if figures else []


def _configuration(runs: Sequence[RunRecord]) -> list[str]:
    keys, title = list(_FIRST), "In short"
    if len(runs) > 1:
        title = "Keys that differ"
        every = dict.fromkeys(key for run in runs for key in run.flat)
        keys = [key for key in every if len({repr(run.flat.get(key)) for run in runs}) > 1]
    rows = [[key, *(_value(run.flat.get(key)) for run in runs)] for key in keys]
    parts = [html.heading(title), html.table(["key", *(run.name for run in runs)], rows, keys=True)]
    for run in runs:
        rows = [[key, _value(value)] for key, value in run.flat.items()]
        parts.append(html.details(f"Every key of {run.name}", html.table(["key", "value"], rows, keys=True)))
    return parts


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return "–" if value is None else str(value)
