"""Which images are drawn and measured by, from the configuration."""

import contextlib

import numpy as np
import pytest
from tiny import write_voc

from semiseg.common.errors import ConfigError, DataError
from semiseg.config import load
from semiseg.data.image_files import read_image
from semiseg.data.masks import read_mask
from semiseg.engine import build
from semiseg.engine import plan as plan_module
from semiseg.engine.plan import make_plan

AEL = ["net.proto_head=null", "trainer.adaptive={}"]
STRONG = ["net.proto_head=null", "dataset.train.strong={}", "trainer.weak_to_strong.partner=same_image"]


class Method:
    uses_unlabeled = True


def made(tiny_config, overrides, *more):
    return make_plan(load(tiny_config(), [*overrides, *more]), 1)


def test_samples_are_spread_over_the_validation_list_and_no_larger_than_a_crop(tiny_config, tiny_overrides, tiny_data):
    plan = made(tiny_config, tiny_overrides)
    samples = build._samples(plan.config, plan.spec, plan.split, 2)
    assert [sample.name for sample in samples] == ["val_000", "val_002"]
    image = read_image(tiny_data / "JPEGImages/val_002.jpg")[5:38, 9:42]  # 44 x 52, the middle 33 x 33
    assert np.array_equal(samples[1].rgb, image)
    mask = read_mask(tiny_data / "SegmentationClassAug/val_002.png", plan.spec)[5:38, 9:42]
    assert np.array_equal(samples[1].mask, mask)
    assert samples[1].image.shape == (3, 33, 33)
    assert len(build._samples(plan.config, plan.spec, plan.split, 99)) == 3


@pytest.mark.parametrize("off", ["monitor.panels=0", "monitor.tensorboard=false", "trainer.eval_on=false"])
def test_nothing_is_read_where_nothing_is_drawn(tiny_config, tiny_overrides, off, monkeypatch):
    plan = made(tiny_config, tiny_overrides, off)
    monkeypatch.setattr(build, "dataset", None)
    assert list(build.monitor(plan, Method()).pictures(1)) == []


def test_pictures_are_drawn_for_a_tracker_too(tiny_config, tiny_overrides, monkeypatch):
    monkeypatch.setattr(plan_module, "require_package", lambda name: None)
    options = ["monitor.tensorboard=false", "monitor.tracker=wandb", "monitor.panels=2"]
    plan = made(tiny_config, tiny_overrides, *options)
    assert len(build.monitor(plan, Method())._samples) == 2


def test_masks_of_unlabelled_images_are_opened_only_where_asked_for(tiny_config, tiny_overrides, tmp_path):
    plan = made(tiny_config, tiny_overrides)
    assert build.monitor(plan, Method())._truth is None
    plan = made(tiny_config, tiny_overrides, "monitor.pseudo_labels=true")
    with pytest.raises(DataError, match="6 files are missing"):  # of unlabelled images there are no masks here
        build.monitor(plan, Method())


def test_batches_with_truth_are_augmented_alike_and_depend_on_the_step(tiny_config, tiny_overrides, tmp_path):
    write_voc(tmp_path / "data", {"labeled": 2, "val": 2}, (44, 52), 6, "4")
    lists = tmp_path / "data/splits/4"
    (lists / "unlabeled.txt").write_text("labeled_001\n")
    (lists / "labeled.txt").write_text("labeled_000\n")
    data = [f"dataset.data_root={tmp_path}/data", f"dataset.splits={tmp_path}/data/splits"]
    plan = made(tiny_config, tiny_overrides, *data)
    truth = build._truth(plan)
    first, again, other = truth(3), truth(3), truth(4)
    assert first.images.shape == (2, 3, 33, 33)
    assert first.labels.shape == (2, 33, 33)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert set(first.ids) == {"labeled_001"}


def test_a_folder_of_images_has_no_masks(tiny_config, tiny_overrides, tiny_data):
    more = ["monitor.pseudo_labels=true", f"dataset.train.unlabeled_dir={tiny_data}/JPEGImages"]
    plan = made(tiny_config, tiny_overrides, *more)
    with pytest.raises(ConfigError, match="no masks"):
        build.monitor(plan, Method())


def test_events_can_be_switched_off(tiny_config, tiny_overrides, tmp_path):
    plan = made(tiny_config, tiny_overrides, "monitor.tensorboard=false")
    assert build.events(plan, 0) is None
    assert not plan.folder.exists()


@pytest.mark.parametrize(
    ("images", "sync_bn", "norm", "world", "warned"),
    [
        (4, "true", "true", 1, False),
        (2, "true", "true", 1, True),
        (2, "true", "false", 1, False),
        (2, "true", "true", 2, False),
        (2, "false", "true", 2, True),
    ],
)
def test_a_run_is_warned_of_few_images_behind_image_pooling(
    tiny_config, tiny_overrides, images, sync_bn, norm, world, warned
):
    options = [f"dataset.batch_size={images}", f"net.sync_bn={sync_bn}", f"net.decoder.kwargs.pool_norm={norm}"]
    plan = make_plan(load(tiny_config(), [*tiny_overrides, *options]), world)
    assert any("image pooling knows each channel by 2 numbers" in text for text in plan.warnings) == warned


def test_images_of_both_kinds_count_where_no_step_is_without(tiny_config, tiny_overrides):
    options = [*tiny_overrides, "dataset.batch_size=2", "trainer.sup_only_epoch=0"]
    for method, warned in (("ours", False), ("suponly", True)):
        plan = make_plan(load(tiny_config(method), options), 1)
        assert any("image pooling" in text for text in plan.warnings) == warned, method


@pytest.mark.parametrize(
    ("method", "options", "world", "refused"),
    [
        ("suponly", [], 1, True),
        ("suponly", ["trainer.sup_only_epoch=0"], 1, True),
        ("ours", ["trainer.sup_only_epoch=1"], 1, True),
        ("ours", ["trainer.sup_only_epoch=0"], 1, False),
        ("ael", [*AEL, "trainer.sup_only_epoch=0"], 1, False),
        (
            "ael",
            [*AEL, "trainer.sup_only_epoch=0", "trainer.teacher_bn=forward"],
            1,
            True,
        ),  # the teacher labels one kind
        ("fixmatch", [*STRONG, "trainer.sup_only_epoch=0"], 1, True),  # strong views go alone
        ("unimatch", [*STRONG, "trainer.sup_only_epoch=0"], 1, False),  # there are two of each
        ("suponly", ["net.decoder.kwargs.pool_norm=false"], 1, False),
        ("suponly", ["net.sync_bn=true"], 1, True),
        ("suponly", ["net.sync_bn=true"], 2, False),
        ("suponly", ["net.sync_bn=false"], 2, True),
    ],
)
def test_one_image_a_step_is_refused_where_image_pooling_has_a_batchnorm_for_it_alone(
    tiny_config, tiny_overrides, method, options, world, refused
):
    config = load(tiny_config(method), [*tiny_overrides, "dataset.batch_size=1", *options])
    expected = r"dataset\.batch_size: expected at least 2 .* got 1"
    with pytest.raises(ConfigError, match=expected) if refused else contextlib.nullcontext():
        make_plan(config, world)
