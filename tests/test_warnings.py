"""What is said of runs that may be worth little."""

from pathlib import Path

import pytest
from tiny import config_of

from semiseg.config import flatten
from semiseg.config.unread import unread_in
from semiseg.data.specs import get_spec
from semiseg.data.warnings import (
    few_images_warning,
    few_ranks_warning,
    labels_alone_warning,
    lost_by_unlabeled,
    not_learnt_warning,
    random_weights_warning,
)


def test_without_pretrained_weights_only_published_data_sets_are_warned_of():
    pascal, synthetic = (get_spec(name) for name in ("pascal", "synthetic"))
    assert "stay far below every published table of pascal" in random_weights_warning(pascal, None)
    assert random_weights_warning(pascal, Path("resnet101.pth")) == ""
    assert random_weights_warning(synthetic, None) == ""


def test_few_images_behind_image_pooling_are_warned_of_unless_no_batchnorm_is_there():
    assert few_images_warning(4, pool_norm=True) == few_images_warning(2, pool_norm=False) == ""
    assert "each channel by 2 numbers" in few_images_warning(2, pool_norm=True)


def test_a_method_that_never_gets_to_unlabelled_images_is_warned_of():
    assert labels_alone_warning(epochs=3, sup_only_epoch=2) == ""
    assert labels_alone_warning(3, 3).startswith(
        "no step learns from unlabelled images: trainer.sup_only_epoch is 3, of 3"
    )


def test_a_score_that_fell_after_the_supervised_phase_is_said_with_what_to_try():
    values = {"trainer.unsupervised.targets": "hard"}
    assert lost_by_unlabeled(60.0, 60.0, values, ()) == lost_by_unlabeled(60.0, 61.0, values, ()) == ""
    said = lost_by_unlabeled(60.6, 56.9, values, ())
    assert said.startswith(
        "unlabelled images made it worse: mIoU 60.60 at the end of the supervised phase, 56.90 at the end"
    )
    assert "(trainer.sup_only_epoch), a smaller trainer.unsupervised.loss_weight, trainer.unsup" in said
    assert "targets=soft or a larger trainer.unsupervised.confid_thresh;" in said


@pytest.mark.parametrize(
    ("overrides", "advised"),
    [
        (["method=mean_teacher"], (True, True)),
        (["method=mean_teacher", "trainer.unsupervised.targets=soft"], (False, False)),
        (["method=ael", "trainer.adaptive={}"], (False, False)),
        (["method=u2pl", "trainer.unsupervised.rule=confidence"], (False, True)),
    ],
)
def test_no_key_is_advised_that_the_run_does_not_read_or_has_already(overrides, advised):
    config = config_of(*overrides)
    said = lost_by_unlabeled(60.6, 56.9, flatten(config), dict(unread_in(config)))
    assert ("targets=soft" in said, "confid_thresh" in said) == advised


def test_ranks_that_no_class_has_are_warned_of():
    assert few_ranks_warning(3, 4) == ""
    warning = few_ranks_warning(3, 2)
    assert "of 2 classes none is ranked so low" in warning
    assert "trainer.contrastive.low_rank=1" in warning


def test_labelled_images_that_are_predicted_far_worse_than_most_are_named():
    right = {f"dark{i}": 0.95 + i / 1000 for i in range(16)} | {f"bright{i}": 0.2 + i / 100 for i in range(4)}
    found = not_learnt_warning(right)
    assert found.startswith("4 of 20 labelled images")
    assert "(bright0: 20% of the pixels right; half of the others: more than 96%)" in found
    assert "BatchNorm's statistics do not fit them" in found


def test_images_that_are_all_learnt_alike_or_hardly_learnt_are_no_matter_for_words():
    assert not_learnt_warning({f"{i}": 0.95 - i / 50 for i in range(15)}) == ""
    assert not_learnt_warning({f"{i}": 0.7 for i in range(15)} | {"x": 0.1}) == ""  # a hard set, or a short run
    assert not_learnt_warning({"a": 0.9, "b": 0.9, "c": 0.1}) == ""
    assert not_learnt_warning({}) == ""
