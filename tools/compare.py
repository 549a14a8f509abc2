"""Methods side by side: python tools/compare.py --splits 16 32 --seeds 3 [--dataset synthetic] [--methods ours u2pl].

Trains and scores every method on every split with every seed, each leaf by its own train.sh and eval.sh, and prints
mean and standard deviation. What is finished is skipped, so the same command continues where it stopped; --collect runs
nothing and reports what is there. Of the synthetic sets, seed s takes label draw s (split 16, 16_s1, 16_s2, ...) too.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from compare_report import Score, chart, read_score, summarise, table, write_csv
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("suponly", "mean_teacher", "u2pl", "ael", "u2pl_ael", "ours")  # of the rows


@dataclass(frozen=True)
class Job:
    """One training run and its evaluation."""

    dataset: str
    split: str
    method: str
    seed: int
    out: Path
    overrides: tuple[str, ...]

    @property
    def leaf(self) -> Path:
        """The experiment."""
        return ROOT / "experiments" / self.dataset / self.split / self.method

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out / self.dataset / f"{self.split}_s{self.seed}" / self.method

    @property
    def scores(self) -> Path:
        """What evaluation writes last."""
        return self.folder / "scores.json"

    def run(self) -> None:
        """Trains and scores unless that was done. Raises CalledProcessError; output goes to output.txt."""
        if self.scores.is_file():
            return
        common = [f"trainer.seed={self.seed}", f"saver.main_dir={self.folder}"]
        if self.dataset.startswith("synthetic") and self.seed:
            common.append(f"dataset.split={self.split}_s{self.seed}")
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"SEMISEG_PYTHON": sys.executable}
        with (self.folder / "output.txt").open("a", encoding="utf-8") as output:
            for script, extra in (("train.sh", ()), ("eval.sh", ("--json", str(self.scores)))):
                command = ["bash", str(self.leaf / script), *common, *self.overrides, *extra]
                subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT, env=environment)


def run_all(jobs: list[Job], at_once: int) -> int:
    """Every job under a progress bar; 1 and a line for the first that fails, else 0."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for _ in tqdm(pool.map(Job.run, jobs), total=len(jobs), desc="compare", unit="run"):
                pass
        except subprocess.CalledProcessError as error:
            pool.shutdown(cancel_futures=True)
            command = " ".join(map(str, error.cmd))
            print(f"error: a run failed: {command}; see output.txt in its folder", file=sys.stderr)
            return 1
    return 0


def parse() -> argparse.Namespace:
    """The command line, checked against the experiments that there are."""
    parser = argparse.ArgumentParser(description="Compare methods on one data set over splits and seeds.")
    parser.add_argument("--dataset", default="synthetic", help="a folder of experiments/ (%(default)s)")
    parser.add_argument("--splits", nargs="+", default=["16"], help="its folders (%(default)s)")
    parser.add_argument("--methods", nargs="+", help="their folders (all that every split has)")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each, with seeds 0, 1, ... (%(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "ckpt" / "compare", help="folder of the runs (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (%(default)s)")
    parser.add_argument("--collect", action="store_true", help="report what is finished, run nothing")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every run")
    args = parser.parse_intermixed_args()
    if args.seeds < 1 or args.jobs < 1:
        parser.error(f"--seeds and --jobs: expected 1 or more, got {args.seeds} and {args.jobs}")
    splits = ROOT / "experiments" / args.dataset
    found = [{path.parent.name for path in splits.glob(f"{split}/*/config.yaml")} for split in args.splits]
    for split, methods in zip(args.splits, found, strict=True):
        if not methods:
            parser.error(f"experiments/{args.dataset}/{split}: no experiment there")
        missing = sorted(set(args.methods or ()) - methods)
        if missing:
            there = ", ".join(sorted(methods))
            parser.error(f"experiments/{args.dataset}/{split}/{missing[0]}: no such experiment; there: {there}")
    args.methods = args.methods or sorted(set.intersection(*found), key=ORDER.index)
    return args


def main() -> int:
    """Runs what is missing, then prints the table and writes results.csv and results.png."""
    args = parse()
    out, overrides = args.out.absolute(), tuple(args.overrides)
    jobs = [
        Job(args.dataset, split, method, seed, out, overrides)
        for split in args.splits
        for seed in range(args.seeds)
        for method in args.methods
    ]
    if not args.collect and run_all(jobs, args.jobs):
        return 1
    found: list[Score] = [
        read_score(job.scores, job.split, job.method, job.seed) for job in jobs if job.scores.is_file()
    ]
    if not found:
        print(f"error: {out}: no finished run; leave --collect out to start", file=sys.stderr)
        return 2
    rows = summarise(found)
    write_csv(found, out / f"{args.dataset}.csv")
    chart(rows, out / f"{args.dataset}.png", args.dataset)
    print(table(rows))
    print(f"{len(found)} of {len(jobs)} runs; {out / args.dataset}.csv and .png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
