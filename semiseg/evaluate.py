"""Scoring a network on a validation list: ``python -m semiseg.evaluate --config F [--checkpoint C] [--save DIR]``; two
runs side by side: ``python -m semiseg.evaluate --compare A.json B.json``.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from semiseg import cli
from semiseg.checkpoints.identity import differing, identity_of, require_same
from semiseg.common.errors import CheckpointError, ConfigError, DataError
from semiseg.common.files import replace_file
from semiseg.common.outputs import Output, check_outputs, make_folders
from semiseg.common.run_files import RunFiles
from semiseg.common.text import counted
from semiseg.config import flatten, load
from semiseg.config.keys import Config
from semiseg.config.unread import unread_keys
from semiseg.data import build as data_build
from semiseg.data.paths import run_folder
from semiseg.data.pictures import PredictionWriter
from semiseg.data.specs import DatasetSpec
from semiseg.engine import build
from semiseg.engine.device import set_device
from semiseg.engine.learnt import learnt_notes
from semiseg.inference.compiled import for_evaluation
from semiseg.inference.evaluation import compare, evaluate, report, table
from semiseg.interop.network_files import NetworkFile, read_network_file
from semiseg.interop.prototype_files import NAME as PROTOTYPES
from semiseg.interop.published import find_best, load_evaluated
from semiseg.models import SegmentationNetwork
from semiseg.models.prototypes import start_prototypes
from semiseg.reporting import paired

AS_TRAINED = "where the configuration differs from what the checkpoint was trained with, take the checkpoint's values"
NO_PROTOTYPES = "without its prototype head: it is of the supervised phase, before there are prototypes"
ADVICE = "Mend these keys, or take the checkpoint's own values with --as-trained"


@dataclass(frozen=True)
class TrainedNetwork:
    """A checkpoint that was read, and the configuration that it is used with. ``note``: a remark on the checkpoint;
    ``taken``: keys whose values are the checkpoint's and not those of the configuration.
    """

    config: Config
    spec: DatasetSpec
    checkpoint: Path
    file: NetworkFile
    note: str = ""
    taken: tuple[str, ...] = ()

    def load(self) -> SegmentationNetwork:
        """The network in evaluation mode with the checkpoint's weights.

        Raises:
            CheckpointError: names or shapes differ.
        """
        network = build.fresh_network(self.config, seed=0)
        load_evaluated(network, self.checkpoint, self.file.state)
        return network.set_train(False)

    def lines(self) -> list[str]:
        """What a command says of the checkpoint."""
        remark = f" ({self.file.note})" if self.file.note else ""
        taken = f"as trained: {', '.join(self.taken)} (the checkpoint's, not the configuration's)"
        return [f"checkpoint: {self.checkpoint}{remark}{self.note}", *([taken] if self.taken else [])]


def with_learnt_heads(trained: TrainedNetwork) -> TrainedNetwork:
    """Without the prototype head where its prototypes are still the random ones that a run begins with."""
    state, net = trained.file.state, trained.config.net
    prototypes = state.get(PROTOTYPES)
    if (
        net.proto_head is None
        or prototypes is None
        or not np.array_equal(prototypes, start_prototypes(*prototypes.shape))
    ):
        return trained
    config = trained.config.model_copy(update={"net": net.model_copy(update={"proto_head": None})})
    file = trained.file._replace(state={name: array for name, array in state.items() if name != PROTOTYPES})
    return replace(trained, config=config, file=file, note=f"{trained.note}; {NO_PROTOTYPES}")


def load_network(config: Config, checkpoint: Path | str) -> SegmentationNetwork:
    """The network of ``config`` in evaluation mode with the weights of a checkpoint, every name and shape matched.

    Of trained and averaged weights (student and teacher) it takes the averaged ones. Reads best.ckpt (ours and the
    authors'), last.ckpt and PyTorch's .pth.

    Raises:
        CheckpointError: missing, damaged, of another network, or trained with other values than ``config`` has where
            these leave no trace in shapes; says what differs.
    """
    return trained_network(config, Path(checkpoint)).load()


def trained_network(config: Config, checkpoint: Path, own: bool = False, note: str = "") -> TrainedNetwork:
    """Reads a checkpoint to be used with ``config``; ``own``: with the values that it was trained with.

    Raises:
        CheckpointError: missing, damaged, or trained with other values; or it does not say with which, and ``own``.
    """
    file = read_network_file(checkpoint)
    config, spec = data_build.complete(config)
    here = identity_of(flatten(config), spec.classes)
    if not own:
        require_same(file.identity, here, str(checkpoint), ADVICE)
        return with_learnt_heads(TrainedNetwork(config, spec, checkpoint, file, note))
    if file.identity is None:
        raise CheckpointError(f"{checkpoint}: does not say what it was trained as; leave --as-trained out")
    taken = tuple(key for key, _, _ in differing(file.identity, here))
    config, spec = data_build.complete(build.as_trained(config, file.identity, checkpoint, taken))
    require_same(file.identity, identity_of(flatten(config), spec.classes), str(checkpoint), "Mend these keys")
    return with_learnt_heads(TrainedNetwork(config, spec, checkpoint, file, note, taken))


def named_network(args: argparse.Namespace) -> TrainedNetwork:
    """What --config, --checkpoint, --as-trained and the overrides of a command line name.

    Raises:
        ConfigError: neither a configuration nor a checkpoint is named. CheckpointError: see ``trained_network``;
            without --config also for a checkpoint that does not say what it was trained as.
    """
    if args.config:
        config, spec = data_build.complete(load(args.config, args.overrides))
        checkpoint, note = find_checkpoint(args.checkpoint, config, spec)
        return trained_network(config, checkpoint, args.as_trained, note)
    if not args.checkpoint:
        raise ConfigError("--config or --checkpoint: name one; a checkpoint of ours says what it was trained as")
    file = read_network_file(args.checkpoint)
    if file.identity is None:
        raise CheckpointError(f"{args.checkpoint}: does not say what it was trained as; name its --config")
    config, spec = data_build.complete(build.from_identity(file.identity, args.checkpoint, args.overrides))
    here = identity_of(flatten(config), spec.classes)
    require_same(file.identity, here, str(args.checkpoint), "Leave these keys out")
    return with_learnt_heads(TrainedNetwork(config, spec, args.checkpoint, file))


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """--config, --checkpoint and --as-trained, as ``named_network`` reads them."""
    parser.add_argument(
        "--config", help="a config.yaml, or the folder that holds it; a checkpoint of ours does without one"
    )
    parser.add_argument("--checkpoint", type=Path, help="default: the run folder's best.ckpt")
    parser.add_argument("--as-trained", action="store_true", help=AS_TRAINED)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("evaluate")
    add_network_options(parser)
    parser.add_argument("--save", type=Path, metavar="DIR", help="write index and colour PNGs of every prediction")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar="JSON",
        help="of two files of --json: the difference in mIoU, first minus second, with its 95%% interval",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    args = parse(argv)
    if args.compare:
        return compare_runs(args)
    trained = named_network(args)
    config, spec = trained.config, trained.spec
    outputs = outputs_of(args)
    check_outputs(outputs, inputs_of(args, trained.checkpoint))
    loader = build.EvalLoader(config, spec)
    learnt = learnt_notes(loader.images, trained.checkpoint)
    for line in (*config.notes, *unread_keys(as_scored(config)), *learnt):
        print(f"note: {line}")
    print(f"device: {set_device(config.device)}")
    print("\n".join(trained.lines()))
    amp = "" if config.evaluation.amp == "off" else f", mixed precision {config.evaluation.amp}"
    print(f"images: {len(loader)} of {spec.name}, {config.evaluation.mode}{amp}")
    network = for_evaluation(trained.load(), config.trainer.jit, config.evaluation.amp)
    make_folders(outputs)
    writer = PredictionWriter(args.save, spec) if args.save else None
    evaluation = evaluate(network, loader, config.evaluation, writer)
    if not evaluation.linear.counts.any():
        raise DataError(f"no labelled pixel in {counted(len(loader), 'mask')} of {spec.name}: nothing can be scored")
    scores = report(evaluation, spec.classes)
    scores |= {"checkpoint": str(trained.checkpoint), "images": len(loader), "mode": config.evaluation.mode}
    try:
        if args.json:  # before anything is printed: a terminal that fails must not cost the scores
            replace_file(args.json, scores_text(scores, evaluation.images))
    finally:  # nor must a full disk
        print("\n".join([*table(scores), *(compare(scores, config.expected) if config.expected else [])]))
    return 0


def as_scored(config: Config) -> Config:
    """With ``evaluation.mode`` alone to say which keys are read: trainer.eval_mode is training's."""
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"eval_mode": "same"})})


def compare_runs(args: argparse.Namespace) -> int:
    """--compare.

    Raises:
        ConfigError: it was asked for together with scoring. DataError: see ``paired``.
    """
    if any((args.config, args.checkpoint, args.json, args.save, args.as_trained, args.overrides)):
        raise ConfigError("--compare: takes two files of --json and nothing else; score first, then compare")
    first, second = map(paired.read_counts, args.compare)
    print(f"first:  mIoU {first.miou:.2f}  {first.name}\nsecond: mIoU {second.miou:.2f}  {second.name}")
    print(f"first minus second: {paired.compare([first], [second])}")
    return 0


def scores_text(scores: Mapping[str, Any], images: Mapping[str, np.ndarray]) -> str:
    """The JSON file: ``scores``, and ``image_counts``, a line an image: right, labelled, predicted pixels by class."""
    lines = (f"  {json.dumps(name)}: {json.dumps(counts.tolist())}" for name, counts in images.items())
    head = json.dumps(scores, indent=1).removesuffix("\n}")
    return f'{head},\n "image_counts": {{\n' + ",\n".join(lines) + "\n }\n}\n"


def outputs_of(args: argparse.Namespace) -> list[Output]:
    """What --save and --json write; the folders of the predictions are named, so that no file takes their place."""
    folders = [args.save, args.save / "index", args.save / "color"] if args.save else []
    files = [Output("--json", args.json, replace=True, is_ours=_is_scores, kind="JSON of scores")] if args.json else []
    return [*(Output("--save", folder, is_folder=True) for folder in folders), *files]


def _is_scores(path: Path) -> bool:
    """Whether --json wrote a file, or nothing is in it."""
    with contextlib.suppress(DataError):
        return path.stat().st_size == 0 or bool(paired.read_counts(path).ids)
    return False


def inputs_of(args: argparse.Namespace, checkpoint: Path) -> tuple[Path, ...]:
    """The files that a command reads and must not replace; --config names the file or its folder."""
    return checkpoint, *((Path(args.config), Path(args.config) / "config.yaml") if args.config else ())


def find_checkpoint(named: Path | None, config: Config, spec: DatasetSpec) -> tuple[Path, str]:
    """The checkpoint that a command line named, else the best.ckpt of this configuration's run; and a remark on it.

    Raises:
        CheckpointError: none was named and there is none.
    """
    if named:
        return named, ""
    return find_best(RunFiles(run_folder(config, spec), config.saver.snapshot_dir).best)


if __name__ == "__main__":
    sys.exit(cli.run(main))
