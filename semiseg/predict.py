"""Predicting images: ``python -m semiseg.predict [--config F] [--checkpoint C] IMAGE_OR_FOLDER... --out DIR``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semiseg import cli
from semiseg.common.errors import ConfigError, DataError
from semiseg.common.outputs import Output, check_outputs, make_folders
from semiseg.common.text import shortened
from semiseg.data.decode import MAX_PIXELS
from semiseg.data.discover import MaskFiles
from semiseg.data.image_files import read_image
from semiseg.data.read_ahead import over_files
from semiseg.engine.device import set_device
from semiseg.evaluate import TrainedNetwork, add_network_options, inputs_of, named_network
from semiseg.inference.compiled import for_evaluation
from semiseg.inference.images import Item, find_items
from semiseg.inference.outputs import ResultWriter
from semiseg.inference.predictor import Predictor


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; ``inputs`` are paths, ``overrides`` are key=value."""
    parser = cli.parser(
        "predict",
        epilog="Exit code 0: all predicted; 1: some images could not be read, all others are done; 2: nothing done.",
    )
    add_network_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--overwrite", action="store_true", help="DIR may hold files; those of the same name go")
    parser.add_argument("--probabilities", action="store_true", help="also write each class's probability (.npz)")
    parser.add_argument(
        "--long-side",
        type=int,
        metavar="PX",
        help="bring images to this long side before the network sees them, near the size it was trained on; results "
        "keep the image's own size (default: as the evaluation has it)",
    )
    parser.add_argument(
        "--whole-up-to",
        type=float,
        default=1.5,
        metavar="MP",
        help="larger images, in megapixels, go through the sliding window of evaluation.crop_size (%(default)s)",
    )
    parser.add_argument("inputs", nargs="+", metavar="IMAGE_OR_FOLDER", help="images, folders of images, or key=value")
    args = parser.parse_intermixed_args(argv)
    args.inputs, args.overrides = cli.split_overrides(args.inputs)
    return args


def check_numbers(args: argparse.Namespace) -> None:
    """Raises ConfigError for sizes that no image can have, or where no image is named."""
    if args.long_side is not None and args.long_side < 1:
        raise ConfigError(f"--long-side: expected at least 1 px, got {args.long_side}")
    if not args.whole_up_to >= 0:
        raise ConfigError(f"--whole-up-to: expected 0 or more megapixels, got {args.whole_up_to}")
    if not args.inputs:
        raise ConfigError(f"no image or folder named, only overrides ({', '.join(args.overrides)})")


def predict_items(
    items: Sequence[Item], predictor: Predictor, writer: ResultWriter, keep: bool, max_pixels: int = MAX_PIXELS
) -> list[tuple[Path, DataError]]:
    """Predicts every image that can be read, under a progress bar; returns the others, each with its reason."""

    def read(item: Item) -> np.ndarray:
        return read_image(item.path, upright=True, max_pixels=max_pixels)

    failed = []
    for item, image in over_files(read, items, 1, "predict"):
        if isinstance(image, DataError):
            failed.append((item.path, image))
            tqdm.write(f"left out: {image}", file=sys.stderr)
            continue
        writer.write(item.name, image, *predictor(image, keep))
    return failed


def main(argv: Sequence[str]) -> int:
    """The command line."""
    args = parse(argv)
    check_numbers(args)
    trained = named_network(args)
    data = trained.config.dataset
    masks = MaskFiles(trained.spec, data.train.data_root or data.data_root)
    items = find_items(args.inputs, args.out, masks, lambda note: print(f"note: {note}"))
    otherwise = ", or replace results of the same name with --overwrite"
    outputs = [Output("--out", args.out, is_folder=True, replace=args.overwrite, otherwise=otherwise)]
    check_outputs(outputs, inputs_of(args, trained.checkpoint))
    device = set_device(trained.config.device)
    predictor = build_predictor(trained, args)
    make_folders(outputs)
    print("\n".join([f"device: {device}", *trained.lines()]))
    with ResultWriter(args.out, trained.spec) as writer:
        failed = predict_items(items, predictor, writer, args.probabilities, data.max_pixels)
    print(f"{len(items) - len(failed)} of {len(items)} images predicted: {args.out}")
    if failed:
        names = shortened((path for path, _ in failed), 5)
        print(f"{len(failed)} could not be read and were left out: {names}", file=sys.stderr)
    return 1 if failed else 0


def build_predictor(trained: TrainedNetwork, args: argparse.Namespace) -> Predictor:
    """The network with the checkpoint's weights, and how images go through it."""
    config = trained.config
    return Predictor(
        for_evaluation(trained.load(), config.trainer.jit, config.evaluation.amp),
        config.evaluation,
        config.dataset.mean,
        config.dataset.std,
        args.long_side,
        round(1e6 * args.whole_up_to),
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
