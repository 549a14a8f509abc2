"""Convert a checkpoint to the form of best.ckpt: python tools/convert_checkpoint.py IN OUT (--help)."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed
    from semiseg.cli import main

    sys.exit(main(["convert-checkpoint", *sys.argv[1:]]))
