"""Methods side by side: python tools/compare.py --splits 16 32 --seeds 3 [--dataset synthetic] [--methods ours u2pl].

Trains and scores every method on every split with every seed, each leaf by its own train.sh and eval.sh, and prints
mean and standard deviation. What is finished is skipped, so the same command continues where it stopped; --collect runs
nothing and reports what is there. Where the lists have several draws, seed s takes label draw s (split 16, 16_s1, ...).
`--variant ours_strong ours dataset.train.strong={}` adds a row: a method with keys of its own.
Below the table stand differences to supervised training and to the mean teacher with intervals of a paired bootstrap.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed

from semiseg import cli
from semiseg.common.errors import ConfigError, UserError
from semiseg.reporting.comparison import chart, intervals, read_score, summarise, table, write_csv
from semiseg.reporting.comparison_runs import Job, common_methods, run_all

ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"\w[\w+-]*")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="compare.py", description="Compare methods over splits and seeds.")
    parser.add_argument("--dataset", default="synthetic", help="a folder of experiments/ (%(default)s)")
    parser.add_argument("--splits", nargs="+", default=["16"], help="its folders (%(default)s)")
    parser.add_argument("--methods", nargs="+", help="their folders (all that every split has)")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each, with seeds 0, 1, ... (%(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "ckpt" / "compare", help="folder of the runs (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (%(default)s)")
    parser.add_argument(
        "--score-with",
        action="append",
        default=[],
        metavar="key=value",
        help="for the evaluation alone, e.g. dataset.val.data_list=data/camvid/splits/test.txt",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        nargs="+",
        metavar=("NAME", "METHOD"),
        help="NAME METHOD key=value ...: a further row, METHOD with these keys; keys for every run stand first",
    )
    parser.add_argument("--collect", action="store_true", help="report what is finished, run nothing")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every run; before the options")
    args = parser.parse_intermixed_args(arguments)
    if args.seeds < 1 or args.jobs < 1:
        raise ConfigError(f"--seeds and --jobs: expected 1 or more, got {args.seeds} and {args.jobs}")
    for word in [*args.splits, *(args.methods or ())]:
        if "=" in word:
            raise ConfigError(f"{word}: expected a name there; key=value for every run stands before the options")
    for words in args.variant:
        if len(words) < 3 or any("=" not in word for word in words[2:]) or not _NAME.fullmatch(words[0]):
            raise ConfigError(
                f"--variant {' '.join(words)}: expected a name of letters, digits, _, + and -, a method and key=value"
            )
    return args


def plan(args: argparse.Namespace) -> list[Job]:
    """Every run, checked against the experiments that there are."""
    experiments, out = ROOT / "experiments" / args.dataset, args.out.absolute() / args.dataset
    rows = [(method, method, ()) for method in common_methods(experiments, args.splits, args.methods)]
    rows += [(name, method, tuple(keys)) for name, method, *keys in args.variant]
    common_methods(experiments, args.splits, {method for _, method, _ in rows})
    for name, count in Counter(name for name, _, _ in rows).items():
        if count > 1 or ((name, name, ()) not in rows and (experiments / args.splits[0] / name).is_dir()):
            raise ConfigError(f"--variant {name}: there is a row or a method of this name; choose another")
    return [
        Job(
            experiments / split / method,
            out / f"{split}_s{seed}" / name,
            seed,
            (*args.overrides, *keys),
            tuple(args.score_with),
        )
        for split in dict.fromkeys(args.splits)
        for seed in range(args.seeds)
        for name, method, keys in rows
    ]


def main(arguments: Sequence[str]) -> int:
    """Runs what is missing, then prints the table and writes DATASET.csv and DATASET.png."""
    args = parse(arguments)
    jobs, out = plan(args), args.out.absolute()
    for name, method, *keys in args.variant:
        print(f"{name}: {method} {' '.join([*args.overrides, *keys])}", file=sys.stderr)
    for job in jobs:
        try:
            job.check_settings()
        except UserError as error:
            if not args.collect:
                raise
            if job.scores.is_file():
                print(f"note: {error}", file=sys.stderr)
    failure = None if args.collect else run_all(jobs, args.jobs)
    if failure:
        command = " ".join(map(str, failure.cmd))
        print(f"error: a run failed: {command}; see output.txt in its folder", file=sys.stderr)
        return 1
    finished = {(job.split, job.method, job.seed): job.scores for job in jobs if job.scores.is_file()}
    scores = [read_score(path, *key) for key, path in finished.items()]
    if not scores:
        raise ConfigError(f"{out}: no finished run; leave --collect out to start")
    rows = summarise(scores)
    write_csv(scores, out / f"{args.dataset}.csv")
    chart(rows, out / f"{args.dataset}.png", args.dataset)
    print(table(rows))
    for line in intervals(finished):
        print(line)
    print(f"{len(scores)} of {len(jobs)} runs; {out / args.dataset}.csv and .png")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
