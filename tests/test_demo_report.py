"""The demo's last step: table, results.json and picture from finished runs; and what demo.sh may be told."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT

from semiseg.data.specs import get_spec
from semiseg.prepare.synthetic import SyntheticOptions, generate

TOOL = ROOT / "tools" / "demo_report.py"
PALETTE = get_spec("synthetic").full_palette().tobytes()
SCORES = {
    ("suponly", 0): (60.0, None),
    ("suponly", 1): (62.0, None),
    ("ours", 0): (66.5, 66.25),
    ("ours", 1): (64.5, 65),
}


@pytest.fixture
def demo(tmp_path):
    """Data, and predictions that are the truth for ours and background everywhere for suponly."""
    generate(tmp_path / "data", SyntheticOptions(size=48, unlabeled=2, val=6, labels=(2,), draws=1), progress=False)
    names = (tmp_path / "data/splits/val.txt").read_text().split()
    for (method, seed), (miou, proto) in SCORES.items():
        run = tmp_path / "demo" / f"16_s{seed}" / method
        (run / "predictions" / "index").mkdir(parents=True)
        (run / "seconds").write_text("75\n")
        (run / "scores.json").write_text(json.dumps({"miou": miou, "proto_miou": proto}))
        for name in names if seed == 0 else ():
            truth = np.asarray(Image.open(tmp_path / f"data/SegmentationClassAug/{name}.png"))
            said = np.where(truth == 255, 0, truth) if method == "ours" else np.zeros_like(truth)
            image = Image.fromarray(said.astype(np.uint8), "P")
            image.putpalette(PALETTE)
            image.save(run / "predictions" / "index" / f"{name}.png")
    return tmp_path


def report(demo):
    arguments = [demo / "demo", "synthetic", demo / "data", demo / "data/splits/val.txt"]
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)


def test_table_results_and_picture(demo):
    done = report(demo)
    assert done.returncode == 0, done.stderr
    head, *rows, last = done.stdout.splitlines()[1:]
    assert head.split() == ["mIoU", "seed", "0", "seed", "1", "mean"]
    assert [row.split() for row in rows] == [
        ["suponly", "60.00", "62.00", "61.00"],
        ["ours", "66.50", "64.50", "65.50"],
        ["ours", "(prototype", "head)", "66.25", "65.00", "65.62"],
    ]
    assert last == "ours is +4.50 mIoU points above suponly on the same labelled images, mean of 2 seeds"
    results = json.loads((demo / "demo/results.json").read_text())
    assert results["suponly"] == [{"miou": 60.0, "seconds": 75}, {"miou": 62.0, "seconds": 75}]
    with Image.open(demo / "demo/demo.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    width = pixels.shape[1] // 5
    truth, suponly, ours, differences = (pixels[40:, k * width : (k + 1) * width] for k in (1, 2, 3, 4))
    agree = (truth == ours).all(2)
    assert agree.mean() > 0.75  # all but the void borders
    green = (differences == (60, 160, 90)).all(2)
    assert green.mean() == pytest.approx((~(truth == suponly).all(2) & agree).mean(), abs=0.03)
    assert not (differences == (215, 60, 50)).all(2).any()  # suponly alone is right nowhere


def test_a_run_that_is_not_there_is_one_line(demo):
    (demo / "demo/16_s1/ours/seconds").unlink()
    done = report(demo)
    assert (done.returncode, done.stdout) == (2, "")
    assert "16_s1/ours/seconds: cannot be read" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["cityscapes"], ["camvid", "--from"], ["camvid", "x", "y"], ["synthetic", "x", "y"]]
)
def test_what_the_demo_does_not_know_is_refused_before_anything_is_set_up(arguments):
    command = ["bash", ROOT / "tools/demo.sh", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    expected = f"error: demo.sh: expected nothing, or camvid [--from DIR], got {' '.join(arguments)}"
    assert done.stderr.splitlines() == [expected]
