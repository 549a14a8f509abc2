"""Charts: marks lie where the numbers say, and odd numbers do no harm."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from semiseg.reporting import svg
from semiseg.reporting.svg import Bars, Series

NAN = float("nan")


def parsed(text):
    return ET.fromstring(text)


def numbers(text):
    return [float(x) for x in re.findall(r"-?\d+\.?\d*", text)]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.13, 0.94), (5, 5), (0, 0), (-3, 12.2), (1e-9, 2e-4), (1e6, 3e6), (65.08, 65.26)]
)
def test_ticks_are_few_round_and_span_the_range(low, high):
    found = svg.ticks(low, high, 5)
    assert 3 <= len(found) <= 8
    assert found[0] <= low
    assert found[-1] >= high
    assert np.ptp(np.diff(found)) < 1e-9 * max(1, abs(high))
    assert all(len(f"{tick:.6g}") <= 8 for tick in found)


def test_a_line_goes_through_its_points():
    drawing = parsed(svg.line_chart([Series("a & b", [0, 50, 100], [0.0, 1.0, 0.5])], 100))
    line = drawing.find("polyline")
    points = np.array(numbers(line.get("points"))).reshape(3, 2)
    assert np.diff(points[:, 0]) == pytest.approx([178, 178])
    assert points[0, 1] - points[1, 1] == pytest.approx(2 * (points[0, 1] - points[2, 1]))
    assert line.find("title").text == "a & b: 0.5 at the end"


def test_numbers_that_are_not_finite_leave_a_gap():
    drawing = parsed(svg.line_chart([Series("x", range(7), [1, 2, NAN, 3, math.inf, 4, 5])], 6))
    assert len(drawing.findall("polyline")) == 2
    assert len(drawing.findall("circle")) == 1  # the 3 between both
    assert svg.line_chart([Series("x", [1, 2], [NAN, NAN])], 2) == ""
    assert svg.line_chart([], 1) == ""


def test_single_points_are_dots_and_hollow_where_dashed():
    drawing = parsed(svg.line_chart([Series("x", [10], [1.0]), Series("y", [10], [2.0], 1, dashed=True)], 10))
    first, second = drawing.findall("circle")
    assert (first.get("fill"), second.get("fill")) == (svg.COLORS[0], "none")
    assert second.get("stroke") == svg.COLORS[1]


def test_long_series_are_thinned_to_means_and_keep_their_end():
    x, y = list(range(1, 1001)), [float(i % 4) for i in range(1000)]
    found = svg.thinned(x, y)
    assert len(found) == 250
    assert [value for _, value in found] == [1.5] * 250
    assert found[-1][0] == 1000
    assert svg.thinned([1, 2], [3.0, 4.0]) == [(1, 3.0), (2, 4.0)]


def test_bars_are_as_long_as_their_values():
    groups = [Bars("one", [100.0, 50.0, NAN]), Bars("two", [0.0, 25.0, 75.0], 1, faint=True)]
    drawing = parsed(svg.bars(["a", "<b>", "c"], groups))
    boxes = {box.find("title").text: float(box.get("width")) for box in drawing.findall("rect")}
    full = boxes["a, one: 100.00"]
    assert boxes == {
        "a, one: 100.00": full,
        "a, two: 0.00": 0,
        "<b>, one: 50.00": pytest.approx(full / 2, abs=0.1),
        "<b>, two: 25.00": pytest.approx(full / 4, abs=0.1),
        "c, two: 75.00": pytest.approx(full * 3 / 4, abs=0.1),
    }


@pytest.mark.parametrize("count", [2, 6, 40])
def test_the_heat_map_has_every_cell_with_its_share(count):
    shares = np.random.default_rng(0).dirichlet(np.ones(count), count)
    drawing = parsed(svg.heat_map([f"class {i}" for i in range(count)], shares))
    cells = [box for box in drawing.findall("rect") if box.get("class") == "heat"]
    assert [float(box.get("fill-opacity")) for box in cells] == pytest.approx(shares.ravel(), abs=6e-4)
    assert cells[1].find("title").text == f"class 0 taken for class 1: {shares[0, 1]:.2%}"
    width = numbers(drawing.get("viewBox"))[2]
    assert max(float(box.get("x")) + float(box.get("width")) for box in cells) < width


def test_stacked_bars_divide_the_whole_length():
    drawing = parsed(svg.stacked_bars(["a", "b", "c"], np.array([[1, 3], [0, 8], [0, 0]])))
    widths = [float(box.get("width")) for box in drawing.findall("rect")]
    assert widths[0] * 3 == pytest.approx(widths[1], abs=0.3)
    assert widths[2] == 0
    assert widths[3] == pytest.approx(widths[0] + widths[1], abs=0.2)
    texts = [text.text for text in drawing.findall("text")]
    assert "no pixel" in texts
    assert "1.0 of 2" in texts


def test_effective_number_of_parts():
    assert svg.effective(np.array([5, 5, 5, 5])) == pytest.approx(4)
    assert svg.effective(np.array([0, 7, 0])) == pytest.approx(1)


def test_long_names_are_shortened():
    assert svg.shorten("x" * 18) == "x" * 18
    assert svg.shorten("y" * 19) == "y" * 17 + "…"
