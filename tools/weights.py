"""List ImageNet weights of encoders, and fetch them: python tools/weights.py (--help)."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed
    from semiseg.cli import main

    sys.exit(main(["weights", *sys.argv[1:]]))
