"""The report's command line and its page, also in a browser where one is installed."""

import html
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from mindspore import Tensor
from pages import Page
from runs import write_run

from semiseg import cli, report
from semiseg.checkpoints.io import read, save
from semiseg.common.errors import CheckpointError
from semiseg.config import load
from semiseg.data.build import complete
from semiseg.engine.lock import RunLock

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def run(*arguments):
    return cli.run(report.main, [str(argument) for argument in arguments])


def page_of(path):
    return Page(path.read_text())


@pytest.fixture
def folder(ready):
    return write_run(ready)


def test_one_run_gives_one_page_that_needs_nothing_else(folder, capsys):
    assert run(folder) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    source = (folder / "report.html").read_text()
    page = Page(source)
    parts = ["summary", "curves", "classes", "confusion", "images", "prototypes", "configuration"]
    assert page.sections() == parts
    assert [link["href"] for link in page.all_of("a")] == [f"#{part}" for part in parts]
    assert page.addresses() == []
    assert len(source.encode()) < 15e6
    found = json.loads((folder / "evaluation.json").read_text())
    assert ["run", f"{found['miou']:.2f}", f"{found['proto_miou']:.2f}", "ours"] == page.rows[1][:4]
    figures = dict(page.figures)
    linear, proto = figures["IoU in percent, lowest first"]["data"]
    assert linear["x"] == sorted(found["iou"].values())
    assert sorted(proto["x"]) == sorted(found["proto_iou"].values())
    assert len(page.all_of("img")) == 5 * 3  # three validation images, all among the worst
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


def test_scores_of_another_list_or_crop_are_not_shown_for_these(folder, tmp_path):
    assert run(folder) == 0
    shorter = tmp_path / "shorter.txt"
    shorter.write_text((folder / "lists/val.txt").read_text().splitlines()[0] + "\n")
    kept = folder / "evaluation.json"
    assert run(folder, f"dataset.val.data_list={shorter}") == 0
    assert json.loads(kept.read_text())["images"] == 1
    kept.write_text(kept.read_text().replace('"images": {', '"others": {', 1))  # as an earlier version has it
    assert run(folder) == 0
    found = json.loads(kept.read_text())
    assert found["images"] == 3
    assert run(folder, "dataset.val.crop.size=[17, 17]") == 0
    assert json.loads(kept.read_text())["made_of"]["images"]["crop"] == [17, 17] != found["made_of"]["images"]["crop"]


def scored_anew(folder, *overrides):
    """Whether a report scores, and does not take what is kept."""
    kept = folder / "evaluation.json"
    before = kept.stat().st_mtime_ns, kept.read_bytes()
    assert run(folder, *overrides) == 0
    return (kept.stat().st_mtime_ns, kept.read_bytes()) != before


@pytest.fixture
def own_data(folder, tmp_path):
    """A run scored on a copy of its images, described as one's own data; and the folder of the masks."""
    written = folder / "config.resolved.yaml"
    config, spec = complete(load(written))
    root = tmp_path / "data"
    shutil.copytree(config.dataset.data_root, root)
    custom = {"name": "own", "classes": list(spec.classes), "image": spec.image, "mask": spec.mask}
    content = yaml.safe_load(written.read_text())
    content["dataset"] |= {"type": "custom", "custom": custom, "data_root": str(root)}
    written.write_text(yaml.safe_dump(content))
    assert run(folder) == 0
    return folder, root / Path(spec.mask).parent


def test_scores_of_masks_that_were_corrected_are_made_anew(own_data):
    folder, masks = own_data
    assert not scored_anew(folder)
    corrected = masks / f"{(folder / 'lists/val.txt').read_text().split()[0]}.png"
    corrected.write_bytes(corrected.read_bytes())
    assert scored_anew(folder)
    assert not scored_anew(folder)
    untouched = masks / f"{(folder / 'lists/labeled.txt').read_text().split()[0]}.png"
    untouched.write_bytes(untouched.read_bytes())
    assert not scored_anew(folder)


def test_scores_of_other_masks_are_not_shown_for_these(own_data):
    folder, masks = own_data
    shutil.copytree(masks, masks.with_name("corrected"), copy_function=shutil.copy2)
    assert scored_anew(folder, "dataset.custom.mask=corrected/{id}.png")
    assert scored_anew(folder)
    assert scored_anew(folder, f"dataset.custom.colors={[[i, 1, 2] for i in range(6)]}")
    assert scored_anew(folder, "dataset.custom.ignore_color=[1, 2, 3]")


def test_kept_scores_are_shown_where_the_images_are_gone(own_data, capsys):
    folder, masks = own_data
    shutil.rmtree(masks.parent)
    assert run(folder) == 0
    assert "not scored" not in capsys.readouterr().out


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
    page = page_of(tmp_path / "report.html")
    assert "Keys that differ" in page.text_of("h3")
    assert ["trainer.seed", "0", "7"] in page.rows
    assert "other" not in {tag for tag, _ in page.elements}
    figures = dict(page.figures)
    assert [line["name"] for line in figures["loss, all terms"]["data"]] == ["run", "&lt;other&gt;"]
    colors = [line["line"]["color"] for line in figures["mIoU in percent (dashed: prototype head)"]["data"]]
    assert colors[0] == colors[1] != colors[2] == colors[3]  # one colour a run


def test_what_cannot_be_scored_is_said_and_the_rest_is_shown(folder, capsys):
    (folder / "checkpoints/best.ckpt").unlink()
    assert run(folder) == 0
    assert "not scored" in capsys.readouterr().out
    page = page_of(folder / "report.html")
    assert page.sections() == ["summary", "curves", "classes", "prototypes", "configuration"]
    assert any("train first" in text for text in page.text_of("p"))


@pytest.mark.parametrize("best", [True, False])
@pytest.mark.parametrize(
    ("place", "name"),
    [(".", "."), ("checkpoints", ".."), (".", ".."), (".", "../run/"), ("..", "run/"), ("..", "link"), ("..", "link/")],
)
def test_a_folder_may_be_named_in_any_way(folder, monkeypatch, capsys, best, place, name):
    (folder.parent / "link").symlink_to(folder, target_is_directory=True)
    if name == ".." and place == ".":  # the run folder is the parent of another folder
        (folder / "sub").mkdir()
        place = "sub"
    if not best:
        (folder / "checkpoints/best.ckpt").unlink()
    monkeypatch.chdir(folder / place)
    assert run(name, "--no-scoring") == 0
    assert ("no such checkpoint" in capsys.readouterr().out) == (not best)
    title = page_of(folder / "report.html").text_of("h1")
    assert title == [f"Training report: {'link' if 'link' in name else 'run'}"]


def test_a_run_at_the_root_of_the_file_system_needs_no_folders_above():
    for path in ("/best.ckpt", "/checkpoints/best.ckpt", "/run/checkpoints/best.ckpt", "best.ckpt"):
        with pytest.raises(CheckpointError, match="train first"):
            report.find_best(Path(path))


def test_the_authors_other_folder_is_seen_from_inside_a_run(tmp_path, monkeypatch):
    here, other = (tmp_path / f"city/{split}/name/checkpoints" for split in ("186", "183"))
    here.mkdir(parents=True)
    other.mkdir(parents=True)
    (other / "best.ckpt").write_bytes(b"")
    monkeypatch.chdir(here.parent)
    path, remark = report.find_best(Path("checkpoints/best.ckpt"))
    assert path.samefile(other / "best.ckpt")
    assert "183" in remark


def test_the_mask_ratio_is_one_curve_for_runs_of_today_and_of_before(folder):
    metrics = folder / "metrics.jsonl"
    for name in ("mask_ratio", "kept"):
        metrics.write_text(metrics.read_text().replace("mask_ratio", name))
        assert run(folder, "--no-scoring") == 0
        (curve,) = [figure for caption, figure in page_of(folder / "report.html").figures if "mask ratio" in caption]
        assert curve["data"][0]["y"] == [step / 40 for step in range(22, 41, 2)]


def test_images_that_were_skipped_are_counted(folder):
    assert run(folder, "--no-scoring") == 0
    assert "was skipped" not in (folder / "report.html").read_text()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "loss": 1.0, "skipped": 2}\n{"step": 42, "loss": 1.0, "skipped": 3}\n')
    assert run(folder, "--no-scoring") == 0
    page = page_of(folder / "report.html")
    assert any("3 times an unreadable image was skipped" in text for text in page.text_of("p"))
    assert "unreadable images skipped so far" in page.text_of("figcaption")


def test_without_scoring_only_what_is_kept_is_shown(folder, capsys):
    assert run(folder, "--no-scoring") == 0
    assert "confusion" not in page_of(folder / "report.html").sections()
    assert run(folder) == 0
    assert run(folder, "--no-scoring") == 0
    assert "confusion" in page_of(folder / "report.html").sections()


def starts(folder, steps):
    """The line of log.txt that tells how long the run is."""
    (folder / "log.txt").write_text(f"2026-01-02 03:04:05 9 epochs of 10 steps = {steps} steps; device: cpu\n")


def test_a_run_that_goes_on_says_how_far_it_is(folder, capsys):
    starts(folder, 90)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 42, "loss": 0.0')  # the line that is just being written
    with RunLock(folder):
        assert run(folder, "--no-scoring") == 0
    page = page_of(folder / "report.html")
    assert "run goes on:" in page.text_of("strong")
    assert "step 40 of 90" in page.text_of("p")
    assert page.all_of("progress") == [{"max": "90", "value": "40", "aria-label": "Steps of run"}]
    assert page.rows[1][7:9] == ["40 of 90", "goes on"]
    assert page.all_of("input")[0]["type"] == "range"  # nothing reloads a page that is not written anew
    assert any(text.startswith("As of 20") for text in page.text_of("p"))


@pytest.mark.parametrize(
    ("steps", "cells"), [(90, ["40 of 90", "stopped"]), (40, ["40", "finished"]), (None, ["40", "–"])]
)
def test_a_run_that_is_at_rest_is_finished_or_stopped(folder, steps, cells):
    if steps:
        starts(folder, steps)
    assert run(folder, "--no-scoring") == 0
    page = page_of(folder / "report.html")
    assert page.rows[1][7:9] == cells
    assert not page.all_of("progress")
    assert "As of" not in (folder / "report.html").read_text()


def test_a_watched_page_is_written_anew_until_the_run_ends(folder, monkeypatch, capsys):
    starts(folder, 42)
    lock, seen = RunLock(folder), []

    def sleep(seconds):
        page = page_of(folder / "report.html")
        boxes = [box for box in page.all_of("input") if box["type"] == "checkbox"]
        seen.append((seconds, page.rows[1][7], boxes))
        if len(seen) == 1:
            with (folder / "metrics.jsonl").open("a") as file:
                file.write('{"step": 41, "loss": 1.0}\n{"step": 42, "loss": 1.0}\n')
        else:
            lock.__exit__()

    monkeypatch.setattr(report.time, "sleep", sleep)
    with lock:
        assert run(folder, "--no-scoring", "--watch", 7) == 0
    assert [entry[:2] for entry in seen] == [(7, "40 of 42"), (7, "42")]
    assert seen[0][2] == [{"type": "checkbox", "data-seconds": "7"}]  # not checked: its reader decides
    page = page_of(folder / "report.html")
    assert page.rows[1][8] == "finished"
    assert not [box for box in page.all_of("input") if box["type"] == "checkbox"]
    assert "refresh" not in (folder / "report.html").read_text().partition("<style>")[0]
    assert capsys.readouterr().out.count("report.html") == 1


def test_the_worst_images_come_first_each_with_its_pictures_and_a_slider(folder):
    assert run(folder) == 0
    page, found = page_of(folder / "report.html"), json.loads((folder / "evaluation.json").read_text())
    scores = [row["miou"] for row in found["worst"]]
    assert scores == sorted(scores)
    names, kinds = [row["name"] for row in found["worst"]], ["image", "truth", "prediction", "confidence", "errors"]
    assert [image["alt"] for image in page.all_of("img")] == [f"{name}: {kind}" for name in names for kind in kinds]
    sliders = [box for box in page.all_of("input") if box.get("class") != "steps"]
    assert [box["aria-label"] for box in sliders] == [
        "All images of run at once",
        *(f"Picture of {name}" for name in names),
    ]
    assert {(box["type"], box["max"], box["value"]) for box in sliders} == {("range", "4", "2")}


def test_a_page_has_one_main_part_headings_in_order_and_names_for_its_regions(folder):
    assert run(folder) == 0
    page = page_of(folder / "report.html")
    assert page.all_of("html") == [{"lang": "en"}]
    assert len(page.all_of("main")) == len(page.all_of("header")) == len(page.all_of("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    regions = [attributes for _, attributes in page.elements if attributes.get("role") == "region"]
    assert len(regions) >= 5
    assert all(region["aria-label"] and region["tabindex"] == "0" for region in regions)
    assert len({region["aria-label"] for region in regions}) == len(regions)
    assert all(cell["scope"] in ("row", "col") for cell in page.all_of("th"))


def test_wrong_folders_and_files_of_others_are_one_line(folder, tmp_path, capsys):
    mine = tmp_path / "mine.html"
    mine.write_text("keep")
    for arguments, message in (
        ([tmp_path / "gone"], "no config.resolved.yaml"),
        (["trainer.seed=1"], "no run folder named"),
        ([folder, "--watch", 0], "--watch: expected at least 1"),
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


# Runs in the page itself, after its own scripts.
MEASURE = """<script>onload = () => {
  const charts = [...document.querySelectorAll(".chart")], drawn = charts.filter(c => c.querySelector(".main-svg"));
  Plotly.Fx.hover(charts[1], {xval: 20});
  const hover = [...charts[1].querySelectorAll(".hoverlayer text")].map(t => t.textContent).join("|");
  const closed = charts.filter(c => c.closest("details:not([open])")).length;
  document.querySelectorAll("details").forEach(details => details.open = true);
  setTimeout(() => {
    const wide = [...document.querySelectorAll("img, figure, p, h1, h2, ul")]
      .filter(e => e.getBoundingClientRect().right > innerWidth).length;
    const result = {
      width: document.documentElement.scrollWidth, inner: innerWidth, wide, hover, closed,
      charts: charts.length, drawn: drawn.length, opened: charts.filter(c => c.querySelector(".main-svg")).length,
      broken: [...document.images].filter(i => !(i.complete && i.naturalWidth)).length, images: document.images.length,
      font: parseFloat(getComputedStyle(document.body).fontSize), alerted: Boolean(window.alerted),
      loaded: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:")),
      buttons: [...document.querySelectorAll(".modebar-btn")].map(b => b.dataset.title),
    };
    parent.document.title = JSON.stringify(result);
  }, 500);
};</script></body>"""
PHONE = '<!doctype html><title>wait</title><iframe width="390" height="800" srcdoc="{}"></iframe>'


def seen_by_a_browser(source, folder):
    """What MEASURE finds in the page ``source`` on a screen 390 pixels wide."""
    source = source.replace(' loading="lazy"', "").replace("</body>\n</html>", f"{MEASURE}</html>")
    path = folder / "phone.html"
    path.write_text(PHONE.format(html.escape(source, quote=True)))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000"]
    options += ["--blink-settings=primaryHoverType=2,availableHoverTypes=2"]  # there is a mouse
    done = subprocess.run([BROWSER, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout).group(1)))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_browser_draws_every_chart_loads_nothing_and_needs_no_scrolling_sideways(folder, tmp_path):
    other = tmp_path / "<img src=x onerror=alerted=1>"
    shutil.copytree(folder, other)
    out = tmp_path / "both.html"
    assert run(folder, other, "--out", out) == 0
    seen = seen_by_a_browser(out.read_text(), tmp_path)
    assert seen["width"] <= seen["inner"]
    assert (seen["wide"], seen["broken"], seen["images"]) == (0, 0, 30)
    assert seen["charts"] - seen["closed"] == seen["drawn"] >= 9
    assert seen["closed"] == 6  # a curve a class
    assert seen["opened"] == seen["charts"]
    assert "20" in seen["hover"]
    assert "run : 0.1" in seen["hover"]
    assert not seen["alerted"]
    assert seen["loaded"] == []
    # Nothing that uploads: plotly's own bar holds a button that sends the figure to its makers.
    assert sorted({name.lower() for name in seen["buttons"]}) == [
        "download plot as a png",
        "reset axes",
        "zoom in",
        "zoom out",
    ]
    assert seen["font"] >= 16
