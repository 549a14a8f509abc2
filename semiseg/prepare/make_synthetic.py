"""The synthetic data set: ``semiseg make-synthetic [--out data/synthetic] [--seed 0] ...``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from semiseg import cli
from semiseg.common.checkout import home
from semiseg.prepare.synthetic import SyntheticOptions, generate


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    default = SyntheticOptions()
    parser = cli.parser("make-synthetic")
    parser.add_argument("--out", type=Path, help="folder of the set (data/synthetic, data/synthetic_longtail)")
    parser.add_argument("--long-tailed", action="store_true", help="rare and frequent classes; 300 validation images")
    parser.add_argument("--seed", type=int, default=default.seed, help="another seed, other images (%(default)s)")
    parser.add_argument("--size", type=int, default=default.size, help="image side in pixels (%(default)s)")
    parser.add_argument("--unlabeled", type=int, default=default.unlabeled, help="unlabelled images (%(default)s)")
    parser.add_argument("--val", type=int, help=f"validation images ({default.val})")
    counts = " ".join(map(str, default.labels))
    parser.add_argument(
        "--labels", type=int, nargs="+", default=default.labels, metavar="N", help=f"label counts ({counts})"
    )
    parser.add_argument("--draws", type=int, default=default.draws, help="label draws of each count (%(default)s)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier set, other files in the folder stay"
    )
    args = parser.parse_args(arguments)
    args.out = args.out or home() / "data" / ("synthetic_longtail" if args.long_tailed else "synthetic")
    # The rarest class is in few images: with 100 its score would be noise.
    args.val = args.val or (300 if args.long_tailed else default.val)
    return args


def main(arguments: Sequence[str]) -> int:
    """Makes the set unless it is there already."""
    args = parse(arguments)
    numbers = (args.seed, args.size, args.unlabeled, args.val, tuple(args.labels), args.draws)
    options = SyntheticOptions(*numbers, args.long_tailed)
    written = generate(args.out, options, overwrite=args.overwrite)
    counts = f"{options.pool} training and {options.val} validation images, labels {' '.join(map(str, options.labels))}"
    print(f"{args.out}: {counts}" if written else f"{args.out}: up to date")
    return 0
