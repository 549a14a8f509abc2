"""Make the synthetic data set: python tools/make_synthetic.py [--out data/synthetic] [--seed 0] ... (see --help)."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed
    from semiseg.cli import main

    sys.exit(main(["make-synthetic", *sys.argv[1:]]))
