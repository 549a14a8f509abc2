"""The demo's last step: table, results.json and picture from two finished runs."""

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


@pytest.fixture
def demo(tmp_path):
    """Data, and predictions that are the truth for ours and background everywhere for suponly."""
    generate(tmp_path / "data", SyntheticOptions(size=48, unlabeled=2, val=6, labels=(2,), draws=1), progress=False)
    names = (tmp_path / "data/splits/val.txt").read_text().split()
    for method, scores in (
        ("suponly", {"miou": 60.0, "proto_miou": None}),
        ("ours", {"miou": 66.5, "proto_miou": 66.25}),
    ):
        folder = tmp_path / "demo" / method / "predictions" / "index"
        folder.mkdir(parents=True)
        (tmp_path / "demo" / method / "seconds").write_text("75\n")
        (tmp_path / "demo" / method / "scores.json").write_text(json.dumps(scores))
        for name in names:
            truth = np.asarray(Image.open(tmp_path / f"data/SegmentationClassAug/{name}.png"))
            said = np.where(truth == 255, 0, truth) if method == "ours" else np.zeros_like(truth)
            image = Image.fromarray(said.astype(np.uint8), "P")
            image.putpalette(PALETTE)
            image.save(folder / f"{name}.png")
    return tmp_path


def test_table_results_and_picture(demo):
    command = [sys.executable, str(TOOL), str(demo / "demo"), str(demo / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "ours is +6.50 mIoU points above suponly on the same labelled images"
    assert lines[-3].split() == ["suponly", "60.00", "-", "1", "min", "15", "s"]
    assert lines[-2].split() == ["ours", "66.50", "66.25", "1", "min", "15", "s"]
    results = json.loads((demo / "demo/results.json").read_text())
    assert results["suponly"]["miou"] == 60
    assert (results["ours"]["miou"], results["ours"]["proto_miou"]) == (66.5, 66.25)
    with Image.open(demo / "demo/demo.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    width = pixels.shape[1] // 4
    truth, suponly, ours = (pixels[40:, k * width : (k + 1) * width] for k in (1, 2, 3))
    assert not np.array_equal(truth, suponly)
    agree = (truth == ours).all(2).mean()
    assert agree > 0.75  # all but the void borders


def test_a_run_that_is_not_there_is_one_line(demo):
    (demo / "demo/ours/seconds").unlink()
    done = subprocess.run(
        [sys.executable, str(TOOL), str(demo / "demo"), str(demo / "data")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "ours/seconds: cannot be read" in done.stderr
    assert done.stderr.count("\n") == 1
