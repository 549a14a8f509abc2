"""Whether a tag may be released: python tools/check_release.py v0.1.0 [--notes FILE].

The version of the package and of CITATION.cff must be that of the tag; CHANGELOG.md must have a dated section of it.
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


def notes(changelog: str, version: str) -> str:
    """A version's section in a text of Keep a Changelog's form, without heading. UserError: not there, or empty."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    section = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        raise UserError(f"CHANGELOG.md: expected a section '## [{version}] - YEAR-MONTH-DAY' with what is new in it")
    return section[1].strip() + "\n"


def main(arguments: Sequence[str]) -> int:
    """Exit code 2 with one line that says what is missing."""
    parser = argparse.ArgumentParser(prog="check_release.py", description="Check that a tag may be released.")
    parser.add_argument("tag", help="v and the version: v0.1.0")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="write the version's section of CHANGELOG.md there")
    args = parser.parse_args(arguments)
    version = semiseg.__version__
    if args.tag != f"v{version}":
        raise UserError(f"{args.tag}: semiseg/__init__.py says {version}; tag that as v{version}, or change it there")
    if f"\nversion: {version}\n" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8"):
        raise UserError(f"CITATION.cff: expected the line 'version: {version}'")
    text = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if args.notes:
        replace_file(args.notes, text)
    print(f"{args.tag} may be released")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
