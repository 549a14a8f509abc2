"""Methods side by side over several seeds: python tools/compare.py --labels 16 --seeds 5 [--jobs 1].

Seed s trains on label draw s of the synthetic data (split 16, 16_s1, ...) from initial weights s, with each leaf's own
train.sh, and scores with its eval.sh. What is finished is skipped, so the command continues where it stopped.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
# Row of the table -> (folder of the experiment, overrides).
VARIANTS = {
    "suponly": ("suponly", ()),
    "mean_teacher": ("mean_teacher", ()),
    "ours": ("ours", ()),
}


@dataclass(frozen=True)
class Job:
    """One training run and its evaluation."""

    variant: str
    labels: int
    seed: int
    out: Path
    overrides: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out / f"{self.labels}_s{self.seed}" / self.variant

    @property
    def scores(self) -> Path:
        """What evaluation writes last."""
        return self.folder / "scores.json"

    def run(self) -> None:
        """Trains and scores unless that was done. Raises CalledProcessError; output goes to output.txt."""
        if self.scores.is_file():
            return
        leaf, own = VARIANTS[self.variant]
        folder = ROOT / "experiments" / "synthetic" / str(self.labels) / leaf
        split = str(self.labels) if self.seed == 0 else f"{self.labels}_s{self.seed}"
        common = (*own, f"dataset.split={split}", f"trainer.seed={self.seed}", f"saver.main_dir={self.folder}")
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"SEMISEG_PYTHON": sys.executable}
        with (self.folder / "output.txt").open("a", encoding="utf-8") as output:
            for script, extra in (("train.sh", ()), ("eval.sh", ("--json", str(self.scores)))):
                command = ["bash", str(folder / script), *common, *self.overrides, *extra]
                subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT, env=environment)


def summarise(jobs: list[Job]) -> list[dict[str, object]]:
    """One row a method and label count: mean and sample standard deviation over the seeds, in percent."""
    rows = []
    for labels in sorted({job.labels for job in jobs}):
        for variant in VARIANTS:
            chosen = [job for job in jobs if (job.variant, job.labels) == (variant, labels)]
            found = [json.loads(job.scores.read_text(encoding="utf-8")) for job in chosen]
            if not found:
                continue
            linear = [scores["miou"] for scores in found]
            proto = [scores["proto_miou"] for scores in found if scores["proto_miou"] is not None]
            rows.append(
                {
                    "labels": labels,
                    "method": variant,
                    "mean": statistics.mean(linear),
                    "sd": statistics.stdev(linear) if len(linear) > 1 else 0.0,
                    "proto_mean": statistics.mean(proto) if proto else None,
                    "seeds": linear,
                }
            )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """The rows as Markdown."""
    count = max(len(row["seeds"]) for row in rows)
    seeds = "".join(f" seed {i} |" for i in range(count))
    lines = [f"| labels | method |{seeds} mean | sd | prototype head, mean |", "|---" * (count + 5) + "|"]
    for row in rows:
        each = "".join(f" {score:.1f} |" for score in row["seeds"])
        proto = f"{row['proto_mean']:.1f}" if row["proto_mean"] is not None else "-"
        lines.append(f"| {row['labels']} | {row['method']} |{each} {row['mean']:.1f} | {row['sd']:.1f} | {proto} |")
    return "\n".join(lines)


def write_csv(rows: list[dict[str, object]], path: Path) -> None:
    """A line a score: labels, method, seed, mIoU of the linear head."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("labels", "method", "seed", "miou"))
        for row in rows:
            for seed, score in enumerate(row["seeds"]):
                writer.writerow((row["labels"], row["method"], seed, f"{score:.4f}"))


def main() -> int:
    """Runs what is missing, then prints the table and writes results.csv."""
    parser = argparse.ArgumentParser(description="Compare methods on the synthetic data over several seeds.")
    parser.add_argument("--labels", type=int, nargs="+", default=[16], help="label counts (%(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="label draws and initial weights (%(default)s)")
    parser.add_argument("--methods", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=ROOT / "ckpt" / "compare", help="folder of the runs (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every run")
    args = parser.parse_intermixed_args()
    jobs = [
        Job(variant, labels, seed, args.out.absolute(), tuple(args.overrides))
        for labels in args.labels
        for seed in range(args.seeds)
        for variant in args.methods
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            for _ in tqdm(pool.map(Job.run, jobs), total=len(jobs), desc="compare", unit="run"):
                pass
        except subprocess.CalledProcessError as error:
            pool.shutdown(cancel_futures=True)
            print(
                f"error: a run failed: {' '.join(map(str, error.cmd))}; see output.txt in its folder", file=sys.stderr
            )
            return 1
    rows = summarise(jobs)
    write_csv(rows, args.out / "results.csv")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
