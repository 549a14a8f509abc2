"""Small pieces of HTML. What comes from outside (names, values, paths) is escaped here, and only here."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from semiseg.common.errors import ConfigError

_GENERATOR = '<meta name="generator" content="SemiSeg">'


def check_out(out: Path, kind: str) -> None:
    """Raises ConfigError unless ``out`` is free or an earlier page of ours; ``kind``: what such a page is called."""
    if out.is_dir():
        raise ConfigError(f"{out}: is a folder; --out expects the name of a file")
    if out.exists() and _GENERATOR not in out.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise ConfigError(f"{out}: is there already and no {kind} of ours; name another file with --out")


def document(title: str, body: Iterable[str]) -> str:
    """A whole page that needs nothing else: no script, no font, no address."""
    style = files("semiseg.reporting").joinpath("page.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{_GENERATOR}\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def section(anchor: str, title: str, parts: Sequence[str]) -> list[str]:
    """A heading with an anchor and what is below it; nothing at all where nothing is."""
    parts = [part for part in parts if part]
    return [f'<h2 id="{anchor}">{escape(title)}</h2>', *parts] if parts else []


def heading(text: str, level: int = 3) -> str:
    """A heading: 1 of the page, 3 inside a section."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, quiet: bool = False) -> str:
    """Text; quiet for remarks."""
    return f'<p class="quiet">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], keys: bool = False) -> str:
    """Rows below a head. Numbers are set to the right with two decimals, None is a dash; ``keys``: the first column
    holds names of configuration keys.
    """
    rows = [list(row) for row in rows]
    numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
    kinds = [' class="number"' if number else "" for number in numeric]
    lines = ["".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(head, kinds, strict=True))]
    for row in rows:
        cells = [f"<td{kind}>{escape(_text(value))}</td>" for value, kind in zip(row, kinds, strict=True)]
        if keys:
            cells[0] = f'<td class="key">{escape(_text(row[0]))}</td>'
        lines.append("".join(cells))
    kind = ' class="keys"' if keys else ""
    return f'<div class="scroll"><table{kind}>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def figure(caption: str, drawing: str, kind: str = "") -> str:
    """A drawing (SVG text) with a caption above it; nothing where there is no drawing."""
    return f'<figure class="{kind}"><figcaption>{escape(caption)}</figcaption>{drawing}</figure>' if drawing else ""


def grid(kind: str, parts: Sequence[str]) -> str:
    """Parts side by side where there is room: ``kind`` is charts (small) or pair (large)."""
    parts = [part for part in parts if part]
    return f'<div class="{kind}">' + "".join(parts) + "</div>" if parts else ""


def legend(entries: Iterable[tuple[str, str, float]]) -> str:
    """(CSS colour, name, opacity) as a line of coloured boxes."""
    items = (
        f'<li><span style="background:{color};opacity:{opacity}"></span>{escape(name)}</li>'
        for color, name, opacity in entries
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def details(summary: str, content: str) -> str:
    """Something to be opened."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>" if content else ""


def preformatted(text: str) -> str:
    """Text as it is."""
    return f"<pre>{escape(text)}</pre>"


def sample(caption: str, pictures: Iterable[tuple[str, str]]) -> str:
    """A row of large pictures, (what it shows, data URI), under one caption."""
    return _pictures("sample", caption, pictures)


def strip(caption: str, pictures: Iterable[tuple[str, str]]) -> str:
    """Many small pictures under one caption."""
    return _pictures("sample strip", caption, pictures)


def _pictures(kind: str, caption: str, pictures: Iterable[tuple[str, str]]) -> str:
    images = "".join(
        f'<span><img src="{escape(uri, True)}" alt="{escape(caption, True)}: {escape(what, True)}" loading="lazy">'
        f"<small>{escape(what)}</small></span>"
        for what, uri in pictures
    )
    return f'<figure class="{kind}"><figcaption>{escape(caption)}</figcaption><div>{images}</div></figure>'
