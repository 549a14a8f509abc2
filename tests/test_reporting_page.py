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
