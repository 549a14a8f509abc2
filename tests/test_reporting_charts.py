"""Charts: figures hold the numbers and names they were given, and odd numbers do no harm."""

import math

import numpy as np
import pytest

from semiseg.reporting import charts
from semiseg.reporting.charts import Bars, Dots, Series

NAN = float("nan")


def test_a_line_goes_through_its_points():
    figure = charts.line_chart([Series("a & b", [0, 50, 100], [0.0, 1.0, 0.5])], 100)
    (line,) = figure.data
    assert (list(line.x), list(line.y)) == ([0, 50, 100], [0, 1, 0.5])
    assert line.name == "a &amp; b"
    assert figure.layout.xaxis.range[0] == 0
    assert figure.layout.xaxis.range[1] >= 100


def test_numbers_that_are_not_finite_leave_a_gap():
    figure = charts.line_chart([Series("x", range(7), [1, 2, NAN, 3, math.inf, 4, 5])], 6)
    assert list(figure.data[0].y) == [1, 2, None, 3, None, 4, 5]
    assert not figure.data[0].connectgaps
    assert charts.line_chart([Series("x", [1, 2], [NAN, NAN])], 2) is None
    assert charts.line_chart([], 1) is None


def test_a_point_between_gaps_of_a_long_line_is_marked():
    values = [1.0] * 100
    assert charts.line_chart([Series("x", range(100), values)], 100).data[0].mode == "lines"
    values[50] = values[52] = NAN
    assert charts.line_chart([Series("x", range(100), values)], 100).data[0].mode == "lines+markers"


def test_single_points_are_dots_and_hollow_where_dashed():
    series = [Series("x", [10], [1.0]), Series("y", [10], [2.0], 1, dashed=True)]
    first, second = charts.line_chart(series, 10).data
    assert first.mode == second.mode == "lines+markers"
    assert (first.marker.symbol, first.line.color, first.line.dash) == ("circle", charts.COLORS[0], "solid")
    assert (second.marker.symbol, second.line.color, second.line.dash) == ("circle-open", charts.COLORS[1], "dash")


def test_a_tooltip_has_every_line_at_its_step_and_marks_only_what_was_logged():
    often, seldom = Series("often", [10, 20, 30], [1.0, 2.0, 3.0]), Series("seldom", [10, 30], [5.0, 7.0], 1)
    figure = charts.line_chart([often, seldom], 30)
    first, second = figure.data
    assert figure.layout.hovermode == "x unified"
    assert list(first.x) == list(second.x) == [10, 20, 30]
    assert list(second.y) == [5, 6, 7]
    assert list(second.text) == ["", " (interpolated)", ""]
    assert second.hovertemplate == "%{y:.4~g}%{text}"
    assert [size > 0 for size in second.marker.size] == [True, False, True]
    assert (first.text, first.hovertemplate) == (None, "%{y:.4~g}")


def test_colours_repeat_and_are_dashed_beyond_the_last():
    lines = charts.line_chart([Series(str(i), [1, 2], [1.0, 2.0], i) for i in range(7)], 2).data
    assert len({line.line.color for line in lines}) == 6
    assert [line.line.dash for line in lines] == ["solid"] * 6 + ["dash"]


def test_bars_are_as_long_as_their_values():
    groups = [Bars("one", [100.0, 50.0, NAN]), Bars("two", [0.0, 25.0, 75.0], 1, faint=True)]
    figure = charts.bars(["a", "<b>", "c"], groups)
    first, second = figure.data
    assert list(first.x) == [100, 50, None]
    assert list(first.text) == ["100.0", "50.0", ""]
    assert list(second.x) == [0, 25, 75]
    assert (second.marker.color, second.marker.opacity) == (charts.COLORS[1], 0.45)
    assert list(figure.layout.yaxis.ticktext) == ["a", "&lt;b&gt;", "c"]
    assert list(figure.layout.yaxis.range) == [2.5, -0.5]  # the first name on top
    assert list(figure.layout.xaxis.range) == [0, 100]


@pytest.mark.parametrize("count", [2, 6, 40])
def test_the_heat_map_has_every_cell_with_its_share(count):
    shares = np.random.default_rng(0).dirichlet(np.ones(count), count)
    (cells,) = charts.heat_map([f"class {i}" for i in range(count)], shares).data
    assert np.array(cells.z) == pytest.approx(100 * shares, abs=6e-3)
    assert cells.hovertext[0][1] == f"class 0 taken for class 1: {shares[0, 1]:.2%}"
    assert [[bool(text) for text in row] for row in cells.text] == (shares >= 0.01).tolist()
    assert (cells.zmin, cells.zmax) == (0, 100)


def test_stacked_bars_divide_the_whole_length():
    figure = charts.stacked_bars(["a", "b", "c"], np.array([[1, 3], [0, 8], [0, 0]]))
    first, second = figure.data
    assert list(first.x) == [25, 0, 0]
    assert list(second.x) == [75, 100, 0]
    assert first.marker.opacity > second.marker.opacity
    words = [(words.y, words.text) for words in figure.layout.annotations]
    assert words == [(0, "1.8 of 2"), (1, "1.0 of 2"), (2, "no pixel")]
    assert [list(pair) for pair in first.customdata] == [["a", 4], ["b", 8], ["c", 0]]


def test_the_plane_has_dots_below_squares_at_one_scale():
    points, centres = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[0.5, 0.25]])
    groups = [Dots("<i>", points, (1, 2, 3), centres), Dots("empty", np.zeros((0, 2)), (4, 5, 6), centres + 1)]
    figure = charts.scatter(groups)
    dots, empty, squares, _ = figure.data
    assert (list(dots.x), list(dots.y)) == ([0, 2], [1, 3])
    assert list(empty.x) == []
    assert (list(squares.x), list(squares.y)) == ([0.5], [0.25])
    assert dots.marker.color == squares.marker.color == "rgb(1, 2, 3)"
    assert list(squares.text) == ["&lt;i&gt; 1"]
    assert (list(squares.textposition), list(figure.data[3].textposition)) == (["middle right"], ["middle left"])
    assert figure.layout.yaxis.scaleanchor == "x"


def test_no_name_is_read_as_markup():
    name = '<a href="http://example.com/">%{x}</a>'
    shares = np.eye(2)
    figures = [
        charts.line_chart([Series(name, [1, 2], [1.0, 2.0])], 2),
        charts.bars([name, name], [Bars(name, [1.0, 2.0])]),
        charts.heat_map([name, name], shares),
        charts.stacked_bars([name, name], shares),
        charts.scatter([Dots(name, shares, (0, 0, 0), shares)]),
    ]
    for figure in figures:
        text = figure.to_json()
        assert "<a" not in text
        assert "&lt;a" in text
        for trace in figure.data:  # templates hold no name: %{x} in one would be filled in
            assert "href" not in (trace.hovertemplate or "")


def test_names_that_are_shortened_alike_keep_rows_of_their_own():
    names = ["x" * 30 + "1", "x" * 30 + "2"]
    figure = charts.bars(names, [Bars("run", [1.0, 2.0])])
    assert list(figure.data[0].y) == [0, 1]
    assert len(set(figure.layout.yaxis.ticktext)) == 1
    assert len(set(figure.data[0].customdata)) == 2  # the tooltip tells them apart


def test_effective_number_of_parts():
    assert charts.effective(np.array([5, 5, 5, 5])) == pytest.approx(4)
    assert charts.effective(np.array([0, 7, 0])) == pytest.approx(1)


def test_long_names_are_shortened():
    assert charts.shorten("x" * 18) == "x" * 18
    assert charts.shorten("y" * 19) == "y" * 17 + "…"
    assert charts.abridge("a" * 32) == "a" * 32
    assert charts.abridge("a" * 20 + "b" * 20) == "a" * 15 + "…" + "b" * 16
