"""An experiment on images of your own, from two folders: python tools/new.py NAME --images DIR --masks DIR (--help)."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed
    from semiseg.cli import main

    sys.exit(main(["new", *sys.argv[1:]]))
