"""A page about runs, while they go on and after: ``python -m semiseg.report RUN [RUN ...] [--out FILE]``.

Each run's best.ckpt is scored once; what that gave is kept in RUN/evaluation.json and taken from there the next time.
"""

import argparse
import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from semiseg import cli
from semiseg.checkpoints.identity import IdentityError, compared, identity_of
from semiseg.common.errors import ConfigError, UserError
from semiseg.common.files import replace_file
from semiseg.common.run_files import RESOLVED, RunFiles
from semiseg.config import flatten, load
from semiseg.config.keys import Config
from semiseg.config.unread import unread_in
from semiseg.data import build as data_build
from semiseg.data.build import open_part
from semiseg.data.lists import read_val
from semiseg.data.paths import roots_of
from semiseg.data.presence import file_states
from semiseg.data.specs import DatasetSpec
from semiseg.engine import build
from semiseg.engine.device import set_device
from semiseg.engine.lock import is_held
from semiseg.evaluate import AS_TRAINED, TrainedNetwork, trained_network
from semiseg.inference.compiled import for_evaluation
from semiseg.inference.evaluation import evaluate, report
from semiseg.interop.published import find_best
from semiseg.reporting.gallery import Gallery
from semiseg.reporting.page import render_report
from semiseg.reporting.record import RunRecord, list_sizes, planned_steps, read_metrics, short_names
from semiseg.reporting.templates import check_out


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("report")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: RUN/report.html, of several ./report.html")
    parser.add_argument("--as-trained", action="store_true", help=AS_TRAINED)
    parser.add_argument("--no-scoring", action="store_true", help="only what was logged and scored before")
    parser.add_argument("--watch", type=int, metavar="S", help="write it anew every S seconds while a run goes on")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders; key=value, e.g. dataset.data_root=DIR")
    args = parser.parse_intermixed_args(argv)
    args.runs, args.overrides = cli.split_overrides(args.runs)
    return args


def main(argv: Sequence[str]) -> int:
    """The command line."""
    args = parse(argv)
    if not args.runs:
        raise ConfigError(f"no run folder named, only overrides ({', '.join(args.overrides)})")
    if args.watch is not None and args.watch < 1:
        raise ConfigError(f"--watch: expected at least 1 second, got {args.watch}")
    out = args.out or (args.runs[0] / "report.html" if len(args.runs) == 1 else Path("report.html"))
    check_out(out, "report")
    told: set[str] = set()
    while True:
        runs = write(out, args)
        notes = [f"note: {run.name}: not scored, {run.why_not}" for run in runs if run.why_not]
        for line in (*notes, str(out)):
            if line not in told:
                print(line, flush=True)
        told.update((*notes, str(out)))
        if args.watch is None or not any(run.running for run in runs):
            return 0
        time.sleep(args.watch)


def write(out: Path, args: argparse.Namespace) -> list[RunRecord]:
    """The page as the runs are now; returns what it shows."""
    names = short_names(args.runs)
    runs = [read_run(folder, name, args) for folder, name in zip(args.runs, names, strict=True)]
    replace_file(out, render_report(runs, time.strftime("%Y-%m-%d %H:%M:%S"), args.watch))
    return runs


def read_run(folder: Path, name: str, args: argparse.Namespace) -> RunRecord:
    """All that the page shows of one run.

    Raises:
        ConfigError, DataError: it is no run folder.
    """
    files = RunFiles(folder)
    if not files.resolved.is_file():
        raise ConfigError(f"{folder}: holds no {RESOLVED}; expected the folder of a training run")
    config, spec = data_build.complete(load(files.resolved, args.overrides))
    running = is_held(folder)  # asked first: a run that ends meanwhile is shown whole by the next page
    points, evaluations = read_metrics(files.metrics)
    scores, why_not = None, ""
    try:
        scores = scored(folder, config, spec, args)
    except IdentityError:
        raise
    except UserError as error:  # data or checkpoint are not here: the rest of the page is worth having
        why_not = str(error)
    return RunRecord(
        name=name,
        folder=folder,
        spec=spec,
        flat=flatten(config),
        unread=dict(unread_in(config)),
        points=points,
        evaluations=evaluations,
        lists=list_sizes(folder),
        scores=scores,
        why_not=why_not,
        steps=planned_steps(files.log),
        running=running,
    )


def scored(folder: Path, config: Config, spec: DatasetSpec, args: argparse.Namespace) -> dict[str, Any]:
    """The scores of the run's best.ckpt, its confusion matrix and its worst and best images.

    They are taken from evaluation.json where that was made of the same file and images in the same way.

    Raises:
        UserError: no checkpoint, no data, or --no-scoring and nothing is kept. IdentityError: the checkpoint was
            trained with other values.
    """
    files = RunFiles(folder, config.saver.snapshot_dir)
    checkpoint, _ = find_best(files.best)
    cache, stat = files.evaluation, checkpoint.stat()
    how = config.evaluation.model_dump(mode="json")
    made_of = {"file": checkpoint.name, "bytes": stat.st_size, "changed": stat.st_mtime_ns, "evaluation": how}
    made_of |= {"identity": compared(identity_of(flatten(config), spec.classes)), "as_trained": args.as_trained}
    made_of |= scored_images(config, spec)
    not_ours = (OSError, ValueError, TypeError, KeyError, AttributeError)  # not there, or not written by us
    with contextlib.suppress(*not_ours):
        scores = json.loads(cache.read_text(encoding="utf-8"))
        kept = scores["made_of"]
        same = all(kept.get(key, value) == value for key, value in made_of.items())  # earlier versions said less
        if same and kept.keys() >= made_of.keys() & {"images", "files"}:
            return scores
    if args.no_scoring:
        raise ConfigError("nothing is kept from an earlier report (--no-scoring)")
    scores = {"made_of": made_of, "checkpoint": checkpoint.name}
    scores |= score(trained_network(config, checkpoint, args.as_trained))
    replace_file(cache, json.dumps(scores))
    return scores


def scored_images(config: Config, spec: DatasetSpec) -> dict[str, Any]:
    """What tells the scored images from others: ``images``, which they are and how their masks are read, nothing where
    their list is not here; ``files``, a digest of sizes and times of change, nothing where none of the files is here.
    """
    found = {}
    with contextlib.suppress(UserError):
        ids = read_val(config, spec)
        found["images"] = {
            "ids": _digest(ids),
            "data_root": str(roots_of(config).val),
            "crop": list(config.dataset.val.crop.size),
            **{key: getattr(spec, key) for key in ("image", "mask", "mask_kind")},
            "colors": [list(color) for color in spec.palette],
            "ignore_color": spec.ignore_color and list(spec.ignore_color),
        }
        if config.evaluation.mode == "center":
            found["images"]["pad_label"] = config.dataset.train.pad_label
        part = open_part(config, spec, ids, "val")
        paths = [str(path) for index in range(len(part)) for path in part.files(index)]
        states = list(file_states(paths, len(paths)))
        if any(states):
            found["files"] = _digest(map(str, states))
    return found


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def score(trained: TrainedNetwork) -> dict[str, Any]:
    """Evaluates a checkpoint; the result can be written as JSON."""
    config, spec = trained.config, trained.spec
    mode, data = config.evaluation, config.dataset
    loader, gallery = build.EvalLoader(config, spec), Gallery(spec, data.mean, data.std)
    set_device(config.device)
    network = for_evaluation(trained.load(), config.trainer.jit, config.evaluation.amp)
    result = evaluate(network, loader, mode, on_logits=gallery.add)
    worst, best = gallery.rows()
    return report(result, spec.classes) | {
        "images": len(loader),
        "mode": mode.mode,
        "confusion": result.linear.counts.tolist(),
        "worst": worst,
        "best": best,
    }


if __name__ == "__main__":
    sys.exit(cli.run(main))
