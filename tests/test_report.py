"""The report's command line and its page, also in a browser where one is installed."""

import html
import json
import re
import shutil
import subprocess

import pytest
from mindspore import Tensor
from runs import write_run

from semiseg import cli, report
from semiseg.checkpoints.io import read, save

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def run(*arguments):
    return cli.run(report.main, [str(argument) for argument in arguments])


def sections(page):
    return re.findall(r'<h2 id="(\w+)"', page)


@pytest.fixture
def folder(ready):
    return write_run(ready)


def test_one_run_gives_one_page_that_needs_nothing_else(folder, capsys):
    assert run(folder) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    page = (folder / "report.html").read_text()
    assert sections(page) == ["summary", "curves", "classes", "confusion", "images", "prototypes", "configuration"]
    assert "://" not in page
    assert "<script" not in page
    assert "url(" not in page
    found = json.loads((folder / "evaluation.json").read_text())
    assert f"{found['miou']:.2f}" in page
    assert [f"{value:.1f}" for value in found["iou"].values()] == re.findall(r'class="value"[^>]*>([\d.]+)<', page)[
        :12:2
    ]
    assert page.count("data:image/") == 4 * 3  # three validation images, all among the worst
    assert sum(map(sum, found["confusion"])) == 3 * 43 * 52  # one row of each mask is ignored


def test_scoring_is_done_once_for_a_checkpoint_and_a_way_to_evaluate(folder, monkeypatch):
    done = []
    real = report.score
    monkeypatch.setattr(report, "score", lambda *args: done.append(args) or real(*args))
    for _ in range(2):
        assert run(folder) == 0
    assert len(done) == 1
    assert run(folder, "evaluation.flip=true") == 0
    assert len(done) == 2
    arrays, record = read(folder / "checkpoints/best.ckpt")
    save(
        folder / "checkpoints/best.ckpt", {name: Tensor(array) for name, array in arrays.items()}, record | {"step": 2}
    )
    assert run(folder, "evaluation.flip=true") == 0
    assert len(done) == 3


@pytest.mark.parametrize("content", ["", "[1]", '{"made_of": 3}', "{}"])
def test_a_spoilt_evaluation_is_made_anew(folder, content):
    (folder / "evaluation.json").write_text(content)
    assert run(folder) == 0
    assert json.loads((folder / "evaluation.json").read_text())["images"] == 3


def test_several_runs_stand_side_by_side(folder, tmp_path, monkeypatch, capsys):
    other = tmp_path / "<other>"
    shutil.copytree(folder, other)
    text = (other / "config.resolved.yaml").read_text()
    (other / "config.resolved.yaml").write_text(text.replace("seed: 0", "seed: 7"))
    monkeypatch.chdir(tmp_path)
    assert run(folder, other) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Keys that differ" in page
    assert '<td class="key">trainer.seed</td><td>0</td><td>7</td>' in page
    assert "&lt;other&gt;" in page
    assert "<other>" not in page
    assert page.count("<polyline") > 20


def test_what_cannot_be_scored_is_said_and_the_rest_is_shown(folder, capsys):
    (folder / "checkpoints/best.ckpt").unlink()
    assert run(folder) == 0
    assert "not scored" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert sections(page) == ["summary", "curves", "classes", "prototypes", "configuration"]
    assert "train first" in page


def test_images_that_were_skipped_are_counted(folder):
    assert run(folder, "--no-scoring") == 0
    assert "was skipped" not in (folder / "report.html").read_text()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "loss": 1.0, "skipped": 2}\n{"step": 42, "loss": 1.0, "skipped": 3}\n')
    assert run(folder, "--no-scoring") == 0
    page = (folder / "report.html").read_text()
    assert "3 times an unreadable image was skipped" in page
    assert "unreadable images skipped so far" in page


def test_without_scoring_only_what_is_kept_is_shown(folder, capsys):
    assert run(folder, "--no-scoring") == 0
    assert "confusion" not in sections((folder / "report.html").read_text())
    assert run(folder) == 0
    assert run(folder, "--no-scoring") == 0
    assert "confusion" in sections((folder / "report.html").read_text())


def test_wrong_folders_and_files_of_others_are_one_line(folder, tmp_path, capsys):
    mine = tmp_path / "mine.html"
    mine.write_text("keep")
    for arguments, message in (
        ([tmp_path / "gone"], "no config.resolved.yaml"),
        (["trainer.seed=1"], "no run folder named"),
        ([folder, "--out", mine], "no report of ours"),
        ([folder, "--out", tmp_path], "is a folder"),
        ([folder, "--out", mine / "x.html"], "cannot be written"),
    ):
        assert run(*arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert message in err
        assert err.count("\n") == 1
    assert mine.read_text() == "keep"


MEASURE = """<!doctype html><iframe id="f" width="390" height="800" srcdoc="{page}"></iframe><script>
onload = () => {{ const d = document.getElementById("f").contentDocument, r = d.documentElement;
  const wide = [...d.querySelectorAll("svg, img")].filter(e => e.getBoundingClientRect().width > 391).length;
  document.title = JSON.stringify({{width: r.scrollWidth, wide, drawings: d.querySelectorAll("svg").length,
    broken: [...d.images].filter(i => !(i.complete && i.naturalWidth)).length, images: d.images.length,
    font: parseFloat(getComputedStyle(d.body).fontSize)}}); }};
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_browser_shows_it_on_a_phone_without_scrolling_sideways(folder, tmp_path):
    assert run(folder) == 0
    page = (folder / "report.html").read_text().replace(' loading="lazy"', "")
    (tmp_path / "phone.html").write_text(MEASURE.format(page=html.escape(page, quote=True)))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    address = (tmp_path / "phone.html").as_uri()
    done = subprocess.run([BROWSER, *options, profile, address], capture_output=True, text=True, timeout=60, check=True)
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout).group(1)))
    assert seen["width"] <= 390
    assert seen["wide"] == 0
    assert seen["broken"] == 0
    assert seen["images"] == 12
    assert seen["drawings"] >= 9
    assert seen["font"] >= 16
