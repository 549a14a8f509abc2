"""Charts as inline SVG, written by hand: a few kilobytes each, sharp at any size, coloured by the page's style sheet.

Every function returns one ``<svg>`` element. Numbers behind a mark are in its ``<title>``, which browsers show as a
tooltip. Lengths are in CSS pixels of the drawing; the page scales it to the space there is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

# Okabe and Ito's colours, which stay apart for every kind of colour vision; series beyond them are dashed.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MOST_POINTS = 300


@dataclass(frozen=True)
class Series:
    """A named line. ``color`` counts through COLORS; ``dashed`` tells a second kind of the same series."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: int = 0
    dashed: bool = False


def stroke(series: int) -> str:
    """The colour of the series with that number."""
    return COLORS[series % len(COLORS)]


def line_chart(series: Sequence[Series], x_high: float, width: int = 420, height: int = 220) -> str:
    """Lines over steps from 0 to ``x_high``. Long series are thinned to means of equal parts; one point is drawn as a
    dot, hollow where the line would be dashed.

    Values that are not finite leave a gap. Without any finite value the result is empty.
    """
    left, right, top, bottom = 52, 12, 8, 26
    ys = [y for line in series for y in line.y if math.isfinite(y)]
    if not ys:
        return ""
    x_ticks, y_ticks = ticks(0, x_high, 5), ticks(min(ys), max(ys), 5)
    y_low, y_span = y_ticks[0], y_ticks[-1] - y_ticks[0]

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = x / x_high, (y - y_low) / y_span
        return left + across * (width - left - right), height - bottom - up * (height - top - bottom)

    parts = []
    for tick in y_ticks:
        y = place(0, tick)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(left - 6, y + 4, f"{tick:.6g}", "axis", "end"))
    for tick in x_ticks:
        if tick <= x_high:
            x = place(tick, y_low)[0]
            parts.append(_text(x, height - 8, f"{tick:g}", "axis", "end" if x > width - 30 else "middle"))
    parts += [_line(line, place) for line in series]
    return _svg(width, height, parts, ", ".join(line.name for line in series))


def _line(line: Series, place: Callable[[float, float], tuple[float, float]]) -> str:
    points = thinned(line.x, line.y)
    runs: list[list[str]] = [[]]  # a gap ends one and begins the next
    for x, y in points:
        if math.isfinite(y):
            runs[-1].append("{:.1f},{:.1f}".format(*place(x, y)))
        elif runs[-1]:
            runs.append([])
    dash = ' stroke-dasharray="5 4"' if line.dashed or line.color >= len(COLORS) else ""
    last = next((y for _, y in reversed(points) if math.isfinite(y)), math.nan)
    color, title = stroke(line.color), _title(f"{line.name}: {last:.4g} at the end")
    parts = []
    for run in runs:
        if len(run) == 1:
            x, y = run[0].split(",")
            fill = "none" if line.dashed else color
            look = f'fill="{fill}" stroke="{color}" stroke-width="1.8"'
            parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" {look}>{title}</circle>')
        elif run:
            parts.append(f'<polyline class="line" stroke="{color}"{dash} points="{" ".join(run)}">{title}</polyline>')
    return "".join(parts)


def thinned(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """At most about 300 points: means of parts of equal length, the last one of a part as its place."""
    size = -(-len(x) // _MOST_POINTS) if x else 1
    if size == 1:
        return list(zip(x, y, strict=True))
    return [(x[min(i + size, len(x)) - 1], float(np.mean(y[i : i + size]))) for i in range(0, len(x), size)]


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers that span [low, high], both ends included."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 2.5, 5) if m * power >= rough), 10 * power)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


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


def bars(names: Sequence[str], groups: Sequence[Bars], top: float = 100) -> str:
    """Horizontal bars from 0 to ``top``: for every name one bar a group, its value beside it. NaN draws no bar."""
    row, gap, width, left, right = 14, 8, 460, label_width(names), 44
    parts = []
    for index, name in enumerate(names):
        start = index * (row * len(groups) + gap) + 4
        parts.append(_label(left, start + row * len(groups) / 2 + 4, name))
        for number, group in enumerate(groups):
            value = group.values[index]
            if not math.isfinite(value):
                continue
            y, length = start + number * row, max(0.0, min(1.0, value / top)) * (width - left - right)
            title = _title(f"{name}, {group.name}: {value:.2f}")
            look = f'rx="2" fill="{stroke(group.color)}" fill-opacity="{group.opacity}"'
            parts.append(_box(left, y, (length, row - 3), look, title))
            parts.append(_text(left + length + 5, y + 10, f"{value:.1f}", "value"))
    height = len(names) * (row * len(groups) + gap) + 4
    return _svg(width, height, parts, "bars of " + ", ".join(group.name for group in groups))


def heat_map(names: Sequence[str], shares: np.ndarray) -> str:
    """A square matrix of shares from 0 to 1, rows and columns labelled: the share is the depth of the colour, and in
    percent in the cell where it is 1 % or more.
    """
    count, left = len(names), label_width(names)
    head, cell = round(left * 0.75), max(22, min(42, 420 // count))
    side = (cell - 1, cell - 1)
    parts = []
    for index, name in enumerate(names):
        parts.append(_label(left, head + index * cell + cell / 2 + 4, name))
        x = left + index * cell + cell / 2 + 3
        turned = f'transform="translate({x:.1f} {head - 6}) rotate(-45)"'
        parts.append(f'<text class="label" {turned}>{escape(shorten(name))}</text>')
        for column in range(count):
            share = float(shares[index, column])
            x, y = left + column * cell, head + index * cell
            title = _title(f"{name} taken for {names[column]}: {share:.2%}")
            parts.append(_box(x, y, side, 'class="cell"'))
            parts.append(_box(x, y, side, f'class="heat" fill-opacity="{round(share, 3):g}"', title))
            if share >= 0.01:
                strong = " strong" if share > 0.55 else ""
                parts.append(_text(x + cell / 2 - 0.5, y + cell / 2 + 3.5, f"{100 * share:.0f}", f"number{strong}"))
    return _svg(left + count * cell + round(head * 0.6), head + count * cell + 4, parts, "confusion matrix")


def stacked_bars(names: Sequence[str], counts: np.ndarray) -> str:
    """For every name one bar of full length, divided in the proportions of its row of ``counts`` (names x parts)."""
    row, width, left, right = 20, 460, label_width(names), 60
    parts = []
    for index, name in enumerate(names):
        y, total, x = index * (row + 6) + 4, counts[index].sum(), float(left)
        parts.append(_label(left, y + 14, name))
        if total == 0:
            parts.append(_text(left, y + 14, "no pixel", "axis"))
            continue
        for part, count in enumerate(counts[index]):
            length = count / total * (width - left - right)
            title = _title(f"{name}, prototype {part + 1}: {count / total:.1%} of {total:.0f} pixels")
            opacity = 1 - 0.7 * part / max(1, len(counts[index]) - 1)
            parts.append(_box(x, y, (length, row), f'class="part" fill-opacity="{opacity:.2f}"', title))
            x += length
        parts.append(_text(x + 6, y + 14, f"{effective(counts[index]):.1f} of {len(counts[index])}", "value"))
    return _svg(width, len(names) * (row + 6) + 6, parts, "use of prototypes")


@dataclass(frozen=True)
class Dots:
    """Points (N x 2) of a named group in its own colour (RGB), and its centres (M x 2), drawn as squares."""

    name: str
    points: np.ndarray
    color: tuple[int, int, int]
    centres: np.ndarray


def scatter(groups: Sequence[Dots], width: int = 640, height: int = 480) -> str:
    """All groups in one plane, at one scale in both directions, centres above the points."""
    every = np.concatenate([array for group in groups for array in (group.points, group.centres)])
    low, high = every.min(0), every.max(0)
    scale = min((side - 32) / max(span, 1e-12) for side, span in zip((width, height), high - low, strict=True))
    shift = np.array([width, height]) / 2 - scale * (low + high) / 2
    dots, squares = [], []
    for group in groups:
        fill, title = f'fill="rgb{group.color}"', _title(group.name)
        for x, y in group.points * scale + shift:
            dots.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.6" {fill}>{title}</circle>')
        for number, (x, y) in enumerate(group.centres * scale + shift, start=1):
            name = _title(f"{group.name}, prototype {number}")
            squares.append(_box(x - 6, y - 6, (12, 12), f'class="centre" {fill}', name))
            squares.append(_text(x + 9, y + 4, f"{shorten(group.name)} {number}", "value"))
    return _svg(width, height, [*dots, *squares], "features and prototypes")


def effective(counts: np.ndarray) -> float:
    """How many parts are in use: exp of the entropy of their shares, from 1 (one does everything) to all alike."""
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def label_width(names: Sequence[str]) -> int:
    """Room for the longest name as it is written, in pixels."""
    return 24 + round(6.6 * max(len(shorten(name)) for name in names))


def shorten(name: str, most: int = 18) -> str:
    """The name, or its beginning and an ellipsis."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _label(left: float, y: float, name: str) -> str:
    return _text(left - 8, y, shorten(name), "label", "end")


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>"


def _box(x: float, y: float, size: tuple[float, float], look: str, title: str = "") -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" {look}>{title}</rect>'


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    size = f'viewBox="0 0 {width} {height}" style="max-width:{width}px"'
    return f'<svg {size} role="img" aria-label="{escape(label, True)}">{"".join(parts)}</svg>'
