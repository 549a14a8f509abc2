"""What tools/compare.py makes of finished runs: a table, a CSV file and a bar chart."""

import contextlib
import csv
import io
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch
from matplotlib.figure import Figure

from semiseg.common.errors import DataError
from semiseg.common.files import replace_file, replacing
from semiseg.reporting import paired

COLORS = {"suponly": "#9aa5b1", "mean_teacher": "#4c78a8", "u2pl": "#54a24b", "ael": "#b279a2", "ours": "#e45756"}


@dataclass(frozen=True)
class Score:
    """One finished run; percent.

    rare: mean IoU of the rarest third of the labelled classes, by pixels. iou: class -> IoU. checkpoint: what was
    scored, None if the file does not say.
    """

    split: str
    method: str
    seed: int
    miou: float
    proto_miou: float | None
    rare: float
    iou: Mapping[str, float]
    checkpoint: Path | None


@dataclass(frozen=True)
class Row:
    """A method on a split."""

    split: str
    method: str
    scores: tuple[Score, ...]

    def mean(self, what: str) -> float | None:
        """Over the seeds; None where a run has no such score."""
        values = [getattr(score, what) for score in self.scores]
        return None if None in values else statistics.mean(values)

    def deviation(self) -> float:
        """Sample standard deviation of mIoU; 0 of one run."""
        return statistics.stdev(s.miou for s in self.scores) if len(self.scores) > 1 else 0.0


def read_score(path: Path, split: str, method: str, seed: int) -> Score:
    """A run's scores.json, as eval.sh writes it.

    Raises:
        DataError: it is damaged.
    """
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        pixels = scores["label_pixels"]
        by_share = sorted(filter(pixels.get, scores["iou"]), key=pixels.get)  # a class that no mask shows is not rare
        rarest = by_share[: max(1, len(by_share) // 3)]
        rare = statistics.mean(scores["iou"][name] for name in rarest) if rarest else 0.0
        checkpoint = Path(scores["checkpoint"]) if scores.get("checkpoint") else None
        return Score(split, method, seed, scores["miou"], scores["proto_miou"], rare, scores["iou"], checkpoint)
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: not the scores of a run; remove it, and compare.py scores anew") from None


def summarise(scores: Sequence[Score]) -> list[Row]:
    """One row a split and method, in the order in which they come."""
    keys = dict.fromkeys((score.split, score.method) for score in scores)
    return [Row(*key, tuple(s for s in scores if (s.split, s.method) == key)) for key in keys]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown: mIoU of each seed, mean, standard deviation, gain over suponly on the same seeds."""
    count = 1 + max(score.seed for row in rows for score in row.scores)
    seeds = "".join(f" seed {i} |" for i in range(count))
    head = f"| split | method |{seeds} mean | sd | gain | prototype head | rare classes |"
    lines = [head, "|---" * (count + 7) + "|"]
    for row in rows:
        of_seed = {score.seed: f"{score.miou:.1f}" for score in row.scores}
        each = "".join(f" {of_seed.get(i, 'not run')} |" for i in range(count))
        proto, gain = row.mean("proto_miou"), gain_over(rows, row)
        cells = [f"{row.mean('miou'):.1f}", f"{row.deviation():.1f}", "-" if gain is None else f"{gain:+.1f}"]
        cells += ["-" if proto is None else f"{proto:.1f}", f"{row.mean('rare'):.1f}"]
        lines.append(f"| {row.split} | {row.method} |{each} {' | '.join(cells)} |")
    return "\n".join(lines)


def gain_over(rows: Sequence[Row], row: Row, baseline: str = "suponly") -> float | None:
    """Mean difference to the baseline on the same split and seeds; None without common seeds, or of itself."""
    base = next((r for r in rows if (r.split, r.method) == (row.split, baseline)), None)
    if base is None or row.method == baseline:
        return None
    of_seed = {score.seed: score.miou for score in base.scores}
    gains = [score.miou - of_seed[score.seed] for score in row.scores if score.seed in of_seed]
    return statistics.mean(gains) if gains else None


def intervals(files: Mapping[tuple[str, str, int], Path]) -> Iterator[str]:
    """For each split and method its difference to supervised training and to the mean teacher, with 95% intervals over
    the images, from the scores.json of (split, method, seed). Scores without counts by image are left out: earlier
    versions kept none.
    """
    counts = {}
    for key, path in files.items():
        with contextlib.suppress(DataError):
            counts[key] = paired.read_counts(path)
    for split, method in dict.fromkeys(key[:2] for key in counts):
        for baseline in ("suponly", "mean_teacher"):
            both = {seed for *_, seed in counts if {(split, method, seed), (split, baseline, seed)} <= counts.keys()}
            seeds = sorted(both)
            if method == baseline or not seeds or (method, baseline) == ("suponly", "mean_teacher"):
                continue
            ours, theirs = ([counts[split, name, seed] for seed in seeds] for name in (method, baseline))
            yield f"{split}: {method} - {baseline} (seeds {', '.join(map(str, seeds))}): {paired.compare(ours, theirs)}"


def write_csv(scores: Sequence[Score], path: Path) -> None:
    """A line a run, with the SHA-256 of the checkpoint that was scored, where that is still there."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = list(dict.fromkeys(name for score in scores for name in score.iou))
    writer.writerow(("split", "method", "seed", "miou", "proto_miou", "rare_miou", *classes, "checkpoint_sha256"))
    for s in scores:
        there = s.checkpoint is not None and s.checkpoint.is_file()
        digest = pooch.file_hash(str(s.checkpoint)) if there else ""
        numbers = [s.miou, s.proto_miou, s.rare, *map(s.iou.get, classes)]
        cells = ["" if number is None else f"{number:.4f}" for number in numbers]
        writer.writerow((s.split, s.method, s.seed, *cells, digest))
    replace_file(path, text.getvalue())


def chart(rows: Sequence[Row], path: Path, title: str) -> None:
    """A PNG: a group of bars a split, a bar a method with its standard deviation, a dot a seed."""
    splits, methods = list(dict.fromkeys(r.split for r in rows)), list(dict.fromkeys(r.method for r in rows))
    width = 0.8 / len(methods)
    figure = Figure(figsize=(2 + 1.1 * len(splits) * max(2, len(methods)) * 0.55, 3.6))
    axes = figure.subplots()
    for row in rows:
        place = splits.index(row.split) + (methods.index(row.method) - (len(methods) - 1) / 2) * width
        label = row.method if row.split == splits[0] else None
        axes.bar(place, row.mean("miou"), 0.92 * width, color=COLORS.get(row.method), alpha=0.85, label=label)
        axes.errorbar(place, row.mean("miou"), row.deviation(), color="#333333", capsize=3, linewidth=1)
        axes.scatter([place] * len(row.scores), [s.miou for s in row.scores], s=9, color="#111111", zorder=3)
    lowest = min(score.miou for row in rows for score in row.scores)
    axes.set_ylim(max(0, 5 * int(lowest / 5) - 5), None)
    axes.set_xticks(range(len(splits)), splits)
    axes.set_xlabel("split (labelled images)")
    axes.set_ylabel("mIoU (%)")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=min(5, len(methods)), loc="upper left", bbox_to_anchor=(0, -0.18))
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, bbox_inches="tight")
