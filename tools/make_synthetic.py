"""Make the synthetic data set: python tools/make_synthetic.py [--out data/synthetic] [--seed 0] ... (see --help)."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works in a clone that was never installed

from semiseg.common.errors import UserError  # noqa: E402
from semiseg.prepare.synthetic import SyntheticOptions, generate  # noqa: E402


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; argparse itself ends the process with exit code 2 on unknown or mistyped options."""
    default = SyntheticOptions()
    parser = argparse.ArgumentParser(description="Write a synthetic segmentation data set in VOC layout.")
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
    args.out = args.out or ROOT / "data" / ("synthetic_longtail" if args.long_tailed else "synthetic")
    # The rarest class is in few images: with 100 its score would be noise.
    args.val = args.val or (300 if args.long_tailed else default.val)
    return args


def main(arguments: list[str] | None = None) -> int:
    """Make the set; returns the exit code."""
    args = parse(arguments)
    try:
        numbers = (args.seed, args.size, args.unlabeled, args.val, tuple(args.labels), args.draws)
        options = SyntheticOptions(*numbers, args.long_tailed)
        written = generate(args.out, options, overwrite=args.overwrite)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = f"{options.pool} training and {options.val} validation images, labels {' '.join(map(str, options.labels))}"
    print(f"{args.out}: {counts}" if written else f"{args.out}: up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
