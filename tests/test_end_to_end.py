"""What a user does, as processes of their own: make data, train.sh, eval.sh; and a folder of real-sized VOC images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, TINY_NET, write_voc

from semiseg import cli, train
from semiseg.data.specs import get_spec

SMALL = [*TINY_NET, "dataset.train.crop.size=[48, 48]", "net.proto_head.select_granularity=8"]
SCHEDULE = ["trainer.epochs=2", "trainer.sup_only_epoch=1", "trainer.eval_every=2", "device=cpu"]


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """Runs a command from a foreign directory with this interpreter as the user's own environment."""
    environment = os.environ | {"SEMISEG_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def check_report(path: Path, dataset: str, images: int) -> dict:
    found = json.loads(path.read_text())
    classes = get_spec(dataset).classes
    assert tuple(found["iou"]) == classes
    assert found["miou"] == pytest.approx(np.mean([found["iou"][name] for name in classes]))
    assert 0 <= found["miou"] <= 100
    assert 0 <= found["proto_miou"] <= 100
    assert found["images"] == images
    return found


def test_synthetic_data_train_and_evaluate(tmp_path):
    data, leaf = tmp_path / "my data", ROOT / "experiments/synthetic/8/ours"
    sizes = ["--size", "64", "--unlabeled", "6", "--val", "3", "--labels", "8", "--draws", "1"]
    call(sys.executable, ROOT / "tools/make_synthetic.py", "--out", data, *sizes, cwd=tmp_path)
    where = [f"dataset.data_root={data}", f"dataset.splits={data}/splits", "saver.root=runs"]
    # The step is compiled here, as it is for users.
    done = call("bash", leaf / "train.sh", *where, *SMALL, *SCHEDULE, cwd=tmp_path)
    run = tmp_path / "runs/synthetic/8/semiseg_with_proto"
    assert "best mIoU" in done.stderr
    names = {"config.resolved.yaml", "metrics.jsonl", "log.txt", "checkpoints"}
    assert names <= {p.name for p in run.iterdir()}
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    done = call("bash", leaf / "eval.sh", "--json", "scores.json", *where, *SMALL, "device=cpu", cwd=tmp_path)
    found = check_report(tmp_path / "scores.json", "synthetic", 3)
    assert f"{found['miou']:.2f}" in done.stdout
    during = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    before, scores = (line["eval"] for line in during if "eval" in line)
    assert "proto_miou" not in before  # the end of the supervised phase: no prototypes yet
    assert scores["miou"] == pytest.approx(found["miou"])  # the evaluated network is the saved one
    assert scores["proto_miou"] == pytest.approx(found["proto_miou"])


def test_real_sized_voc_images_through_the_experiment_of_92_labels(tmp_path, monkeypatch):
    data, leaf = tmp_path / "VOC2012", ROOT / "experiments/pascal/92/ours"
    write_voc(data, {"labeled": 2, "unlabeled": 3, "val": 2}, (375, 500), 21, "92")
    changes = [
        f"dataset.data_root={data}",
        f"dataset.splits={data}/splits",
        f"saver.root={tmp_path}/runs",
        "trainer.jit=false",
        # The published ResNet-101, thin: its depth, dilations and heads as configured.
        "net.encoder.kwargs.width=4",
        "net.decoder.kwargs.inner_planes=8",
        "net.proto_head.init_samples=500",
        "dataset.train.crop.size=[65, 65]",
    ]
    monkeypatch.chdir(tmp_path)
    assert cli.run(train.main, ["--config", str(leaf / "config.yaml"), *changes, *SCHEDULE]) == 0
    options = ["--json", tmp_path / "scores.json", "--save", tmp_path / "pictures", "device=cpu"]
    done = call("bash", leaf / "eval.sh", *options, *changes, cwd=tmp_path)
    found = check_report(tmp_path / "scores.json", "pascal", 2)
    assert found["mode"] == "whole"
    assert "published 70.78" in done.stdout
    for kind in ("index", "color"):
        for index in range(2):
            with Image.open(tmp_path / f"pictures/{kind}/val_00{index}.png") as picture:
                assert picture.size == (500, 375)
    with Image.open(tmp_path / "pictures/index/val_000.png") as picture:
        assert np.asarray(picture).max() <= 20
