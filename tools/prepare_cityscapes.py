"""Make Cityscapes' labelTrainIds: python tools/prepare_cityscapes.py --root DIR (--help)."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed
    from semiseg.cli import main

    sys.exit(main(["prepare-cityscapes", *sys.argv[1:]]))
