"""The report as one HTML page: what it shows, in which order, in which words. report.html.j2 lays it out."""

from collections.abc import Sequence
from typing import Any

from semiseg.data.warnings import lost_by_unlabeled, random_weights_warning
from semiseg.reporting import figures
from semiseg.reporting.charts import stroke
from semiseg.reporting.record import RunRecord
from semiseg.reporting.templates import Mark, Table, class_marks, render, table

_TITLES = {
    "summary": "Summary",
    "curves": "Training curves",
    "classes": "IoU per class",
    "confusion": "Confusion",
    "images": "Worst and best images",
    "prototypes": "Use of prototypes",
    "configuration": "Configuration",
}
_HEAD = (
    *("run", "mIoU", "prototype head", "method", "data", "labels", "unlabelled", "steps", "state"),
    *("best while training", "end of supervised phase"),
)
_FIRST = ("method", "dataset.type", "dataset.split", "trainer.epochs", "trainer.seed", "net.encoder.type")


def render_report(runs: Sequence[RunRecord], written: str = "", watch: int | None = None) -> str:
    """The page for one or several runs; a colour stands for a run everywhere.

    ``written``: when, which is shown while a run goes on; ``watch``: seconds until the page is written anew.
    """
    going_on = [run for run in runs if run.running]
    content = {
        "summary": summary(runs),
        "curves": figures.curves(runs),
        "classes": figures.classes(runs),
        "confusion": figures.confusion(runs),
        "images": images(runs),
        "prototypes": figures.prototypes(runs),
        "configuration": configuration(runs),
    }
    return render(
        "report.html.j2",
        title=f"Training report: {', '.join(run.name for run in runs)}",
        sections={anchor: title for anchor, title in _TITLES.items() if content[anchor]},
        going_on=going_on,
        written=written,
        watch=watch if going_on else None,
        legend=[Mark(stroke(i), run.name) for i, run in enumerate(runs)] if len(runs) > 1 else [],
        **content,
    )


def summary(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """``table``: a row a run. ``warnings``, ``scored``, ``skipped``: what makes a run worth little, remarks on what was
    scored and on what was left out.
    """
    rows, warnings, scored, skipped = [], [], [], []
    for run in runs:
        scores, best = run.scores or {}, run.best
        sizes = (run.lists.get("labeled"), run.lists.get("unlabeled"), run.reached)
        shown = f"{best['eval']['miou']:.2f} at step {best['step']}" if best else None
        scored_as = (scores.get("miou"), scores.get("proto_miou"))
        trained = (run.flat["method"], run.spec.name, *sizes, run.state or None, shown, run.supervised)
        rows.append([run.name, *scored_as, *trained])
        none = "none yet" if run.running else "none"
        where = "{images} images, mode {mode}, {checkpoint}".format(**scores) if scores else f"{none}, {run.why_not}"
        scored.append(f"Scored of {run.name}: {where}")
        lost = ""
        if run.supervised is not None and not run.running:
            final = run.evaluations[-1]["eval"]["miou"]
            lost = lost_by_unlabeled(run.supervised, final, run.flat, run.unread)
        for warning in (random_weights_warning(run.spec, run.flat.get("net.encoder.pretrained")), lost):
            if warning:
                warnings.append(f"WARNING: {run.name}: {warning}")
        if run.skipped:
            skipped.append(f"{run.name}: {run.skipped} times an unreadable image was skipped; log.txt names them")
    return {"table": table(_HEAD, rows, "Summary"), "warnings": warnings, "scored": scored, "skipped": skipped}


def images(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """For each run that was scored ``name``, ``legend`` (its classes), ``rows``: heading -> captions with pictures, and
    ``kinds``: which pictures there are.
    """
    galleries = []
    for run in runs:
        if not run.scores:
            continue
        rows = {
            f"{kind.capitalize()} of {run.name}": [
                {
                    "name": row["name"],
                    "scores": f"mIoU {row['miou']:.1f}, {row['accuracy']:.1f} % of pixels right",
                    "pictures": row["pictures"],
                }
                for row in run.scores[kind]
            ]
            for kind in ("worst", "best")
            if run.scores[kind]
        }
        kinds = [kind for row in run.scores["worst"][:1] for kind in row["pictures"]]
        galleries.append({"name": run.name, "legend": class_marks(run.spec), "rows": rows, "kinds": kinds})
    return galleries


def configuration(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """``table``: of one run the first keys, of several those that differ. ``every``: run -> all of its keys."""
    keys, heading = list(_FIRST), "In short"
    if len(runs) > 1:
        heading = "Keys that differ"
        every = dict.fromkeys(key for run in runs for key in run.flat)
        keys = [key for key in every if len({repr(run.flat.get(key)) for run in runs}) > 1]
    rows = [[key, *(_value(run.flat.get(key)) for run in runs)] for key in keys]
    return {
        "heading": heading,
        "table": table(["key", *(run.name for run in runs)], rows, heading, keys=True),
        "every": {run.name: _all_keys(run) for run in runs},
    }


def _all_keys(run: RunRecord) -> Table:
    return table(
        ["key", "value"],
        [[key, _value(value)] for key, value in run.flat.items()],
        f"every key of {run.name}",
        keys=True,
    )


def _value(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return "–" if value is None else str(value)
