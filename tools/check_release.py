"""Whether a tag may be released: python tools/check_release.py v0.1.0 [--notes FILE].

The version of the package and of CITATION.cff must be that of the tag; CHANGELOG.md must have a section of it, with
the date that CITATION.cff has.
Needs nothing but Python.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed

import semiseg
from semiseg import cli
from semiseg.common.errors import UserError
from semiseg.common.files import replace_file

ROOT = Path(__file__).resolve().parents[1]


def section(changelog: str, version: str) -> tuple[str, str]:
    """(date, text) of a version's section in a text of Keep a Changelog's form. UserError: not there, or empty."""
    heading = rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[2].strip():
        raise UserError(f"CHANGELOG.md: expected a section '## [{version}] - YEAR-MONTH-DAY' with what is new in it")
    return found[1], found[2].strip() + "\n"


def main(arguments: Sequence[str]) -> int:
    """Exit code 2 with one line that says what is missing."""
    parser = argparse.ArgumentParser(prog="check_release.py", description="Check that a tag may be released.")
    parser.add_argument("tag", help="v and the version: v0.1.0")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="write the version's section of CHANGELOG.md there")
    args = parser.parse_args(arguments)
    version = semiseg.__version__
    if args.tag != f"v{version}":
        raise UserError(f"{args.tag}: semiseg/__init__.py says {version}; tag that as v{version}, or change it there")
    date, text = section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for line in (f"version: {version}", f"date-released: {date}"):
        if line not in citation.splitlines():
            raise UserError(f"CITATION.cff: expected the line '{line}'")
    if args.notes:
        replace_file(args.notes, text)
    print(f"{args.tag} may be released")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
