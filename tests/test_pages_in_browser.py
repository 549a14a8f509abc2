"""Our pages in a real browser, by keyboard and by axe-core: tests/browser/check.mjs on small ones of each kind."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT

from semiseg.data.specs import get_spec
from semiseg.data.transforms import MEAN, STD, normalize
from semiseg.reporting.gallery import Gallery
from semiseg.reporting.page import render_report
from semiseg.reporting.prototypes import Nearest, class_groups, render_class, render_prototypes
from semiseg.reporting.record import RunRecord

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FOLDER = ROOT / "tests/browser"
CAN_RUN = BROWSER and shutil.which("node") and (FOLDER / "node_modules/playwright-core").is_dir()
SPEC = get_spec("synthetic")


def a_run(name, log_every, running=False):
    """A run of 90 steps, scored on two images, that logs curves of both heads."""
    points = [{"step": step, "loss": 5 / step, "proto_counts": [step] * 12} for step in range(log_every, 91, log_every)]
    scores = [{"step": step, "eval": {"miou": 1.0 * step, "iou": [step] * 6, "proto_miou": 2.0}} for step in (30, 60)]
    rng, gallery = np.random.default_rng(0), Gallery(SPEC, MEAN, STD, keep=1)
    for index in range(2):
        image, mask = rng.integers(0, 256, (30, 40, 3), np.uint8), np.full((30, 40), index, np.uint8)
        gallery.add(f"image {index}", rng.normal(size=(6, 30, 40)).astype(np.float32), mask, normalize(image))
    worst, best = gallery.rows()
    iou = dict(zip(SPEC.classes, rng.uniform(0, 100, 6).tolist(), strict=True))
    found = {"miou": 50.0, "iou": iou, "proto_miou": 51.0, "proto_iou": iou, "worst": worst, "best": best}
    found |= {
        "confusion": rng.integers(0, 99, (6, 6)).tolist(),
        "images": 2,
        "mode": "whole",
        "checkpoint": "best.ckpt",
    }
    flat = {"method": "ours", "trainer.seed": log_every, "saver.main_dir": f"ckpt/{'long_name_' * 9}"}
    return RunRecord(name, Path(name), SPEC, flat, points, scores, {"labeled": 4}, found, "", 100, running)


def pages(folder):
    """A page of each kind."""
    runs = [a_run("<first & best>", 10), a_run("second", 15, running=True)]
    rng, nearest = np.random.default_rng(0), Nearest(12, keep=2, patch=8)
    pixels = np.stack(np.meshgrid(range(6), range(8), indexing="ij"), -1).reshape(-1, 2)
    for name in ("x", "y"):
        image, mask = rng.integers(0, 256, (6, 8, 3), np.uint8), rng.integers(0, 6, (6, 8)).astype(np.uint8)
        nearest.add(name, image, mask, pixels, rng.uniform(-1, 1, (48, 12)))
    looked = nearest, (rng.normal(size=(60, 8)), rng.integers(0, 6, 60)), rng.normal(size=(12, 8))
    written = {
        "report.html": render_report(runs, "2026-01-02 03:04:05", watch=1),
        "prototypes.html": render_prototypes("Prototypes", SPEC, *looked),
        "class.html": render_class("Prototypes", class_groups(SPEC, nearest), 1, "prototypes.html"),
    }
    for name, source in written.items():
        (folder / name).write_text(source)
    return [folder / name for name in written]


@pytest.mark.skipif(not CAN_RUN, reason="needs Chromium, node and: npm ci --prefix tests/browser")
def test_pages_work_by_keyboard_on_every_screen_and_an_accessibility_checker_finds_nothing(tmp_path):
    command = ["node", str(FOLDER / "check.mjs"), "--browser", BROWSER, *map(str, pages(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.stdout == "3 pages, no problem\n", done.stderr
    assert done.returncode == 0


def test_the_versions_of_what_the_browser_check_needs_are_fixed():
    wanted = json.loads((FOLDER / "package.json").read_text())["devDependencies"]
    locked = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    assert set(wanted) == {"axe-core", "playwright-core"}
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
