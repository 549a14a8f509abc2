"""Masks that were drawn anew since a run began are noticed, copies of the same ones are not."""

import os
import shutil

import numpy as np
import pytest
from own_data import make_set, write_config, write_split
from PIL import Image

from semiseg.config import load
from semiseg.data import truth
from semiseg.data.build import complete, parts_of
from semiseg.data.lists import read_split


@pytest.fixture
def parts(tmp_path):
    """Three labelled and two validation images."""
    make_set(tmp_path / "data", count=9)
    write_split(tmp_path, "3", ["00", "01", "02"], ["03", "04"], ["07", "08"])
    config, spec = complete(load(write_config(tmp_path, split="3")))
    return parts_of(config, spec, read_split(config, spec), with_unlabeled=False)


def draw_anew(tmp_path, *names):
    for name in names:
        Image.fromarray(np.ones((40, 44), np.uint8)).save(tmp_path / f"data/masks/{name}.png")


def test_masks_that_were_drawn_anew_are_counted_in_their_part(parts, tmp_path):
    truth.save(tmp_path / "run", truth.fingerprints(parts))
    draw_anew(tmp_path, "00", "02", "03")  # nobody opens the mask of an unlabelled image
    said = truth.changed(tmp_path / "run", truth.fingerprints(parts))
    assert said == {"labeled": "2 of 3 labeled masks changed since this run began"}
    draw_anew(tmp_path, "08")
    (tmp_path / "data/masks/07.png").unlink()
    said = truth.changed(tmp_path / "run", truth.fingerprints(parts))
    assert said["val"] == "2 of 2 val masks changed since this run began"
    learnt, scored = truth.going_on(said)
    assert learnt.startswith("2 of 3 labeled masks changed since this run began: what was learnt before")
    assert scored.startswith("2 of 2 val masks")
    assert "best.ckpt is chosen anew" in scored


def test_the_same_bytes_at_another_time_are_the_same_masks(parts, tmp_path):
    truth.save(tmp_path / "run", truth.fingerprints(parts))
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "copy").rename(tmp_path / "data")
    os.utime(tmp_path / "data/masks/00.png", (0, 0))
    assert truth.changed(tmp_path / "run", truth.fingerprints(parts)) == {}


@pytest.mark.parametrize("content", [None, "", "[1]", '{"labeled": []}', "{"])
def test_of_runs_without_fingerprints_nothing_is_said(parts, tmp_path, content):
    if content is not None:
        (tmp_path / "run/lists").mkdir(parents=True)
        (tmp_path / "run/lists/masks.json").write_text(content)
    assert truth.changed(tmp_path / "run", truth.fingerprints(parts)) == {}
