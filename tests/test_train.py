"""The training command line in this process: runs that stop and continue, and input that cannot work."""

import json
import os
import shutil
import signal
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image
from tiny import config_of

from semiseg import cli, train
from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import ConfigError
from semiseg.common.files import replace_file
from semiseg.config import dump, load
from semiseg.data.build import complete
from semiseg.engine import plan
from semiseg.engine.step import TrainStep
from semiseg.reporting.record import planned_steps


def run(path, overrides, *more):
    return cli.run(train.main, ["--config", str(path), *overrides, *more])


def at_step(monkeypatch, number, action):
    """Calls ``action`` in the middle of training step ``number``."""
    real = TrainStep.__call__

    def call(self, step, labeled, unlabeled):
        if step == number:
            action()
        return real(self, step, labeled, unlabeled)

    monkeypatch.setattr(TrainStep, "__call__", call)


def crash():
    raise ZeroDivisionError


def outcome(folder):
    arrays = [checkpoint_io.read(folder / "checkpoints" / name) for name in ("last.ckpt", "best.ckpt")]
    return (folder / "metrics.jsonl").read_text(), [record for _, record in arrays], [found for found, _ in arrays]


def test_a_run_in_mixed_precision_counts_skips_and_keeps_the_scale(tiny_config, tiny_overrides, tmp_path):
    more = ["trainer.amp=O1", "evaluation.amp=O2", "trainer.epochs=1", "trainer.log_every=1"]
    assert run(tiny_config(), tiny_overrides, *more) == 0
    arrays, _ = checkpoint_io.read(tmp_path / "run/checkpoints/last.ckpt")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    *_, last = (line for line in lines if "eval" not in line)
    assert (last["loss_scale"], last["overflows"]) == (arrays["amp.scale"][0], arrays["amp.skipped_steps"][0])
    assert arrays["amp.good_steps"][0] + arrays["amp.skipped_steps"][0] == last["step"]
    assert "mixed precision O1: float16" in (tmp_path / "run/log.txt").read_text()


def test_a_stopped_and_a_killed_run_end_bit_for_bit_as_an_uninterrupted_one(
    tiny_config, tiny_overrides, tmp_path, monkeypatch, capsys
):
    path = tiny_config()
    whole, parts = tmp_path / "run", tmp_path / "parts"
    tiny = [*tiny_overrides, "trainer.epochs=2", "trainer.eval_every=1"]  # 6 steps, 3 of them supervised
    assert run(path, tiny) == 0
    more = [*tiny, f"saver.main_dir={parts}"]
    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert run(path, more) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"
    with monkeypatch.context() as patch:
        at_step(patch, 5, crash)
        with pytest.raises(ZeroDivisionError):
            run(path, more)
    assert run(path, more, "dataset.workers=2") == 0  # readers change nothing
    (metrics, records, arrays), (metrics_parts, records_parts, arrays_parts) = outcome(whole), outcome(parts)
    assert metrics_parts == metrics
    assert records_parts == records
    for found, expected in zip(arrays_parts, arrays, strict=True):
        assert found.keys() == expected.keys()
        assert [name for name in found if not np.array_equal(found[name], expected[name])] == []
    log = (parts / "log.txt").read_text()
    assert "stopped after step 3" in log
    assert "continues after step 3 of 6" in log
    assert "continues after step 4 of 6" in log
    lines = [json.loads(line) for line in metrics.splitlines()]
    assert [line["step"] for line in lines if "eval" not in line] == [2, 4, 6]
    assert [(line["step"], line.get("phase")) for line in lines if "eval" in line] == [(3, "supervised"), (6, None)]
    before, after = (line["eval"]["miou"] for line in lines if "eval" in line)
    assert f"{after:.2f} at the end after {before:.2f} at the end of the supervised phase" in log.splitlines()[-1]
    assert ("WARNING: unlabelled images made it worse" in log) == (after < before)
    assert all("proto_unsup" in line for line in lines if "eval" not in line and line["step"] > 3)
    # A finished run is left alone.
    before = (whole / "checkpoints/last.ckpt").stat().st_mtime_ns
    assert run(path, tiny) == 0
    assert "this run is finished (6 steps" in capsys.readouterr().out
    assert (whole / "checkpoints/last.ckpt").stat().st_mtime_ns == before


def test_a_supervised_run_evaluates_in_its_only_phase_and_dumps_its_configuration(
    tiny_config, tiny_overrides, tmp_path
):
    path = tiny_config("suponly")
    tiny = [item for item in tiny_overrides if "proto_head" not in item]
    assert run(path, tiny, "trainer.epochs=1", "trainer.sup_only_epoch=0", "trainer.eval_every=1") == 0
    assert [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()] == [2, 3, 3]
    resolved = load(tmp_path / "run/config.resolved.yaml")
    assert (resolved.method, resolved.net.proto_head) == ("suponly", None)
    assert checkpoint_io.is_ours(tmp_path / "run/checkpoints/best.ckpt")


# Input that cannot work: one line, exit code 2, nothing written.


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(capsys, tmp_path, path, overrides, *more):
    """The one line of a refusal; checks the exit code and that no file has changed."""
    before = files(tmp_path)
    capsys.readouterr()
    assert run(path, overrides, *more) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert files(tmp_path) == before
    return lines[0]


CASES = {
    "missing data root": (["dataset.data_root=/no/such/place"], "/no/such/place: no such folder"),
    "no data root": (["dataset.data_root=null"], "dataset.data_root"),
    "missing list": (["dataset.train.data_list=/no/list.txt"], "/no/list.txt: no such list"),
    "missing split": (["dataset.split=999"], "999/labeled.txt: no such list (splits there: 4)"),
    "label count": (["dataset.n_sup=5"], "dataset.n_sup is 5, but the labelled list has 4 ids"),
    "small crop": (["dataset.train.crop.size=[16, 33]"], "dataset.train.crop.size: expected at least 17 px"),
    "unknown key": (["trainer.epoch=3"], "unknown key trainer.epoch; did you mean 'epochs'?"),
    "wrong type": (["trainer.epochs=many"], "trainer.epochs: expected a whole number, got 'many'"),
    "unknown method": (["method=our"], "unknown method 'our'; did you mean 'ours'?"),
    "unknown data set": (["dataset.type=pascla"], "did you mean 'pascal'?"),
    "other classes": (["net.num_classes=21"], "net.num_classes: synthetic has 6 classes, got 21"),
    "one image alone": (["dataset.batch_size=1"], "dataset.batch_size: expected at least 2"),
    "head without training": (["method=suponly"], "net.proto_head"),
    "device that is not there": (["device=gpu"], "device: gpu does not initialise here"),
    "missing prototypes": (["net.proto_head.init_proto_path=/no/p.npz"], "/no/p.npz"),
    "no override": (["epochs"], "expected section.key=value"),
}


def test_labelled_images_are_looked_at_when_a_run_ends(tiny_config, tiny_overrides, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "not_learnt_warning", lambda right: seen.append(right) or "some were not learnt")
    assert run(tiny_config(), tiny_overrides, "trainer.epochs=1") == 0
    (right,) = seen
    assert sorted(right) == sorted((tmp_path / "run/lists/labeled.txt").read_text().split())
    assert all(0 <= share <= 1 for share in right.values())
    lines = (tmp_path / "run/log.txt").read_text().splitlines()
    assert lines[-2].endswith("WARNING: some were not learnt")
    assert "finished: " in lines[-1]


@pytest.mark.parametrize("case", CASES)
def test_impossible_input_is_one_line_and_writes_nothing(tiny_config, tiny_overrides, tmp_path, capsys, case):
    overrides, message = CASES[case]
    assert message in refused(capsys, tmp_path, tiny_config(), tiny_overrides, *overrides)


def test_a_missing_configuration_is_one_line(tmp_path, capsys):
    assert "no such configuration file" in refused(capsys, tmp_path, tmp_path / "absent.yaml", [])


def own_data(tiny_data, tmp_path):
    root = tmp_path / "own"
    shutil.copytree(tiny_data, root)
    return root, [f"dataset.data_root={root}", f"dataset.splits={root}/splits"]


def test_a_list_that_names_a_missing_file_is_refused_at_the_start(
    tiny_config, tiny_overrides, tiny_data, tmp_path, capsys
):
    root, data = own_data(tiny_data, tmp_path)
    for part in ("JPEGImages/unlabeled_002.jpg", "SegmentationClassAug/labeled_001.png", "JPEGImages/val_000.jpg"):
        (root / part).rename(tmp_path / "aside")
        message = refused(capsys, tmp_path, tiny_config(), tiny_overrides, *data)
        assert f"{root / part}: not there, though a list names it (1 files are missing" in message
        (tmp_path / "aside").rename(root / part)


def test_overlapping_lists_are_refused(tiny_config, tiny_overrides, tiny_data, tmp_path, capsys):
    root, data = own_data(tiny_data, tmp_path)
    with (root / "splits/4/unlabeled.txt").open("a") as file:
        file.write("val_001\n")
    assert "share 1 sample: val_001" in refused(capsys, tmp_path, tiny_config(), tiny_overrides, *data)


def test_a_label_outside_the_classes_is_one_line_that_names_the_file(
    tiny_config, tiny_overrides, tiny_data, tmp_path, capsys
):
    root, data = own_data(tiny_data, tmp_path)
    for index in range(4):
        mask = root / f"SegmentationClassAug/labeled_00{index}.png"
        Image.fromarray(np.full_like(np.asarray(Image.open(mask)), 77)).save(mask)
    assert run(tiny_config(), tiny_overrides, *data) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "label values 77 are neither one of the 6 classes" in line
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.fixture
def used(tiny_config, tiny_overrides, tmp_path):
    """A run folder after one epoch of another configuration."""
    path = tiny_config()
    assert run(path, tiny_overrides, "trainer.epochs=1", "trainer.eval_on=false") == 0
    return path


def test_a_run_folder_of_another_configuration_is_refused(used, tiny_overrides, tmp_path, capsys):
    same = ["trainer.epochs=1", "trainer.eval_on=false"]
    for change, message in (
        ("trainer.seed=3", "trainer.seed was 0, now 3"),
        ("net.proto_head=null", "net.proto_head"),
        ("net.aux_loss={}", "net.aux_loss"),
        ("trainer.epochs=2", "trainer.epochs was 1, now 2"),
        ("saver.snapshot_dir=other", "saver.snapshot_dir was checkpoints, now other"),
    ):
        line = refused(capsys, tmp_path, used, tiny_overrides, *same, change)
        assert "holds a run of another configuration" in line
        assert message in line
    listed = tmp_path / "run/lists/val.txt"
    ids = listed.read_text()
    listed.write_text(ids.splitlines()[0] + "\n")  # as if the list of the data set were edited after the run's end
    assert "val.txt: this run began with 1 ids" in refused(capsys, tmp_path, used, tiny_overrides, *same)
    listed.write_text(ids)
    # What does not touch the result may change.
    assert run(used, tiny_overrides, *same, "dataset.workers=1", "saver.every=1", "trainer.log_every=1") == 0
    damaged = bytearray((tmp_path / "run/checkpoints/last.ckpt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "run/checkpoints/last.ckpt").write_bytes(damaged)
    assert "last.ckpt: damaged" in refused(capsys, tmp_path, used, tiny_overrides, *same)


@pytest.mark.parametrize("started", [False, True], ids=["fresh folder", "folder of this run"])
def test_a_published_checkpoint_is_never_overwritten(tiny_config, tiny_overrides, tmp_path, capsys, started):
    path = tiny_config()
    best = tmp_path / "run/checkpoints/best.ckpt"
    best.parent.mkdir(parents=True)
    ms.save_checkpoint([{"name": "module.x", "data": Tensor(np.ones(3, np.float32))}], str(best))
    if started:
        config, _ = complete(load(path, tiny_overrides))
        replace_file(tmp_path / "run/config.resolved.yaml", dump(config))
    line = refused(capsys, tmp_path, path, tiny_overrides)
    assert f"{best}: there is a checkpoint that this run did not write" in line
    assert "saver.name=mine" in line


def test_a_damaged_best_checkpoint_is_named_as_such_and_the_run_goes_on_without_it(
    tiny_config, tiny_overrides, tmp_path, monkeypatch, capsys
):
    path, best = tiny_config(), tmp_path / "run/checkpoints/best.ckpt"
    tiny = [*tiny_overrides, "trainer.epochs=2", "trainer.eval_every=1"]  # 6 steps, scores after 3
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert run(path, tiny) == 130
    os.truncate(best, best.stat().st_size // 2)
    line = refused(capsys, tmp_path, path, tiny)
    assert f"{best}: damaged, cut off or no checkpoint of this run; remove it or move it away" in line
    best.unlink()
    assert run(path, tiny) == 0
    assert "continues after step 5 of 6" in (tmp_path / "run/log.txt").read_text()


def test_a_run_folder_that_cannot_be_made_is_one_line(tiny_config, tiny_overrides, tmp_path, capsys):
    (tmp_path / "file").write_text("keep")
    line = refused(capsys, tmp_path, tiny_config(), tiny_overrides, f"saver.main_dir={tmp_path}/file/run")
    assert "file/run: cannot be written" in line


def test_a_method_without_its_section_is_one_line(tiny_config, tiny_overrides, tmp_path, capsys):
    for name, section in (("u2pl", "trainer.contrastive"), ("ael", "trainer.adaptive")):
        line = refused(capsys, tmp_path, tiny_config("suponly"), tiny_overrides, f"method={name}")
        assert f"{section}: method {name} needs it" in line


def test_frozen_statistics_without_weights_that_have_them_are_one_line(tiny_config, tiny_overrides, tmp_path, capsys):
    line = refused(capsys, tmp_path, tiny_config(), tiny_overrides, "net.encoder.freeze_bn=true")
    assert "net.encoder.freeze_bn: expected beside net.encoder.pretrained" in line


def test_debug_shows_where_an_error_came_from(tiny_config, tiny_overrides):
    with pytest.raises(ConfigError):
        run(tiny_config(), tiny_overrides, "method=our", "--debug")


# What may change between two starts, and what is scaled


def test_a_run_goes_on_with_its_images_divided_otherwise_but_not_with_others(
    tiny_config, tiny_overrides, tmp_path, monkeypatch, capsys
):
    path = tiny_config()
    tiny = [*tiny_overrides, "trainer.epochs=2", "trainer.eval_on=false", "trainer.log_every=1"]  # 4 steps of 4 + 4
    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert run(path, tiny, "trainer.accumulate=2") == 130
    for other in (["dataset.batch_size=3"], ["trainer.accumulate=3"]):
        line = refused(capsys, tmp_path, path, tiny, *other)
        assert "this run takes 4 labelled images a step (on 1 device(s)), now it would be" in line
    assert run(path, tiny, "dataset.batch_size=4") == 0
    told = "note: BatchNorm takes its statistics from 4 images at once from here on, from 2 until now"
    assert told in (tmp_path / "run/log.txt").read_text()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert "2 epochs of 2 steps = 4 steps" in (tmp_path / "run/log.txt").read_text()
    assert planned_steps(tmp_path / "run/log.txt") == 4  # a report reads the same line


def test_a_scaled_rate_is_the_one_that_trains(tiny_config, tiny_overrides, tmp_path, monkeypatch):
    spec = complete(load(tiny_config(), tiny_overrides))[1]
    monkeypatch.setattr(plan, "complete", lambda config: (complete(config)[0], replace(spec, published_batch=8)))
    assert run(tiny_config(), tiny_overrides, "trainer.epochs=1", "trainer.eval_on=false", "trainer.scale_lr=true") == 0
    first = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[0])
    assert first["lr"] == pytest.approx(0.05 * 2 / 8 * (1 - 1 / 3) ** 0.9)
    assert "trainer.scale_lr: lr 0.05 x 2/8 = 0.0125" in (tmp_path / "run/log.txt").read_text()
    resolved = load(tmp_path / "run/config.resolved.yaml")
    assert resolved.trainer.optimizer.kwargs.lr == 0.05  # written as configured: a continued run scales it once


@pytest.mark.parametrize(("wanted", "calls"), [("false", ["connect"]), ("true", ["deterministic", "connect"])])
def test_operators_are_made_deterministic_before_the_devices_connect(monkeypatch, wanted, calls):
    done = []
    monkeypatch.setattr(train, "be_deterministic", lambda: done.append("deterministic"))
    monkeypatch.setattr(train.distributed, "connect", lambda: done.append("connect"))
    train.prepare(config_of(f"trainer.deterministic={wanted}"))
    assert done == calls


def test_a_run_that_starts_over_and_is_killed_at_once_is_not_taken_for_the_one_before(
    tiny_config, tiny_overrides, tmp_path, monkeypatch, capsys
):
    path, tiny = tiny_config(), [*tiny_overrides, "trainer.epochs=1", "trainer.sup_only_epoch=0", "saver.every=100"]
    assert run(path, tiny) == 0
    metrics, records, _ = outcome(tmp_path / "run")
    with monkeypatch.context() as patch:
        at_step(patch, 1, crash)
        with pytest.raises(ZeroDivisionError):
            run(path, tiny, "trainer.resume=never")
    assert (tmp_path / "run/checkpoints/replaced/best.ckpt").is_file()
    assert "the run that was here lies in" in (tmp_path / "run/log.txt").read_text()
    capsys.readouterr()
    assert run(path, tiny) == 0
    assert "this run is finished" not in capsys.readouterr().out
    assert outcome(tmp_path / "run")[:2] == (metrics, records)


def test_masks_that_changed_are_warned_of_and_the_best_is_chosen_anew(
    tiny_config, tiny_overrides, tiny_data, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "copy"
    shutil.copytree(tiny_data, root)
    tiny = [*tiny_overrides, "trainer.sup_only_epoch=0", "trainer.eval_every=1", f"dataset.data_root={root}"]
    path = tiny_config()
    assert run(path, tiny, "trainer.epochs=1") == 0
    for mask in root.glob("SegmentationClassAug/val_*.png"):
        with Image.open(mask) as picture:
            turned = Image.fromarray(np.asarray(picture)[::-1].copy())
        turned.save(mask)
    capsys.readouterr()
    assert run(path, tiny, "trainer.epochs=1") == 0
    assert "WARNING: 3 of 3 val masks changed since this run began; it stays as it is" in capsys.readouterr().out
    longer = (*tiny, "trainer.epochs=2", "trainer.resume=extend")
    before = outcome(tmp_path / "run")[1][0]["best"]
    assert before > 0
    kept = (tmp_path / "run/checkpoints/best.ckpt").read_bytes()
    with monkeypatch.context() as patch:
        at_step(patch, 3, crash)  # before anything else is saved
        with pytest.raises(ZeroDivisionError):
            run(path, longer, "saver.every=100")
    assert run(path, longer) == 0
    log = (tmp_path / "run/log.txt").read_text()
    assert "WARNING: 3 of 3 val masks changed since this run began: scores before and after" in log
    assert (
        tmp_path / "run/checkpoints/best_of_old_masks.ckpt"
    ).read_bytes() == kept  # or of other data of the same ids
    metrics, records, _ = outcome(tmp_path / "run")
    scores = [line["eval"]["miou"] for line in map(json.loads, metrics.splitlines()) if "eval" in line]
    assert records[0]["best"] == scores[-1]
    assert log.splitlines()[-1].partition("best mIoU ")[2].startswith(f"{scores[-1]:.2f} at step 6")
    assert run(path, longer) == 0
    assert (tmp_path / "run/log.txt").read_text() == log  # said once
