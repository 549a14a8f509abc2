"""The demo's table, results.json and picture: what tools/demo.sh calls last (--help)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed

from semiseg import cli
from semiseg.reporting.demo import main

if __name__ == "__main__":
    sys.exit(cli.run(main))
