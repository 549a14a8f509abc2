"""Pages: what is outside stays text, nothing is loaded, only our own files are replaced."""

import plotly.graph_objects as go
import pytest
from pages import Page

from semiseg.common.errors import ConfigError
from semiseg.data.specs import get_spec
from semiseg.reporting.charts import Chart
from semiseg.reporting.templates import Mark, check_out, class_marks, figure_json, render, table

EVIL = "</script><script>alert(1)</script>'\"&"


def page_of(title="title", plane=None, classes=()):
    plane = plane or Chart("caption", go.Figure(layout={"height": 100}))
    overview = table([title], [[title]], title)
    data = {"title": title, "legend": [Mark("red", title)], "plane": plane, "overview": overview, "folder": ""}
    return render("prototypes.html.j2", classes=classes, **data)


def test_text_from_outside_stays_text():
    figure = go.Figure(go.Scatter(x=[1], y=[2], name=EVIL), layout={"height": 100})
    rows = [{"caption": EVIL, "pictures": [(EVIL, "data:image/png;base64,")]}]
    page = Page(page_of(EVIL, Chart(EVIL, figure), [{"name": EVIL, "rows": rows, "table": table([EVIL], [[1]], EVIL)}]))
    assert [region["aria-label"] for region in page.all_of("div") if "role" in region] == [EVIL, EVIL]
    assert page.text_of("title") == page.text_of("h1") == [EVIL]
    assert page.all_of("img")[0]["alt"] == f"{EVIL}: {EVIL}"
    assert len(page.all_of("script")) == 4  # the mark of scripts, the figure, plotly, ours
    ((caption, drawn),) = page.figures
    assert (caption, drawn["data"][0]["name"]) == (EVIL, EVIL)


def test_a_figure_is_written_as_json_that_ends_no_element():
    text = figure_json(go.Figure(go.Scatter(x=[1, 2], y=[1.5, float("nan")], name="</script>&")))
    assert not set("<>&") & set(text)
    assert "null" in text


def test_nothing_is_loaded_and_nothing_may_be():
    page = Page(page_of())
    assert page.addresses() == []
    (policy,) = [meta["content"] for meta in page.all_of("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_pages_are_small_enough_to_send():
    assert len(page_of().encode()) < 6e6


def test_tables_set_numbers_to_the_right():
    found = table(["name", "x", "y"], [["a", 1.234, None], ["b", 2, "text"]], "Numbers")
    assert found.rows == [["a", "1.23", "–"], ["b", "2", "text"]]
    assert found.numeric == [False, True, False]


def test_marks_have_the_colours_of_the_classes():
    marks = class_marks(get_spec("pascal"))
    assert (marks[1].color, marks[1].name, marks[1].opacity) == ("rgb(128, 0, 0)", "aeroplane", 1)


def test_only_pages_of_ours_are_replaced(tmp_path):
    ours, theirs = tmp_path / "ours.html", tmp_path / "theirs.html"
    ours.write_text(page_of())
    theirs.write_text("keep")
    check_out(ours, "page")
    check_out(tmp_path / "new.html", "page")
    with pytest.raises(ConfigError, match="no page of ours"):
        check_out(theirs, "page")
    with pytest.raises(ConfigError, match="is a folder"):
        check_out(tmp_path, "page")
