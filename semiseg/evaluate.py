"""Scoring a network on a validation list: ``python -m semiseg.evaluate --config F [--checkpoint C] [--save DIR]``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from semiseg import cli
from semiseg.common.files import replace_file
from semiseg.common.outputs import Output, check_outputs, make_folders
from semiseg.config import load
from semiseg.config.keys import Config
from semiseg.data import build as data_build
from semiseg.data.paths import run_folder
from semiseg.data.pictures import PredictionWriter
from semiseg.data.specs import DatasetSpec
from semiseg.engine import build
from semiseg.engine.device import set_device
from semiseg.inference.compiled import for_evaluation
from semiseg.inference.evaluation import compare, evaluate, report, table
from semiseg.interop.published import find_best, load_evaluated
from semiseg.models import SegmentationNetwork


def load_network(config: Config, checkpoint: Path | str) -> SegmentationNetwork:
    """The network of ``config`` in evaluation mode with the weights of a checkpoint, every name and shape matched.

    A checkpoint that holds student and teacher gives the teacher. Reads best.ckpt (ours and the authors'), last.ckpt
    and PyTorch's .pth.

    Raises:
        CheckpointError: missing, damaged, or of another network; says what differs.
    """
    config, _ = data_build.complete(config)
    network = build.fresh_network(config, seed=0)
    load_evaluated(network, Path(checkpoint))
    return network.set_train(False)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("evaluate")
    parser.add_argument("--config", required=True, help="a config.yaml, or the folder that holds it")
    parser.add_argument("--checkpoint", type=Path, help="default: the run folder's best.ckpt")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write index and colour PNGs of every prediction")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    args = parse(argv)
    config, spec = data_build.complete(load(args.config, args.overrides))
    checkpoint, note = find_checkpoint(args.checkpoint, config, spec)
    outputs = outputs_of(args)
    check_outputs(outputs, inputs_of(args, checkpoint))
    loader = build.EvalLoader(config, spec)
    for line in config.notes:
        print(f"note: {line}")
    print(f"device: {set_device(config.device)}")
    print(f"checkpoint: {checkpoint}{note}")
    print(f"images: {len(loader)} of {spec.name}, {config.evaluation.mode}")
    network = for_evaluation(load_network(config, checkpoint), config.trainer.jit)
    make_folders(outputs)
    writer = PredictionWriter(args.save, spec) if args.save else None
    scores = report(evaluate(network, loader, config.evaluation, writer), spec.classes)
    scores |= {"checkpoint": str(checkpoint), "images": len(loader), "mode": config.evaluation.mode}
    print("\n".join([*table(scores), *(compare(scores, config.expected) if config.expected else [])]))
    if args.json:
        replace_file(args.json, json.dumps(scores, indent=1) + "\n")
    return 0


def outputs_of(args: argparse.Namespace) -> list[Output]:
    """What --save and --json write; the folders of the predictions are named, so that no file takes their place."""
    folders = [args.save, args.save / "index", args.save / "color"] if args.save else []
    files = [Output("--json", args.json, replace=True)] if args.json else []
    return [*(Output("--save", folder, is_folder=True) for folder in folders), *files]


def inputs_of(args: argparse.Namespace, checkpoint: Path) -> tuple[Path, ...]:
    """The files that a command reads and must not replace; --config names the file or its folder."""
    return checkpoint, Path(args.config), Path(args.config) / "config.yaml"


def find_checkpoint(named: Path | None, config: Config, spec: DatasetSpec) -> tuple[Path, str]:
    """The checkpoint that a command line named, else the best.ckpt of this configuration's run; and a remark on it.

    Raises:
        CheckpointError: none was named and there is none.
    """
    if named:
        return named, ""
    return find_best(run_folder(config, spec) / config.saver.snapshot_dir / "best.ckpt")


if __name__ == "__main__":
    sys.exit(cli.run(main))
