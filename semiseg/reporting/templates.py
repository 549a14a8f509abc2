"""From data to an HTML file that needs nothing else: jinja2 templates, the style sheet, plotly's script.

What comes from outside (names, values, paths) is escaped by the templates; the page itself forbids every request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from semiseg.common.files import open_file
from semiseg.common.outputs import Output, check_outputs
from semiseg.data.specs import DatasetSpec

_GENERATOR = '<meta name="generator" content="SemiSeg">'  # as page.html.j2 writes it
_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


@dataclass(frozen=True)
class Mark:
    """An entry of a legend: CSS colour, name, opacity."""

    color: str
    name: str
    opacity: float = 1.0


def class_marks(spec: DatasetSpec) -> list[Mark]:
    """The classes in the colours of their masks."""
    return [Mark(f"rgb{color}", name) for color, name in zip(spec.palette, spec.classes, strict=True)]


@dataclass(frozen=True)
class Table:
    """Cells as they are written. name: what a screen reader calls it; numeric: columns set to the right; keys: the
    first column holds configuration keys.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]
    name: str
    keys: bool = False


def table(head: Sequence[str], rows: Iterable[Sequence[object]], name: str, keys: bool = False) -> Table:
    """Rows below a head. Numbers are set to the right with two decimals, None is a dash."""
    rows = [list(row) for row in rows]
    numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
    return Table(head, [[_text(value) for value in row] for row in rows], numeric, name, keys)


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def render(template: str, with_charts: bool = True, **data: Any) -> str:
    """The page of a template of this folder; ``with_charts``: whether plotly's script goes into it (5 MB)."""
    parts = {"style": _resource("page.css"), "script": _resource("page.js"), "with_charts": with_charts}
    if with_charts:
        parts["plotly"] = Markup(get_plotlyjs())
    return _environment().get_template(template).render(**parts, **data)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("semiseg.reporting", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure_json"] = figure_json
    return environment


def _resource(name: str) -> Markup:
    return Markup(files("semiseg.reporting").joinpath(name).read_text(encoding="utf-8"))


def figure_json(figure: go.Figure) -> Markup:
    """A figure for a script element: no text in it can end the element."""
    return Markup(figure.to_json().translate(_IN_SCRIPT))


def check_out(out: Path, kind: str) -> None:
    """Raises ConfigError unless ``out`` can be written and is free or an earlier page of ours; ``kind``: what such a
    page is called.
    """
    check_outputs([Output("--out", out, replace=True, is_ours=_is_page, kind=kind)])


def _is_page(path: Path) -> bool:
    with open_file(path) as file:
        return _GENERATOR.encode() in file.read(2000)
