"""Charts as plotly figures: what is drawn, where and with which words. Pure functions of plain numbers.

Colours of text, grid and paper are the page's own (page.js), so that light and dark both work. Names come from outside,
and plotly reads a part of HTML in them: they are escaped here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from semiseg.reporting.series import Drawn, Series, on_common_steps

# Okabe and Ito's colours, which stay apart for every kind of colour vision; series beyond them are dashed.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_EDGE = {"color": "#7f8790", "width": 2}  # a gray that shows on light and dark
_CLEAR = "rgba(0,0,0,0)"
_FEW_POINTS = 12  # so few are marked one by one
_MARK = 5  # size of a marker in pixels


@dataclass(frozen=True)
class Chart:
    """A figure with a caption above it. ``kind``: its class in the style sheet; ``words``: what it shows, for those who
    do not see it.
    """

    caption: str
    figure: go.Figure
    kind: str = ""
    words: str = ""

    @property
    def height(self) -> int:
        """Pixels."""
        return self.figure.layout.height


@dataclass(frozen=True)
class Bars:
    """A value for each name; ``faint`` tells a second kind of the same colour."""

    name: str
    values: Sequence[float]
    color: int = 0
    faint: bool = False

    @property
    def opacity(self) -> float:
        """Of the bars and their mark in a legend."""
        return 0.45 if self.faint else 1.0


@dataclass(frozen=True)
class Dots:
    """Points (N x 2) of a named group in its own colour (RGB), and its centres (M x 2), drawn as squares."""

    name: str
    points: np.ndarray
    color: tuple[int, int, int]
    centres: np.ndarray


def stroke(series: int) -> str:
    """The colour of the series with that number."""
    return COLORS[series % len(COLORS)]


def line_chart(series: Sequence[Series], x_high: float, height: int = 230) -> go.Figure | None:
    """Lines over steps from 0 to ``x_high``, thinned where they are long.

    Values that are not finite leave a gap. Without any finite value there is no chart.
    """
    if not any(math.isfinite(y) for line in series for y in line.y):
        return None
    figure = _figure(height, {"l": 48, "r": 12, "t": 8, "b": 38}, hovermode="x unified")
    figure.add_traces([_line(*both) for both in zip(series, on_common_steps(series), strict=True)])
    figure.update_xaxes(range=[0, 1.02 * x_high], title={"text": "step", "standoff": 4}, nticks=6, hoverformat="d")
    figure.update_yaxes(nticks=6, automargin=True)
    return figure


def _line(line: Series, drawn: Drawn) -> go.Scatter:
    there = [False, *(value is not None for value in drawn.y), False]
    alone = any(
        here and not (before or after) for before, here, after in zip(there, there[1:], there[2:], strict=False)
    )
    dash = "dash" if line.dashed or line.color >= len(COLORS) else "solid"
    return go.Scatter(
        x=drawn.x,
        y=drawn.y,
        name=escape(abridge(line.name)),
        mode="lines+markers" if alone or sum(drawn.logged) <= _FEW_POINTS else "lines",
        line={"color": stroke(line.color), "width": 1.8, "dash": dash},
        marker={"size": _sizes(drawn.logged), "symbol": "circle-open" if line.dashed else "circle"},
        text=drawn.notes if any(drawn.notes) else None,
        hovertemplate="%{y:.4~g}%{text}" if any(drawn.notes) else "%{y:.4~g}",
    )


def _sizes(logged: Sequence[bool]) -> int | list[int]:
    """Of markers, in pixels: what was not logged has none."""
    return _MARK if all(logged) else [_MARK if known else 0 for known in logged]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def bars(names: Sequence[str], groups: Sequence[Bars], top: float = 100) -> go.Figure:
    """Horizontal bars from 0 to ``top``: for every name one bar a group, its value beside it. NaN draws no bar."""
    figure = _figure(44 + len(names) * (10 + 14 * len(groups)), {"l": 8, "r": 34, "t": 4, "b": 28}, bargap=0.22)
    for group in groups:
        values = [_finite(value) for value in group.values]
        figure.add_bar(
            x=values,
            y=list(range(len(names))),
            orientation="h",
            name=escape(abridge(group.name)),
            marker={"color": stroke(group.color), "opacity": group.opacity},
            text=["" if value is None else f"{value:.1f}" for value in values],
            textposition="outside",
            textangle=0,
            cliponaxis=False,
            customdata=_escaped([abridge(name) for name in names]),
            hovertemplate="%{customdata}<br>%{fullData.name}: %{x:.2f}<extra></extra>",
        )
    figure.update_xaxes(range=[0, top], fixedrange=True, nticks=6)
    _name_rows(figure, names)
    return figure


def heat_map(names: Sequence[str], shares: np.ndarray) -> go.Figure:
    """A square of percentages: ``shares`` (C x C, rows sum to 1 or 0), row = truth, column = prediction."""
    cell = 48 if len(names) <= 8 else 36 if len(names) <= 12 else 24
    figure = _figure(96 + len(names) * cell, {"l": 8, "r": 56, "t": 8, "b": 8})  # the last name leans to the right
    places, labels = list(range(len(names))), _escaped([abridge(name) for name in names])
    figure.add_heatmap(
        x=places,
        y=places,
        z=[[round(100 * float(share), 2) for share in line] for line in shares],
        zmin=0,
        zmax=100,
        xgap=1,
        ygap=1,
        showscale=False,
        text=[[f"{100 * share:.0f}" if share >= 0.01 else "" for share in line] for line in shares],
        texttemplate="%{text}",
        textfont={"size": 11 if len(names) <= 12 else 9},
        hovertext=[[f"{labels[i]} taken for {labels[j]}: {shares[i, j]:.2%}" for j in places] for i in places],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_xaxes(side="top", tickangle=-45, tickvals=places, ticktext=_labels(names), showgrid=False, ticks="")
    figure.update_xaxes(automargin=True, constrain="domain", constraintoward="left", zeroline=False)
    _name_rows(figure, names)
    figure.update_yaxes(scaleanchor="x", constrain="domain", constraintoward="top", fixedrange=False)
    return figure


def stacked_bars(names: Sequence[str], counts: np.ndarray) -> go.Figure:
    """For every name one bar of full length, divided in the proportions of its row of ``counts`` (names x parts)."""
    totals, parts = counts.sum(1), counts.shape[1]
    shares = 100 * counts / np.maximum(totals, 1)[:, None]
    figure = _figure(16 + 26 * len(names), {"l": 8, "r": 62, "t": 4, "b": 8}, barmode="stack", bargap=0.25)
    rows = list(range(len(names)))
    for part in range(parts):
        figure.add_bar(
            x=shares[:, part].tolist(),
            y=rows,
            orientation="h",
            name=f"prototype {part + 1}",
            marker={"color": COLORS[0], "opacity": 1 - 0.7 * part / max(1, parts - 1)},
            customdata=[[escape(abridge(name)), int(total)] for name, total in zip(names, totals, strict=True)],
            hovertemplate="%{customdata[0]}<br>%{fullData.name}: %{x:.1f} % of %{customdata[1]} pixels<extra></extra>",
        )
    for row, of_name in enumerate(counts):
        figure.add_annotation(
            x=1, xref="paper", xanchor="left", y=row, text=in_use(of_name), showarrow=False, font={"size": 11}
        )
    figure.update_xaxes(range=[0, 100], visible=False, fixedrange=True)
    _name_rows(figure, names)
    return figure


def scatter(groups: Sequence[Dots], height: int = 560) -> go.Figure:
    """All groups in one plane, at one scale in both directions, centres above the points."""
    figure = _figure(height, {"l": 8, "r": 8, "t": 8, "b": 8})
    every = np.concatenate([np.reshape(part, (-1, 2)) for group in groups for part in (group.points, group.centres)])
    middle = (every[:, 0].min() + every[:, 0].max()) / 2 if len(every) else 0
    for group in groups:
        color, name = f"rgb{group.color}", escape(group.name)
        x, y = np.asarray(group.points, float).round(4).reshape(-1, 2).T.tolist()
        figure.add_scatter(x=x, y=y, name=name, mode="markers", marker={"color": color, "size": 5, "opacity": 0.6})
    for group in groups:
        x, y = np.asarray(group.centres, float).round(4).reshape(-1, 2).T.tolist()
        numbers = range(1, 1 + len(x))
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers+text",
            marker={
                "color": f"rgb{group.color}",
                "size": 13,
                "symbol": "square",
                "line": _EDGE,
            },
            text=[escape(f"{shorten(group.name)} {number}") for number in numbers],
            textposition=["middle left" if value > middle else "middle right" for value in x],  # inside the chart
            hovertext=[escape(f"{group.name}, prototype {number}") for number in numbers],
        )
    figure.update_traces(hovertemplate="%{hovertext}<extra></extra>", selector={"mode": "markers+text"})
    figure.update_traces(hovertemplate="%{fullData.name}<extra></extra>", selector={"mode": "markers"})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def in_use(counts: np.ndarray) -> str:
    """How many parts are in use, in words."""
    return f"{effective(counts):.1f} of {len(counts)}" if counts.sum() else "no pixel"


def effective(counts: np.ndarray) -> float:
    """How many parts are in use: exp of the entropy of their shares, from 1 (one does everything) to all alike."""
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def shorten(name: str, most: int = 18) -> str:
    """The name, or its beginning and an ellipsis."""
    return name if len(name) <= most else name[: most - 1] + "…"


def abridge(name: str, most: int = 32) -> str:
    """The name, or its beginning and its end: what tells paths apart stands at either."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _figure(height: int, margin: dict[str, int], **layout: Any) -> go.Figure:
    return go.Figure(layout={"template": "none", "height": height, "margin": margin, "showlegend": False, **layout})


def _name_rows(figure: go.Figure, names: Sequence[str]) -> None:
    """Names beside the rows 0, 1, ... from top to bottom. The rows are numbers: shortened names may be equal."""
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=_labels(names),
        range=[len(names) - 0.5, -0.5],
        automargin=True,
        fixedrange=True,
        showgrid=False,
        zeroline=False,
        ticks="outside",
        ticklen=6,
        tickcolor=_CLEAR,  # room between names and bars
    )


def _labels(names: Sequence[str]) -> list[str]:
    return _escaped([shorten(name) for name in names])


def _escaped(texts: Sequence[str]) -> list[str]:
    return [escape(text) for text in texts]
