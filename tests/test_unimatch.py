"""UniMatch beside FixMatch (test_fixmatch.py): two views, dropped channels, weights; steps: test_parity_unimatch.py."""

import numpy as np
from tiny import Trainee, context_for, step_batch

BOXES = "trainer.weak_to_strong.box_prob=1"


def method_of(*overrides):
    return Trainee("unimatch", context_for("unimatch", "trainer.sup_only_epoch=0", *overrides)).method


def test_the_views_of_an_image_and_the_images_have_boxes_of_their_own():
    boxes = method_of(BOXES).inputs(1, step_batch(1)).box.asnumpy()
    assert len({box.tobytes() for box in boxes}) == len(boxes) == 4


def test_whole_channels_are_dropped_from_both_maps_in_their_share():
    masks = [mask.asnumpy() for mask in method_of().inputs(0, step_batch(0)).channels]
    first, *_, last = method_of().student.encoder.out_planes
    assert [mask.shape for mask in masks] == [(4, first, 1, 1), (4, last, 1, 1)]
    assert {*np.unique(np.concatenate([mask.ravel() for mask in masks]))} == {0, 2}
    assert abs((masks[1] > 0).mean() - 0.5) < 0.15
    assert len({image.tobytes() for image in masks[1]}) == 4


def test_the_weights_are_the_published_ones_and_follow_their_keys():
    published = {"sup": 0.5, "unsup_1": 0.125, "unsup_2": 0.125, "unsup_feature": 0.25, "mask_ratio": 0}
    assert method_of().semi_objective().weights == published
    keys = "trainer.weak_to_strong={strong_loss_weight: 0.8, feature_loss_weight: 0.2}"
    weights = method_of(keys, "trainer.unsupervised.loss_weight=2").semi_objective().weights
    assert weights == {"sup": 0.5, "unsup_1": 0.4, "unsup_2": 0.4, "unsup_feature": 0.2, "mask_ratio": 0}


def test_other_shares_of_channels_are_scaled_to_keep_their_mean():
    masks = method_of("trainer.weak_to_strong.feature_dropout=0.2").inputs(0, step_batch(0)).channels
    values = np.concatenate([mask.asnumpy().ravel() for mask in masks])
    assert set(values.tolist()) == {0.0, 1.25}
    assert abs((values > 0).mean() - 0.8) < 0.1
