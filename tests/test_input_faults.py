"""What can be wrong with the images of a run: each is refused with its reason, or works and is told."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from semiseg import cli, train
from semiseg.checkpoints import io as checkpoint_io
from semiseg.engine.step import TrainStep

SMALL = ["trainer.epochs=2", "trainer.eval_every=1", "trainer.log_every=1"]  # 6 steps, the first 3 supervised


@pytest.fixture
def own(tiny_data, tmp_path):
    """(folder of a copy of the tiny data, overrides that name it)."""
    root = tmp_path / "own"
    shutil.copytree(tiny_data, root)
    return root, [f"dataset.data_root={root}", f"dataset.splits={root}/splits"]


@pytest.fixture
def start(tiny_config, tiny_overrides, own, tmp_path):
    """Runs the command line on ``own`` in a folder; (exit code, its log)."""

    def run(*more, method="ours", folder="run"):
        tiny = [item for item in tiny_overrides if method == "ours" or "proto_head" not in item]
        options = [*tiny, *own[1], *SMALL, f"saver.main_dir={tmp_path / folder}", *more]
        code = cli.run(train.main, ["--config", str(tiny_config(method)), *options])
        log = tmp_path / folder / "log.txt"
        return code, log.read_text() if log.is_file() else ""

    return run


def at_step(monkeypatch, number, action):
    """Calls ``action`` in the middle of training step ``number``."""
    real = TrainStep.__call__

    def call(self, step, labeled, unlabeled):
        if step == number:
            action()
        return real(self, step, labeled, unlabeled)

    monkeypatch.setattr(TrainStep, "__call__", call)


def cut_off(*paths):
    """The files end early."""
    for path in paths:
        path.write_bytes(path.read_bytes()[:200])


def unlabelled(root):
    return [root / f"JPEGImages/unlabeled_{index:03}.jpg" for index in range(6)]


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_an_image_that_breaks_in_the_middle_stops_the_run_by_name(start, own, tmp_path, monkeypatch, capsys):
    whole = start(folder="whole")
    broken = unlabelled(own[0])
    kept = [path.read_bytes() for path in broken]
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: cut_off(*broken))
        code, _ = start("saver.every=1")
    line = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert line.startswith(f"error: {own[0]}/JPEGImages/unlabeled_")
    assert "not a complete, readable image" in line
    assert checkpoint_io.read(tmp_path / "run/checkpoints/last.ckpt")[1]["step"] in (3, 4)  # whole, and it goes on:
    for path, content in zip(broken, kept, strict=True):
        path.write_bytes(content)
    assert (whole[0], start("saver.every=1")[0]) == (0, 0)
    arrays = [checkpoint_io.read(tmp_path / name / "checkpoints/last.ckpt")[0] for name in ("whole", "run")]
    assert [name for name in arrays[0] if not np.array_equal(arrays[0][name], arrays[1][name])] == []


def test_with_skip_it_is_named_replaced_and_counted_also_across_a_stop(start, own, tmp_path, monkeypatch):
    broken = unlabelled(own[0])[0]
    broken.write_bytes(b"no image")
    assert start("dataset.on_error=skip")[0] == 0
    log = (tmp_path / "run/log.txt").read_text()
    assert f"skipped an image: {broken}: not a complete, readable image" in log
    skipped = records(tmp_path / "run")[-2]["skipped"]
    assert skipped == 2  # one pass of three steps is supervised but drawn all the same
    assert f"{skipped} times an unreadable image was skipped" in log.splitlines()[-1]

    def crash():
        raise ZeroDivisionError

    for step in (2, 4):
        with monkeypatch.context() as patch:
            at_step(patch, step, crash)
            with pytest.raises(ZeroDivisionError):
                start("dataset.on_error=skip", "saver.every=1", folder="parts")
    assert start("dataset.on_error=skip", "saver.every=1", folder="parts")[0] == 0
    assert records(tmp_path / "parts") == records(tmp_path / "run")
    arrays = [checkpoint_io.read(tmp_path / name / "checkpoints/last.ckpt")[0] for name in ("run", "parts")]
    assert [name for name in arrays[0] if not np.array_equal(arrays[0][name], arrays[1][name])] == []


def test_files_that_are_missing_from_the_start_are_skipped_only_if_asked_for(start, own, capsys):
    for path in (unlabelled(own[0])[1], own[0] / "SegmentationClassAug/labeled_001.png"):
        path.unlink()
    assert start()[0] == 2
    assert "not there, though a list names it" in capsys.readouterr().err
    code, log = start("dataset.on_error=skip")
    assert code == 0
    assert "labeled_001.png: not there" in log
    assert "unlabeled_001.jpg: no such image" in log


def test_without_any_readable_image_skip_is_no_way_out(start, own, capsys):
    for path in unlabelled(own[0]):
        path.write_bytes(b"no image")
    assert start("dataset.on_error=skip", "trainer.sup_only_epoch=0")[0] == 2
    assert "none of 6 images can be read; the first:" in capsys.readouterr().err.splitlines()[-1]


def test_a_validation_image_that_breaks_is_named_and_left_out_only_if_asked_for(start, own, capsys):
    (own[0] / "JPEGImages/val_001.jpg").write_bytes(b"no image")
    assert start()[0] == 2
    assert f"{own[0]}/JPEGImages/val_001.jpg: not a complete, readable image" in capsys.readouterr().err
    code, log = start("dataset.on_error=skip", folder="other")
    assert code == 0
    assert "1 unreadable images left out" in log


def test_no_unlabelled_image_is_refused_where_they_are_needed(start, own, capsys, tmp_path):
    (own[0] / "splits/4/unlabeled.txt").write_text("\n")
    assert start()[0] == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "method ours learns from unlabelled images, and there is none" in line
    assert "method=suponly trains on these alone" in line
    assert not (tmp_path / "run").exists()
    code, log = start(method="suponly")
    assert code == 0
    assert "4 labelled, 0 unlabelled" in log
    assert "2 epochs of 2 steps = 4 steps" in log  # an epoch is a pass over the labelled ones


def test_one_unlabelled_image_and_batches_larger_than_the_data_set_work(start, own):
    (own[0] / "splits/4/unlabeled.txt").write_text("unlabeled_003\n")
    code, log = start("dataset.batch_size=5")
    assert code == 0
    assert "2 epochs of 1 steps = 2 steps" in log


def test_a_class_that_never_appears_works_and_is_named(start, own):
    for index in range(4):
        path = own[0] / f"SegmentationClassAug/labeled_{index:03}.png"
        mask = np.array(Image.open(path))
        mask[mask == 5] = 0
        Image.fromarray(mask).save(path)
    code, log = start()
    assert code == 0
    assert "prototypes of class 5: no labelled pixel; small random vectors stand in" in log


def test_labels_that_are_all_ignored_work(start, own):
    for index in range(4):
        path = own[0] / f"SegmentationClassAug/labeled_{index:03}.png"
        Image.fromarray(np.full_like(np.array(Image.open(path)), 255)).save(path)
    code, log = start("criterion={type: ohem, kwargs: {thresh: 0.7, min_kept: 100}}")
    assert code == 0
    assert "prototypes by k-means on 0 labelled pixels" in log


def test_no_confident_pixel_works(start, tmp_path):
    assert start("trainer.unsupervised={targets: hard, confid_thresh: 1.0, normalize: confident}")[0] == 0
    last = [record for record in records(tmp_path / "run") if "eval" not in record][-1]
    assert (last["mask_ratio"], last["unsup"], last["proto_unsup"]) == (0, 0, 0)
    assert np.isfinite(last["loss"])


def test_a_loss_that_is_not_finite_stops_with_step_term_and_images(start, tmp_path, monkeypatch, capsys):
    real = TrainStep.__call__

    def call(self, step, labeled, unlabeled):
        if step == 4:
            unlabeled.images[1] = np.inf
        return real(self, step, labeled, unlabeled)

    monkeypatch.setattr(TrainStep, "__call__", call)
    assert start("saver.every=1", "trainer.unsupervised.confid_thresh=0")[0] == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: step 4: ")
    assert "no weight was changed and last.ckpt stands" in line
    assert line.count("unlabeled_") == 2
    arrays, record = checkpoint_io.read(tmp_path / "run/checkpoints/last.ckpt")
    assert record["step"] == 4
    assert all(np.isfinite(array).all() for array in arrays.values())
