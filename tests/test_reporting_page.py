"""What the page says of runs, without a run."""

from dataclasses import replace
from pathlib import Path

from pages import Page

from semiseg.config import flatten
from semiseg.config.keys import Config
from semiseg.data.specs import get_spec
from semiseg.reporting.page import render_report
from semiseg.reporting.record import RunRecord


def warnings(*runs):
    return [text for text in Page(render_report(runs)).text_of("p") if text.startswith("WARNING")]


def test_a_run_on_voc_from_random_weights_says_so():
    row = {"step": 1, "loss": 1.0}
    flat = flatten(Config())
    run = RunRecord("mine", Path("mine"), get_spec("pascal"), flat, [row], [], {}, None, "no checkpoint")
    (text,) = warnings(run)
    assert text.startswith("WARNING: mine: net.encoder.pretrained is not set")
    assert "net.encoder.pretrained=path/to/resnet101.pth" in text
    trained = replace(run, flat=flat | {"net.encoder.pretrained": Path("resnet101.pth")})
    assert warnings(trained) == []
    assert warnings(replace(run, spec=get_spec("synthetic"))) == []


def test_what_unlabelled_images_added_stands_beside_and_a_loss_is_a_warning():
    rows = [
        {"step": 5, "eval": {"miou": 60.6}, "phase": "supervised", "candidate": False},
        {"step": 9, "eval": {"miou": 56.9}},
    ]
    flat = flatten(Config())
    run = RunRecord("mine", Path("mine"), get_spec("synthetic"), flat, [], rows, {}, None, "no checkpoint")
    (text,) = warnings(run)
    assert text.startswith(
        "WARNING: mine: unlabelled images made it worse: mIoU 60.60 at the end of the supervised phase"
    )
    cells = Page(render_report([run])).text_of("td")
    assert {"60.60", "56.90 at step 9"} <= set(cells)  # the best is chosen from the others
    better = replace(run, evaluations=[rows[0], {"step": 9, "eval": {"miou": 61.0}}])
    assert warnings(better) == []
