"""Write docs/configuration.md and experiments/schema.json from semiseg/config/keys.py:
python tools/config_reference.py [--check].
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed

from semiseg import cli
from semiseg.common.errors import UserError
from semiseg.common.files import replace_file
from semiseg.config.reference import json_schema, page

ROOT = Path(__file__).resolve().parents[1]
OUT = {ROOT / "docs" / "configuration.md": page, ROOT / "experiments" / "schema.json": json_schema}


def main(arguments: Sequence[str]) -> int:
    """Writes both files, or with --check says whether they are current."""
    parser = argparse.ArgumentParser(prog="config_reference.py", description="Write what the keys say of themselves.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 2 if a file is not current")
    args = parser.parse_args(arguments)
    for path, content in OUT.items():
        if not args.check:
            replace_file(path, content())
            print(path)
        elif not path.is_file() or path.read_text(encoding="utf-8") != content():
            raise UserError(f"{path}: is not current; python tools/config_reference.py writes it anew")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
