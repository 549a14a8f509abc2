"""A page of documentation as GitHub reads it: headings and their anchors, links, code, tables."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from tiny import ROOT

_READER = MarkdownIt("commonmark").enable("table")


def tracked_pages() -> list[Path]:
    """Every page of the repository: texts at the top and beside data, docs/ with all languages, what GitHub shows."""
    patterns = ("*.md", "docs/**/*.md", "data/README.md", "ckpt/README.md", ".github/**/*.md")
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


@dataclass(frozen=True)
class Heading:
    """level: 1 to 6; text: as shown; anchor: what follows # in a link."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True)
class Code:
    """A block of code; language: "" where none is named, or where it is indented."""

    language: str
    text: str


@dataclass(frozen=True)
class Markdown:
    """links: targets of links and images, in order; spans: code within lines; texts: what stands outside of code;
    tables: rows of cells, each as it is written.
    """

    headings: tuple[Heading, ...]
    links: tuple[str, ...]
    code: tuple[Code, ...]
    spans: tuple[str, ...]
    texts: tuple[str, ...]
    tables: tuple[tuple[tuple[str, ...], ...], ...]


@cache
def read(path: Path) -> Markdown:
    """The page of a file."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> Markdown:
    """The page of a text."""
    tokens = _READER.parse(text)
    leaves = [leaf for token in tokens for leaf in token.children or []]
    links = [leaf.attrs.get("href") or leaf.attrs.get("src") for leaf in leaves if leaf.type in ("link_open", "image")]
    return Markdown(
        headings=_headings(tokens),
        links=tuple(map(str, links)),
        code=tuple(Code(token.info, token.content) for token in tokens if token.type in ("fence", "code_block")),
        spans=tuple(leaf.content for leaf in leaves if leaf.type == "code_inline"),
        texts=tuple(leaf.content for leaf in leaves if leaf.type == "text"),
        tables=_tables(tokens),
    )


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading as shown: small letters, digits and letters of any script, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _headings(tokens) -> tuple[Heading, ...]:
    headings, seen = [], {}
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            text = "".join(leaf.content for leaf in tokens[i + 1].children if leaf.type in ("text", "code_inline"))
            base = anchor(text)
            count = seen[base] = seen.get(base, -1) + 1
            headings.append(Heading(int(token.tag[1]), text, f"{base}-{count}" if count else base))
    return tuple(headings)


def _tables(tokens) -> tuple[tuple[tuple[str, ...], ...], ...]:
    tables = []
    for i, token in enumerate(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1].append(tokens[i + 1].content)
    return tuple(tuple(map(tuple, table)) for table in tables)
