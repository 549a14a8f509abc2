"""Lines over steps, made ready for a chart: few points, at steps that all lines of the chart share, and in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MOST_POINTS = 300


@dataclass(frozen=True)
class Series:
    """A named line. ``color`` counts through charts.COLORS; ``dashed`` tells a second kind of the same series."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Drawn:
    """The points of a line. ``y``: None where nothing finite was logged; ``logged``: False where the value lies on the
    line between two logged ones; ``notes``: what a tooltip says after the value, mostly nothing.
    """

    x: list[float]
    y: list[float | None]
    logged: list[bool]
    notes: list[str]


def on_common_steps(lines: Sequence[Series]) -> list[Drawn]:
    """All lines at the same steps, so that one place of the chart has a value of each line that reaches it.

    Long lines are thinned first. Between two of its points a line gets what lies on it; it is never prolonged. Its
    ends, if others go further, note their own step: a tooltip may show them beside values of steps close by.
    """
    width = _part(lines)
    points = [dict(zip(*thinned(line.x, line.y, width), strict=True)) for line in lines]
    steps = sorted(set().union(*points))
    return [_drawn(of_line, steps) for of_line in points]


def _part(lines: Sequence[Series]) -> int:
    """Steps of a part that becomes one point; 0 where all lines are short."""
    if max((len(line.x) for line in lines), default=0) <= _MOST_POINTS:
        return 0
    return math.ceil(max(line.x[-1] for line in lines if line.x) / _MOST_POINTS)


def thinned(x: Sequence[float], y: Sequence[float], width: int) -> tuple[list[float], list[float | None]]:
    """A point for each part of ``width`` steps (0: every point): the mean, at the last step that was logged in the
    part. None for what is not finite.
    """
    steps, values = {}, {}
    for step, value in zip(x, y, strict=True):
        part = math.ceil(step / width) if width else step
        steps[part] = step
        values.setdefault(part, []).append(value)
    return list(steps.values()), [_finite(float(np.mean(of_part))) for of_part in values.values()]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _drawn(points: dict[float, float | None], steps: Sequence[float]) -> Drawn:
    """A line's points at those of ``steps`` that lie between its ends."""
    if not points:
        return Drawn([], [], [], [])
    own = sorted(points)
    x = [step for step in steps if own[0] <= step <= own[-1]]
    between = np.interp(x, own, [math.nan if points[step] is None else points[step] for step in own])
    values = [_finite(float(value)) for value in between]
    logged = [step in points for step in x]
    notes = ["" if known else " (interpolated)" for known in logged]
    for end, beyond in ((0, steps[0] < own[0]), (-1, steps[-1] > own[-1])):
        if beyond:
            notes[end] = f" (at step {x[end]:g})"
    return Drawn(x, values, logged, notes)


def in_words(lines: Sequence[Series]) -> str:
    """What the lines show, for whoever does not see them: ends, lowest and highest value of each."""
    return "; ".join(filter(None, map(_line_in_words, lines)))


def _line_in_words(line: Series) -> str:
    points = [(step, value) for step, value in zip(line.x, line.y, strict=True) if math.isfinite(value)]
    if not points:
        return ""
    (first, begin), (last, end) = points[0], points[-1]
    if len(points) == 1:
        return f"{line.name}: {end:.4g} at step {last:g}"
    values = [value for _, value in points]
    return (
        f"{line.name}: {begin:.4g} at step {first:g}, {end:.4g} at step {last:g}, lowest {min(values):.4g}, highest "
        f"{max(values):.4g}"
    )
