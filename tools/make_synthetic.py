"""Make the synthetic data set: python tools/make_synthetic.py [--out data/synthetic] [--seed 0] ... (see --help)."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works in a clone that was never installed

from semiseg.data.synthetic import SyntheticOptions, generate  # noqa: E402
from semiseg.errors import UserError  # noqa: E402


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; argparse itself ends the process with exit code 2 on unknown or mistyped options."""
    default = SyntheticOptions()
    parser = argparse.ArgumentParser(description="Write a synthetic segmentation data set in VOC layout.")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "data" / "synthetic", help="folder of the set (data/synthetic)"
    )
    parser.add_argument("--seed", type=int, default=default.seed, help="another seed, other images (%(default)s)")
    parser.add_argument("--size", type=int, default=default.size, help="image side in pixels (%(default)s)")
    parser.add_argument("--unlabeled", type=int, default=default.unlabeled, help="unlabelled images (%(default)s)")
    parser.add_argument("--val", type=int, default=default.val, help="validation images (%(default)s)")
    counts = " ".join(map(str, default.labels))
    parser.add_argument(
        "--labels", type=int, nargs="+", default=default.labels, metavar="N", help=f"label counts ({counts})"
    )
    parser.add_argument("--draws", type=int, default=default.draws, help="label draws of each count (%(default)s)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier set, other files in the folder stay"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Make the set; returns the exit code."""
    args = parse(arguments)
    try:
        options = SyntheticOptions(args.seed, args.size, args.unlabeled, args.val, tuple(args.labels), args.draws)
        written = generate(args.out, options, overwrite=args.overwrite)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = f"{options.pool} training and {options.val} validation images, labels {' '.join(map(str, options.labels))}"
    print(f"{args.out}: {counts}" if written else f"{args.out}: up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
