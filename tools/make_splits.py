"""Draw labelled and unlabelled parts of any data set: python tools/make_splits.py --config F --ratio 0.125 (--help)."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed
    from semiseg.cli import main

    sys.exit(main(["make-splits", *sys.argv[1:]]))
