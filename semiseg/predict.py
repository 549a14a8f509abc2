"""Predicting images: ``python -m semiseg.predict [--config F] [--checkpoint C] IMAGE_OR_FOLDER... --out DIR``; with
``--uncertain N`` finding those that are worth labelling next.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semiseg import cli
from semiseg.common.errors import ConfigError, DataError
from semiseg.common.outputs import Output, check_outputs, make_folders
from semiseg.common.text import did_you_mean, shortened
from semiseg.data.build import open_part
from semiseg.data.decode import MAX_PIXELS
from semiseg.data.discover import MaskFiles
from semiseg.data.image_files import read_image
from semiseg.data.lists import read_split
from semiseg.data.paths import roots_of
from semiseg.data.read_ahead import over_files
from semiseg.engine.device import set_device
from semiseg.evaluate import TrainedNetwork, add_network_options, inputs_of, named_network
from semiseg.inference.compiled import for_evaluation
from semiseg.inference.images import Item, ListedItems, find_items
from semiseg.inference.outputs import FORMATS, ResultWriter
from semiseg.inference.predictor import Predictor
from semiseg.inference.uncertainty import (
    SCORES,
    BothHeads,
    Ranked,
    RankingWriter,
    image_scores,
    most_uncertain,
    ranking_lines,
)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line; ``inputs`` are paths, ``overrides`` are key=value, ``formats`` what images get."""
    parser = cli.parser(
        "predict",
        epilog="Exit code 0: all predicted; 1: some images could not be read, all others are done; 2: nothing done.",
    )
    add_network_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--overwrite", action="store_true", help="DIR may hold files; those of the same name go")
    parser.add_argument(
        "--format",
        metavar="FORMAT[,FORMAT]",
        help=f"{', '.join(FORMATS)}: pictures, or annotations for a tool; several with commas (default: png)",
    )
    parser.add_argument("--probabilities", action="store_true", help="also write each class's probability (.npz)")
    _add_size_options(parser)
    parser.add_argument(
        "--uncertain",
        type=int,
        metavar="N",
        help="list and draw the N images worth labelling next, and write --format of these alone; without an image the "
        "unlabelled list of --config is looked through",
    )
    parser.add_argument(
        "--rank-by", choices=SCORES, help="with --uncertain: mean entropy (default), or disagreement of the two heads"
    )
    parser.add_argument("inputs", nargs="*", metavar="IMAGE_OR_FOLDER", help="images, folders of images, or key=value")
    args = parser.parse_intermixed_args(argv)
    args.inputs, args.overrides = cli.split_overrides(args.inputs)
    written = args.format or ("" if args.uncertain is not None else "png")
    args.formats = tuple(dict.fromkeys(filter(None, written.split(","))))
    return args


def _add_size_options(parser: argparse.ArgumentParser) -> None:
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
        help="images that the network sees larger than this, in megapixels (at the largest of evaluation.scales), go "
        "through the sliding window of evaluation.crop_size (%(default)s)",
    )


def check_options(args: argparse.Namespace) -> None:
    """Raises ConfigError for sizes that no image can have, unknown formats, or where no image is named."""
    if args.long_side is not None and args.long_side < 1:
        raise ConfigError(f"--long-side: expected at least 1 px, got {args.long_side}")
    if not 0 <= args.whole_up_to < math.inf:
        raise ConfigError(f"--whole-up-to: expected a number of megapixels, 0 or more, got {args.whole_up_to}")
    for name in args.formats:
        if name not in FORMATS:
            raise ConfigError(f"--format: no such format {name!r}{did_you_mean(name, FORMATS)}")
    if args.uncertain is not None and args.uncertain < 1:
        raise ConfigError(f"--uncertain: expected at least 1 image, got {args.uncertain}")
    if args.rank_by and args.uncertain is None:
        raise ConfigError("--rank-by: belongs to --uncertain N, which is not there")
    if args.inputs or (args.uncertain is not None and args.config):
        return
    if args.uncertain is not None:
        raise ConfigError("--uncertain: name images or a folder, or the --config whose unlabelled list is meant")
    only = f", only overrides ({', '.join(args.overrides)})" if args.overrides else ""
    raise ConfigError(f"no image or folder named{only}")


def items_of(args: argparse.Namespace, trained: TrainedNetwork) -> Sequence[Item]:
    """The images that are named, else those of the configuration's unlabelled list.

    Raises:
        ConfigError, DataError: see ``find_items`` and ``read_split``.
    """
    config, spec = trained.config, trained.spec
    if not args.inputs:
        unlabeled = read_split(config, spec).unlabeled
        return ListedItems(open_part(config, spec, unlabeled, "train", with_mask=False))
    masks = MaskFiles(spec, roots_of(config).train)
    return find_items(args.inputs, args.out, masks, lambda note: print(f"note: {note}"))


@dataclass
class ImageReader:
    """Reads images, under a progress bar; those that cannot be read are named, and counted in ``failed``."""

    max_pixels: int = MAX_PIXELS
    failed: list[Path] = field(default_factory=list)

    def __call__(self, items: Sequence[Item], title: str) -> Iterator[tuple[Item, np.ndarray]]:
        """(item, uint8 H x W x 3 RGB, upright) of each image that can be read."""
        for item, image in over_files(self.read, items, 1, title):
            if isinstance(image, DataError):
                self.failed.append(item.path)
                tqdm.write(f"left out: {image}", file=sys.stderr)
            else:
                yield item, image

    def read(self, item: Item) -> np.ndarray:
        """A single one. Raises: DataError."""
        return read_image(item.path, upright=True, max_pixels=self.max_pixels)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    args = parse(argv)
    check_options(args)
    trained = named_network(args)
    if args.rank_by == "disagreement" and trained.config.net.proto_head is None:
        raise ConfigError(
            "--rank-by disagreement: this network has no prototype head (net.proto_head is null, or it "
            "is of the supervised phase); --rank-by entropy"
        )
    items = items_of(args, trained)
    otherwise = ", or replace results of the same name with --overwrite"
    outputs = [Output("--out", args.out, is_folder=True, replace=args.overwrite, otherwise=otherwise)]
    check_outputs(outputs, inputs_of(args, trained.checkpoint))
    device = set_device(trained.config.device)
    predictor = build_predictor(trained, args)
    make_folders(outputs)
    print("\n".join([f"device: {device}", *trained.lines()]))
    readable, total = ImageReader(trained.config.dataset.max_pixels), len(items)
    if args.uncertain is not None:
        items = least_sure(items, readable, predictor, args, trained)
    if args.formats or args.probabilities:
        with ResultWriter(args.out, trained.spec, args.formats) as writer:
            for item, image in readable(items, "predict"):
                writer.write(item, image, *predictor(image, args.probabilities))
    what = f"looked through, {len(items)} listed in uncertain.csv" if args.uncertain is not None else "predicted"
    print(f"{total - len(readable.failed)} of {total} images {what}: {args.out}")
    if failed := readable.failed:
        print(f"{len(failed)} could not be read and were left out: {shortened(failed, 5)}", file=sys.stderr)
    return 1 if readable.failed else 0


def least_sure(
    items: Sequence[Item],
    readable: ImageReader,
    predictor: Predictor,
    args: argparse.Namespace,
    trained: TrainedNetwork,
) -> list[Item]:
    """--uncertain: the images that the network is least sure of, in order; they are listed and drawn.

    All images pass once for their scores; the chosen ones once more for their pictures.
    """
    spec = trained.spec
    if trained.config.net.proto_head is not None:
        predictor = replace(predictor, network=BothHeads(predictor.network))
    scored = (
        Ranked(item, image_scores(predictor.strips(image), spec.num_classes))
        for item, image in readable(items, "look through")
    )
    ranking = most_uncertain(scored, args.uncertain, args.rank_by or "entropy")
    writer = RankingWriter(args.out, spec)
    writer.table(ranking)
    for rank, (item, _) in enumerate(ranking, 1):
        image = readable.read(item)
        writer.picture(rank, item, image, predictor.strips(image))
    print("\n".join(ranking_lines(ranking)))
    return [item for item, _ in ranking]


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
