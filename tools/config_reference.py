"""Write docs/configuration.md from semiseg/config_keys.py: python tools/config_reference.py [--check].

The comment behind a field is its description, the docstring of a class that of its section, and the ranges are those
that loading checks: nothing is written twice.
"""

import argparse
import ast
import dataclasses
import inspect
import io
import sys
import tokenize
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works in a clone that was never installed

from semiseg import cli  # noqa: E402
from semiseg.common.errors import UserError  # noqa: E402
from semiseg.common.files import replace_file  # noqa: E402
from semiseg.config import keys as config_keys  # noqa: E402
from semiseg.config import loading as config  # noqa: E402
from semiseg.config import rules as config_rules  # noqa: E402
from semiseg.config import schema  # noqa: E402

OUT = ROOT / "docs" / "configuration.md"
INTRO = """# Every key

Made by `python tools/config_reference.py` from [semiseg/config_keys.py](../semiseg/config_keys.py); change the text
there.

A configuration is a YAML file with these sections. `base:` names one file or a list of files that it starts from;
mappings merge, everything else replaces. Keys on the command line (`trainer.epochs=40`) win over files. Relative paths
start at the file that holds them, on the command line at the working directory. Unknown keys and impossible values are
errors. `python -m semiseg.config show FOLDER` prints what a run would use and which file said so.

`null` as a default means "not set". Ranges are those at the defaults of the other keys.
"""


def comments_of(source: str) -> dict[int, str]:
    """Line number -> text of the comment that ends the line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def descriptions() -> dict[tuple[str, str], str]:
    """(class, field) -> the comment behind the field."""
    source = inspect.getsource(config_keys)
    comments, found = comments_of(source), {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and item.end_lineno in comments:
                    found[node.name, item.target.id] = comments[item.end_lineno]
    return found


def section_type(hint: object) -> type | None:
    """The dataclass that an annotation holds, alone or beside None."""
    return next((kind for kind in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(kind)), None)


def filled(value: object) -> object:
    """The defaults with every section there that may be null."""
    hints, there = typing.get_type_hints(type(value)), {}
    for item in dataclasses.fields(value):
        kind = section_type(hints[item.name])
        if kind:
            there[item.name] = filled(getattr(value, item.name) or kind())
    return dataclasses.replace(value, **there)


def ranges() -> dict[str, str]:
    """Dotted key -> the first thing that loading expects of its value; not what it expects of keys beside it."""
    found: dict[str, str] = {}
    for key, _, expected in config_rules._rules(filled(config_keys.Config())):
        if not expected.startswith("no "):
            found.setdefault(key, expected)
    return found


def sections(value: object, prefix: str = "") -> Iterator[tuple[str, object, bool]]:
    """(dotted name, section with its defaults, whether it may be null), outer ones first."""
    hints = typing.get_type_hints(type(value))
    for item in dataclasses.fields(value):
        if section_type(hints[item.name]):
            section = getattr(value, item.name)
            yield prefix + item.name, section, item.default is None
            yield from sections(section, f"{prefix}{item.name}.")


def table(section: object, prefix: str, texts: dict, limits: dict[str, str]) -> list[str]:
    """The keys of one section, as rows of Markdown."""
    hints = typing.get_type_hints(type(section))
    lines = ["| key | default | expected | |", "|---|---|---|---|"]
    for item in dataclasses.fields(section):
        if item.name in config_keys.ABOUT:
            continue
        key, hint = prefix + item.name, hints[item.name]
        optional = type(None) in typing.get_args(hint)
        if section_type(hint):
            default, expected = "`null`" if item.default is None else "", "keys, see below"
        else:
            default, expected = f"`{config.one_line(getattr(section, item.name))}`", schema.expected_text(hint)
            if key in limits:
                expected = limits[key] + (" or null" if optional else "")
        cells = (f"`{key}`", default, expected, texts.get((type(section).__name__, item.name), ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |")
    return lines


def reference() -> str:
    """The whole page."""
    texts, limits, defaults = descriptions(), ranges(), filled(config_keys.Config())
    lines = [INTRO, *table(defaults, "", texts, limits)]
    for name, section, optional in sections(defaults):
        note = " It is `null`, switched off, unless it is written." if optional else ""
        about = " ".join(inspect.getdoc(section).split()).replace("``", "`").replace("<", "&lt;")
        lines += ["", f"## {name}", "", about + note, "", *table(section, f"{name}.", texts, limits)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Writes the page, or with --check says whether it is current."""
    parser = argparse.ArgumentParser(prog="config_reference.py", description="Write docs/configuration.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 2 if the page is not current")
    args = parser.parse_args(arguments)
    if not args.check:
        replace_file(OUT, reference())
        print(OUT)
    elif not OUT.is_file() or OUT.read_text(encoding="utf-8") != reference():
        raise UserError(f"{OUT}: is not current; python tools/config_reference.py writes it anew")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
