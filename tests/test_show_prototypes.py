"""The tool that draws prototypes, on random weights."""

import re

import numpy as np
import pytest
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
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") == 6 * 2 * 2  # classes, prototypes, patches
    assert "3 images of synthetic (val)" in page
    cosines = [float(x) for x in re.findall(r"<small>(-?\d\.\d\d) ", page)]
    assert len(cosines) == 24
    assert all(abs(cosine) <= 1 for cosine in cosines)
    assert show("--nearest", 2)[0] == 0  # its own page may be replaced
    assert (tmp_path / "page.html").read_text() == page


def test_labelled_images_can_be_looked_at(show, tmp_path):
    assert show("--part", "labeled", "--images", 2)[0] == 0
    assert "2 images of synthetic (labeled)" in (tmp_path / "page.html").read_text()


def test_each_cell_of_the_feature_map_has_the_pixel_under_it():
    pixels = tool.feature_pixels((9, 13), (3, 4))
    assert pixels.shape == (12, 2)
    assert pixels[0].tolist() == [0, 0]
    assert pixels[3].tolist() == [0, 12]
    assert pixels[-1].tolist() == [8, 12]
    assert np.array_equal(pixels.reshape(3, 4, 2)[1, :, 0], [4, 4, 4, 4])


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
