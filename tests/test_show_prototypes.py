"""The tool that draws prototypes, on random weights."""

import pytest
from pages import Page
from tool import load_tool, run_tool

tool = load_tool("show_prototypes")


@pytest.fixture
def show(ready, tmp_path, capsys):
    def call(*options, out="page.html"):
        path, overrides, _ = ready
        return run_tool(capsys, tool, "--config", path, "--out", tmp_path / out, *overrides, *options)

    return call


def test_one_page_with_the_nearest_patches(show, tmp_path):
    code, out, _ = show("--nearest", 2)
    assert (code, out) == (0, f"{tmp_path / 'page.html'}\n")
    source = (tmp_path / "page.html").read_text()
    page = Page(source)
    assert len(page.all_of("img")) == 6 * 2 * 2  # classes, prototypes, patches
    assert "3 images of synthetic (val)" in page.text_of("h1")[0]
    assert page.addresses() == []
    cosines = [float(text.split()[0]) for text in page.text_of("small")]
    assert len(cosines) == 24
    assert all(abs(cosine) <= 1 for cosine in cosines)
    assert show("--nearest", 2)[0] == 0  # its own page may be replaced
    assert (tmp_path / "page.html").read_text() == source


def test_each_class_can_have_a_page_of_its_own(show, tmp_path):
    assert show("--nearest", 2, "--per-class")[:2] == (0, f"{tmp_path / 'page.html'}\n")
    overview = Page((tmp_path / "page.html").read_text())
    assert overview.all_of("img") == []
    pages = sorted((tmp_path / "page_classes").iterdir())
    assert sorted(overview.addresses()) == [f"page_classes/{path.name}" for path in pages]
    assert len(pages) == 6
    for path in pages:
        page = Page(path.read_text())
        assert len(page.all_of("img")) == 2 * 2  # prototypes, patches
        assert all((path.parent / address).is_file() for address in page.addresses())
    pages[2].write_text("mine")
    assert show("--per-class")[0] == 2
    assert pages[2].read_text() == "mine"


def test_labelled_images_can_be_looked_at(show, tmp_path):
    assert show("--part", "labeled", "--images", 2)[0] == 0
    assert "2 images of synthetic (labeled)" in (tmp_path / "page.html").read_text()


def test_images_are_looked_at_as_large_as_they_are_scored(show, tmp_path):
    pages = []
    for keys in ([], ["evaluation.scales=[0.5]"], ["evaluation.mode=slide", "evaluation.base_size=30"]):
        assert show("--nearest", 2, *keys)[0] == 0
        pages.append(Page((tmp_path / "page.html").read_text()))
    assert "at 0.5 of their size" in pages[1].text_of("h1")[0]
    cosines = [page.text_of("small") for page in pages]
    assert cosines[0] != cosines[1] != cosines[2] != cosines[0]


def test_requests_that_cannot_work_are_one_line(show, tmp_path):
    (tmp_path / "mine.html").write_text("keep")
    for options, out, message in (
        (["net.proto_head=null"], "x.html", "no prototypes"),
        (["--patch", 0], "x.html", "--patch"),
        ([], "mine.html", "no page of ours"),
        ([], ".", "is a folder"),
    ):
        code, _, err = show(*options, out=out)
        assert code == 2
        assert message in err
        assert err.count("\n") == 0
    assert (tmp_path / "mine.html").read_text() == "keep"
