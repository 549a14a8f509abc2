"""Look at all data of a configuration before training: python tools/check_data.py --config F [key=value ...]."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed
    from semiseg.cli import main

    sys.exit(main(["check-data", *sys.argv[1:]]))
