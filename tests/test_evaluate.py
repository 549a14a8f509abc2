"""Scores, reports and saved predictions, with networks that know the answer; then the command line."""

import json
import shutil
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image
from tiny import ROOT, with_prototypes

from semiseg import cli
from semiseg import evaluate as module
from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.distributed import Group
from semiseg.common.errors import CheckpointError
from semiseg.config import load
from semiseg.config.keys import EvaluationConfig, ExpectedConfig
from semiseg.data import build as data_build
from semiseg.data.specs import get_spec
from semiseg.engine import build
from semiseg.evaluate import evaluate, load_network
from semiseg.inference.evaluation import Center, center_crop, compare, report
from semiseg.metrics import ConfusionMatrix
from semiseg.models import Output

CLASSES = ("background", "cat", "dog")
SPEC = get_spec("synthetic")


class Images:
    """Three images whose first channel is the mask itself; label 255 at some places."""

    num_classes, ignore_label, center = 3, 255, Center((20, 20), 255)

    def __init__(self):
        rng = np.random.default_rng(0)
        self.masks = [rng.integers(0, 3, size).astype(np.uint8) for size in ((20, 30), (25, 20), (40, 22))]
        self.images = [np.stack([mask] * 3).astype(np.float32) for mask in self.masks]
        for mask in self.masks:
            mask[:2] = 255

    def __len__(self):
        return 3

    def __iter__(self):
        return iter([(f"id{i}", x, m) for i, (x, m) in enumerate(zip(self.images, self.masks, strict=True))])


class Oracle:
    """Says what the first channel says; the prototype head always says class 0."""

    def __call__(self, x):
        values = x.asnumpy()[:, 0]
        logits = np.stack([-np.abs(values - c) for c in range(3)], 1).astype(np.float32)
        zero = np.zeros_like(logits)
        zero[:, 0] = 1
        return Output(Tensor(logits), None, None, Tensor(zero))

    def logits(self, x):
        return self(x).pred


def test_a_network_that_knows_the_answer_scores_100():
    found = report(evaluate(Oracle(), Images(), EvaluationConfig()), CLASSES)
    assert found["miou"] == pytest.approx(100)
    assert found["pixel_accuracy"] == pytest.approx(100)
    assert sum(found["label_pixels"].values()) == sum((m != 255).sum() for m in Images().masks)
    assert list(found["iou"]) == list(CLASSES)
    labels = np.concatenate([m[m != 255] for m in Images().masks])
    assert found["proto_iou"]["background"] == pytest.approx(100 * (labels == 0).mean())
    assert found["proto_miou"] == pytest.approx(100 * (labels == 0).mean() / 3)


def test_each_prediction_is_handed_over_with_its_name():
    seen = {}
    evaluate(Oracle(), Images(), EvaluationConfig(), lambda name, prediction: seen.update({name: prediction}))
    assert list(seen) == ["id0", "id1", "id2"]
    for prediction, image in zip(seen.values(), Images().images, strict=True):
        assert prediction.dtype == np.uint8
        assert np.array_equal(prediction, image[0])


def test_logits_are_handed_over_as_the_mean_of_scales_and_mirror_images():
    once, often = {}, {}
    evaluate(Oracle(), Images(), EvaluationConfig(), on_logits=lambda name, logits, *_: once.update({name: logits}))
    mode = EvaluationConfig(scales=(1.0, 1.0), flip=True)
    evaluate(Oracle(), Images(), mode, on_logits=lambda name, logits, *_: often.update({name: logits}))
    assert list(once) == ["id0", "id1", "id2"]
    for name, image in zip(once, Images().images, strict=True):
        assert once[name] == pytest.approx(-np.abs(image[0] - np.arange(3)[:, None, None]))
        assert often[name] == pytest.approx(once[name], abs=1e-5)


def test_devices_that_share_the_images_out_count_what_one_counts():
    whole, parts = evaluate(Oracle(), Images(), EvaluationConfig()), []

    class Sharing(Group):
        """Keeps what each device would have added up."""

        def total(self, values):
            parts.append(values)
            return values

        def any(self, flag):
            return True

    for rank in (0, 1):
        images = Images()
        images.images, images.masks = images.images[rank::2], images.masks[rank::2]
        evaluate(Oracle(), images, EvaluationConfig(), group=Sharing(rank, 2))
    assert np.array_equal(parts[0] + parts[2], whole.linear.counts)
    assert np.array_equal(parts[1] + parts[3], whole.proto.counts)
    assert parts[0].dtype == np.int64


def test_the_centre_alone_is_scored_where_asked_for():
    found = evaluate(Oracle(), Images(), EvaluationConfig(mode="center"))
    masks = [center_crop(mask, (20, 20), 255) for mask in Images().masks]
    assert found.linear.counts.sum() == sum((mask != 255).sum() for mask in masks)


def test_padding_around_the_centre_is_scored_where_its_label_is_a_class():
    images = Images()
    images.center = Center((26, 34), 0)
    found = evaluate(Oracle(), images, EvaluationConfig(mode="center"))
    added = sum(26 * 34 - min(26, h) * min(34, w) for h, w in (mask.shape for mask in images.masks))
    images.center = Center((26, 34), 255)
    without = evaluate(Oracle(), images, EvaluationConfig(mode="center"))
    assert found.linear.counts.sum() - without.linear.counts.sum() == added > 0
    assert found.linear.counts[0, 0] - without.linear.counts[0, 0] == added  # the image is padded with 0: class 0


def test_the_sliding_window_leaves_the_prototype_head_out():
    found = evaluate(Oracle(), Images(), EvaluationConfig(mode="slide", crop_size=(17, 17)))
    assert found.proto is None
    assert found.summary() == {"miou": pytest.approx(100), "iou": [pytest.approx(100)] * 3}
    assert report(found, CLASSES)["proto_miou"] is None


@pytest.mark.parametrize("size", [(4, 4), (9, 3), (5, 7), (12, 12)])
def test_centre_crops_pad_small_images_evenly(size):
    array = np.arange(5 * 7).reshape(5, 7)
    found = center_crop(array, size, 255)
    assert found.shape == size
    kept = found[found != 255]
    assert len(kept) == min(size[0], 5) * min(size[1], 7)
    top, left = max(0, (5 - size[0]) // 2), max(0, (7 - size[1]) // 2)
    above, before = max(0, size[0] - 5) // 2, max(0, size[1] - 7) // 2
    assert found[above, before] == array[top, left]
    assert (found[:above] == 255).all()
    assert (found[:, :before] == 255).all()


def test_scores_are_set_beside_the_published_ones():
    lines = compare({"miou": 70.7, "proto_miou": 71.0}, ExpectedConfig(miou=70.78, proto_miou=75.0))
    assert lines == [
        "linear head: measured 70.70, published 70.78, -0.08 (as published)",
        "prototype head: measured 71.00, published 75.00, -4.00 (differs)",
    ]
    assert compare({"miou": 70.7, "proto_miou": None}, ExpectedConfig(proto_miou=75.0)) == []


def run(path, overrides, *options):
    return cli.run(module.main, ["--config", str(path), *options, *overrides])


def test_the_command_line_writes_table_json_and_pictures(ready, tmp_path, capsys):
    path, overrides, best = ready
    out = tmp_path / "deep/scores.json"
    assert run(path, overrides, "--json", str(out), "--save", str(tmp_path / "png")) == 0
    found = json.loads(out.read_text())
    assert list(found["iou"]) == list(SPEC.classes)
    assert found["miou"] == pytest.approx(np.mean(list(found["iou"].values())))
    assert found["proto_miou"] == pytest.approx(np.mean(list(found["proto_iou"].values())))
    assert (found["images"], found["checkpoint"]) == (3, str(best))
    assert sorted(p.name for p in (tmp_path / "png/index").iterdir()) == [f"val_00{i}.png" for i in range(3)]
    printed = capsys.readouterr().out
    assert f"checkpoint: {best}" in printed
    assert "in no mask" not in printed
    assert printed.splitlines()[-1].split() == ["mIoU", f"{found['miou']:.2f}", f"{found['proto_miou']:.2f}"]
    assert [p.name for p in out.parent.iterdir()] == ["scores.json"]
    hit, labelled, predicted = np.sum([*found["image_counts"].values()], axis=0)
    assert list(found["image_counts"]) == [f"val_00{i}" for i in range(3)]
    assert dict(zip(SPEC.classes, labelled.tolist(), strict=True)) == found["label_pixels"]
    assert 100 * np.mean(hit / (labelled + predicted - hit + 1e-10)) == pytest.approx(found["miou"])
    assert sum(line.startswith('  "val_00') for line in out.read_text().splitlines()) == 3  # a line an image
    matrix = ConfusionMatrix(6)  # a second way to the same number: from the pictures
    for i in range(3):
        truth = Image.open(load(path).dataset.data_root / f"SegmentationClassAug/val_00{i}.png")
        matrix.update(np.asarray(Image.open(tmp_path / f"png/index/val_00{i}.png")), np.asarray(truth))
    assert 100 * matrix.compute().miou == pytest.approx(found["miou"])


def test_masks_without_a_labelled_pixel_are_no_score_of_zero(ready, tmp_path, capsys):
    path, overrides, _ = ready
    root, out = tmp_path / "data", tmp_path / "scores.json"
    shutil.copytree(load(path).dataset.data_root, root)
    for mask in root.glob("SegmentationClassAug/val_*.png"):
        with Image.open(mask) as picture:
            size = picture.size
        Image.new("L", size, 255).save(mask)
    assert run(path, [*overrides, f"dataset.data_root={root}"], "--json", str(out)) == 2
    assert "no labelled pixel in 3 masks of synthetic: nothing can be scored" in capsys.readouterr().err
    assert not out.exists()


def test_outputs_that_cannot_be_written_are_refused_before_the_work(ready, tmp_path, capsys, monkeypatch):
    path, overrides, _ = ready
    monkeypatch.setattr(module, "evaluate", None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/old.png").write_text("keep")
    (tmp_path / "file").write_text("keep")
    for options, message in (
        (["--save", str(tmp_path / "full")], "holds files already"),
        (["--save", str(tmp_path / "file")], "cannot be written"),
        (["--json", str(tmp_path / "file/x.json")], "cannot be written"),
        (["--json", str(tmp_path / "full")], "is a folder"),
    ):
        assert run(path, overrides, *options) == 2
        captured = capsys.readouterr().err.splitlines()
        assert len(captured) == 1
        assert captured[0].startswith("error: ")
        assert message in captured[0]
    assert (tmp_path / "full/old.png").read_text() == (tmp_path / "file").read_text() == "keep"


def test_scores_may_lie_in_the_folder_of_the_predictions(ready, tmp_path, capsys):
    path, overrides, _ = ready
    out = tmp_path / "out"
    assert run(path, [*overrides, "net.proto_head=null"], "--save", str(out), "--json", str(out / "scores/x.json")) == 2
    capsys.readouterr()
    assert run(path, overrides, "--save", str(out), "--json", str(out / "scores/x.json")) == 0
    assert sorted(p.name for p in out.iterdir()) == ["color", "index", "scores"]
    assert json.loads((out / "scores/x.json").read_text())["images"] == 3
    assert run(path, overrides, "--save", str(out), "--json", str(tmp_path / "x.json")) == 2
    assert "holds files already" in capsys.readouterr().err


def test_the_scores_replace_earlier_scores_and_no_other_file(ready, tmp_path, capsys):
    path, overrides, best = ready
    out = tmp_path / "x.json"
    out.touch()  # as mktemp makes it: there is nothing to lose
    for _ in range(2):
        assert run(path, overrides, "--json", str(out)) == 0
    data = Path(load(path, overrides).dataset.data_root)
    mask, others_run = tmp_path / "mask.png", best.with_name("last.ckpt")
    shutil.copyfile(next(data.glob("SegmentationClassAug/*")), mask)
    shutil.copyfile(best, others_run)
    kept = tmp_path / "evaluation.json"  # as a report keeps it
    kept.write_text(json.dumps({"made_of": {}, "miou": 3.0, "iou": {}}))
    for name in (mask, others_run, kept):
        before = name.read_bytes()
        capsys.readouterr()
        assert run(path, overrides, "--json", str(name)) == 2
        error = f"error: {name}: is there already and no JSON of scores of ours; name another file with --json\n"
        assert capsys.readouterr() == ("", error)
        assert name.read_bytes() == before


def test_outputs_that_would_replace_each_other_or_an_input_are_refused_and_leave_nothing(ready, tmp_path, capsys):
    path, overrides, best = ready
    out, before = tmp_path / "out", best.read_bytes()
    for options in (
        ["--save", str(out), "--json", str(out)],
        ["--save", str(out), "--json", str(out / "index")],
        ["--save", str(out / "x.json/deep"), "--json", str(out / "x.json")],
        ["--json", str(best)],
        ["--json", str(path)],
        ["--save", str(best)],
    ):
        assert run(path, overrides, *options) == 2, options
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
        assert captured.out == ""
        assert not out.exists()
    assert best.read_bytes() == before


def test_keys_of_another_mode_are_named_as_not_read(ready, capsys):
    path, overrides, _ = ready
    unread = ["evaluation.stride_rate=0.5", "trainer.eval_mode=slide"]
    assert run(path, [*overrides, *unread]) == 0
    note = "note: evaluation.stride_rate (command line) is not read: evaluation.mode is whole, not slide"
    assert note in capsys.readouterr().out
    assert run(path, [*overrides, *unread, "evaluation.mode=slide", "evaluation.crop_size=[33, 33]"]) == 0
    assert "is not read" not in capsys.readouterr().out


def test_checkpoints_that_do_not_fit_are_refused(ready, tmp_path, capsys):
    path, overrides, best = ready
    assert run(path, [*overrides, "net.proto_head=null"]) == 2
    message = capsys.readouterr().err
    assert message.splitlines()[1].split() == ["in", "the", "file", "expected", "here"]
    assert "1 unexpected" in message
    assert "proto_net.proto_list" in message
    assert run(path, overrides, "--checkpoint", str(tmp_path / "absent.ckpt")) == 2
    assert "no such checkpoint" in capsys.readouterr().err
    content = bytearray(best.read_bytes())
    content[len(content) // 2] ^= 1
    best.write_bytes(content)
    assert run(path, overrides) == 2
    assert "damaged" in capsys.readouterr().err
    best.unlink()
    assert run(path, overrides) == 2
    assert "train first" in capsys.readouterr().err


def test_prototypes_that_training_only_began_with_are_no_head(ready, tmp_path, capsys):
    path, overrides, best = ready
    network = build.fresh_network(data_build.complete(load(path, overrides))[0], seed=3)
    checkpoint_io.save(best, checkpoint_io.network_arrays(network), {"step": 1})
    assert run(path, overrides, "--json", str(tmp_path / "scores.json")) == 0
    printed = capsys.readouterr().out
    assert f"checkpoint: {best}" in printed
    assert "without its prototype head: it is of the supervised phase" in printed
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["proto_miou"], scores["proto_iou"]) == (None, None)
    assert load_network(load(path, overrides), best).proto_net is None


def test_of_student_and_teacher_the_teacher_is_loaded(ready, tmp_path):
    path, overrides, _ = ready
    config = load(path, overrides)
    networks = {
        name: with_prototypes(build.fresh_network(data_build.complete(config)[0], seed))
        for name, seed in (("student", 1), ("teacher", 2))
    }
    state = {f"{name}.{key}": p for name, net in networks.items() for key, p in net.parameters_and_names()}
    checkpoint_io.save(tmp_path / "last.ckpt", state | {"optimizer.x": ms.Parameter(Tensor([1.0]), "x")}, {})
    found = load_network(config, tmp_path / "last.ckpt")
    assert not found.training
    for name, parameter in networks["teacher"].parameters_and_names():
        assert np.array_equal(dict(found.parameters_and_names())[name].asnumpy(), parameter.asnumpy()), name
    with pytest.raises(CheckpointError):
        load_network(config, Path(ROOT / "README.md"))
