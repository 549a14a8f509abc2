"""FixMatch and UniMatch: what is pasted from where, boxes, padding, weights, and what they refuse.

Whole steps are compared with a twin in test_parity_unimatch.py, exact resume in test_methods.py.
"""

import dataclasses

import numpy as np
import pytest
from mindspore import Tensor
from scipy.special import log_softmax, softmax
from tiny import CROP, Trainee, batch_of, config_of, context_for, step_batch

from semiseg.common.errors import ConfigError
from semiseg.common.rng import generator
from semiseg.config.keys import TrainerConfig, WeakToStrongConfig
from semiseg.config.rules import validate
from semiseg.methods import get_method
from semiseg.methods.context import StepBatch
from semiseg.methods.fixmatch import strong_box
from semiseg.methods.sampling import BatchSlice
from semiseg.models.interpolate import resize

NAMES = ("fixmatch", "unimatch")
NOW = "trainer.sup_only_epoch=0"
BOXES = "trainer.weak_to_strong.box_prob=1"


def method_of(name, *overrides, **options):
    return Trainee(name, context_for(name, NOW, *overrides, **options)).method


def test_boxes_have_the_drawn_shares_ratios_and_places_inside_the_crop():
    height, width, cfg = 200, 300, WeakToStrongConfig()
    boxes = np.array([strong_box(height, width, cfg, generator(seed, "box")) for seed in range(2000)])
    drawn = boxes[boxes[:, 2] > 0]
    assert abs(len(drawn) / 2000 - 0.5) < 0.04
    top, left, tall, wide = drawn.T
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()
    share, ratio = tall * wide / height / width, tall / wide
    assert 0.018 < share.min() < 0.03
    assert 0.36 < share.max() <= 0.4
    assert abs(share.mean() - 0.21) < 0.01
    assert 0.29 < ratio.min() < 0.35
    assert 2.2 < ratio.max() < 3.5  # sides are whole pixels
    assert top.min() == left.min() == 0
    assert (top + tall).max() == height


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_in_a_box_comes_from_the_partner_and_the_rest_stays(name):
    for partner in ("other_image", "same_image"):
        method = method_of(name, BOXES, f"trainer.weak_to_strong.partner={partner}")
        batch = step_batch(1)
        inputs = method.inputs(1, batch)
        views = inputs.image_s.asnumpy().reshape(-1, 2, 3, *CROP)
        assert len(views) == method.strong_views
        other = batch.unlabeled.again.strong if partner == "same_image" else batch.unlabeled.strong[::-1]
        for view, image in enumerate(views):
            box = inputs.box.asnumpy().reshape(-1, 2, *CROP)[view]
            assert 0 < box.mean() < 1
            expected = np.where(box[:, None], other[:, view], batch.unlabeled.strong[:, view])
            np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(inputs.image_u.asnumpy(), batch.unlabeled.images)


def test_boxes_do_not_depend_on_how_a_step_is_divided():
    method = method_of("unimatch", BOXES, "trainer.weak_to_strong.partner=same_image")
    whole = method._boxes(3, step_batch(3, 2))
    for place in range(2):
        unlabeled = batch_of(3, "unlabeled", 2).part(place, 2)
        batch = StepBatch(batch_of(3, "labeled", 2).part(place, 2), unlabeled, BatchSlice(place, 1, 2))
        np.testing.assert_array_equal(method._boxes(3, batch)[:, 0], whole[:, place])


@pytest.mark.parametrize("name", NAMES)
def test_the_partner_is_labelled_in_evaluation_mode_and_moves_no_statistics(name):
    method = method_of(name)
    before = {n: p.asnumpy().copy() for n, p in method.student.parameters_and_names()}
    said = method.inputs(0, step_batch(0)).partner_label.asnumpy()
    assert method.student.training
    assert all(np.array_equal(before[n], p.asnumpy()) for n, p in method.student.parameters_and_names())
    label, _ = method.pseudo_labels(0, method.inputs(0, step_batch(0)).image_u)
    np.testing.assert_array_equal(said, label.asnumpy()[::-1])


@pytest.mark.parametrize("name", NAMES)
def test_padding_has_no_part_in_any_unlabelled_term(name):
    terms = []
    for value in (0.0, 50.0):
        context = dataclasses.replace(context_for(name, NOW, "trainer.unsupervised.confid_thresh=0"), mask_padding=True)
        trainee = Trainee(name, context)
        inside = np.ones((2, *CROP), bool)
        inside[:, :12] = False
        unlabeled = batch_of(0, "unlabeled")._replace(inside=inside)
        taken = trainee.method.inputs(0, StepBatch(batch_of(0, "labeled"), unlabeled, BatchSlice(0, 2, 2)))
        assert not taken.inside_u.asnumpy()[:, :12].any()
        logits = np.zeros((2, 3, *CROP), np.float32)
        logits[:, 1, :12] = value
        label, score = Tensor(np.zeros((2, *CROP), np.int32)), Tensor(np.ones((2, *CROP), np.float32))
        terms.append(float(trainee.method.confident_loss(Tensor(logits), label, score, Tensor(inside))))
        assert trainee.step(0, batch_of(0, "labeled"), unlabeled).terms["mask_ratio"] == 1
    assert terms[0] == terms[1] == pytest.approx(np.log(3), rel=1e-5)


def test_confident_pixels_weigh_as_their_classes_do():
    trainee = Trainee("fixmatch", context_for("fixmatch", NOW, "criterion.class_balance=1"))
    trainee.method.enter_step(0)
    weights = trainee.method.class_weights.asnumpy()
    assert len(set(weights.tolist())) == 3
    label = np.array([[[0, 1, 2, 2]]], np.int32)
    score = np.array([[[0.99, 0.96, 0.99, 0.3]]], np.float32)  # the last one is not confident
    logits = np.random.default_rng(0).normal(size=(1, 3, 1, 4)).astype(np.float32)
    found = trainee.method.confident_loss(*map(Tensor, (logits, label, score, np.ones((1, 1, 4), bool))))
    each = -log_softmax(logits[0, :, 0], 0)[label[0, 0], range(4)] * weights[label[0, 0]]
    assert float(found) == pytest.approx(each[:3].sum() / 4, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_monitor_is_told_what_the_network_says_in_evaluation_mode(name):
    method, images = method_of(name, "trainer.unsupervised.confid_thresh=0.36"), Tensor(batch_of(0, "unlabeled").images)
    inside = np.ones((2, *CROP), bool)
    inside[:, :5] = False
    label, counts = (x.asnumpy() for x in method.pseudo_labels(0, images, inside))
    method.student.set_train(False)
    probability = softmax(resize(method.student.logits(images), CROP).asnumpy(), 1)
    assert (label[:, 5:] == probability.argmax(1)[:, 5:]).all()
    assert (label[:, :5] == 255).all()
    confident = probability.max(1) >= 0.36
    assert 0.05 < confident.mean() < 0.95
    assert (counts == (confident & inside)).all()
    assert method_of(name, "trainer.sup_only_epoch=1").pseudo_labels(0, images) is None


def test_terms_are_means_over_the_pixels_that_are_no_padding():
    context = dataclasses.replace(context_for("fixmatch", NOW), mask_padding=True)
    inside = np.ones((2, *CROP), bool)
    inside[0, :7] = False
    taken = Trainee("fixmatch", context).method
    parts = StepBatch(batch_of(0, "labeled"), batch_of(0, "unlabeled")._replace(inside=inside), BatchSlice(0, 2, 2))
    inputs = taken.inputs(0, parts)
    counts = {name: float(value) for name, value in taken.semi_objective().counts(inputs).items()}
    assert counts["mask_ratio"] == inside.sum()
    assert counts["unsup"] == inputs.inside_s.asnumpy().sum()
    assert counts["sup"] == (parts.labeled.labels < 3).sum()


def test_the_smallest_pass_in_training_mode_sees_a_strong_view_of_each_image():
    assert [get_method(name, False).kinds_in_smallest_pass(TrainerConfig()) for name in NAMES] == [1, 2]


def test_the_weights_are_the_published_ones_and_follow_their_key():
    assert method_of("fixmatch").semi_objective().weights == {"sup": 0.5, "unsup": 0.5, "mask_ratio": 0}
    weights = method_of("fixmatch", "trainer.unsupervised.loss_weight=0.4").semi_objective().weights
    assert weights == {"sup": 0.5, "unsup": 0.2, "mask_ratio": 0}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["dataset.train.strong=null"], {}, "dataset.train.strong: method .* needs strong views"),
        (["trainer.teacher_bn=forward"], {}, "trainer.teacher_bn"),
        ([], {"batch": 1}, "trainer.weak_to_strong.partner: other_image needs a second unlabelled image"),
        (["net.proto_head={}"], {}, "net.proto_head"),
    ],
    ids=["no views", "teacher", "one image", "prototypes"],
)
def test_what_cannot_work_is_refused_in_one_line(name, overrides, options, message):
    with pytest.raises(ConfigError, match=message) as error:
        method_of(name, *overrides, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_one_unlabelled_image_a_step_trains_with_itself_as_partner(name):
    trainee = Trainee(name, context_for(name, NOW, "trainer.weak_to_strong.partner=same_image", batch=1))
    (result,) = trainee.run(0, 1)
    assert np.isfinite(result.loss)


@pytest.mark.parametrize("name", ["fixmatch", "unimatch"])
def test_where_a_teacher_would_begin_is_no_matter_for_the_average_that_is_scored(name):
    keys = ["trainer.sup_only_epoch=2", "net.ema_decay=0"]
    trainee = Trainee(name, context_for(name, *keys, "trainer.teacher_start=semi_phase"))
    trainee.run(0, 2)
    scored = trainee.method.evaluated(2).network
    for (key, averaged), own in zip(
        scored.parameters_and_names(), trainee.method.student.get_parameters(), strict=True
    ):
        assert np.array_equal(averaged.asnumpy(), own.asnumpy()), key


@pytest.mark.parametrize("name", ["mean_teacher", "ours", "u2pl", "ael"])
def test_the_student_sees_the_strong_view_and_the_teacher_the_weak_one(name):
    plain, strong = (method_of(name, *extra) for extra in ([], ["dataset.train.strong={}"]))
    batch = step_batch(2)
    before, after = plain.student_view(2, batch), strong.student_view(2, batch)
    np.testing.assert_array_equal(before.label_u.asnumpy(), after.label_u.asnumpy())
    np.testing.assert_array_equal(before.score_u.asnumpy(), after.score_u.asnumpy())
    np.testing.assert_array_equal(before.image_u.asnumpy(), after.weak_u.asnumpy())
    distorted = np.abs(after.image_u.asnumpy() - after.weak_u.asnumpy())
    assert 0.2 < distorted.mean() < 0.7  # half a standard deviation of noise, mixed as the weak one is
    with pytest.raises(ConfigError, match=r"trainer.teacher_bn: with forward"):
        method_of(name, "dataset.train.strong={}", "trainer.teacher_bn=forward")


@pytest.mark.parametrize(
    ("written", "key"),
    [("box_area: [0.5, 1.5]", "box_area"), ("box_area: [0.9, 0.9], box_ratio: [2, 3]", "box_ratio")],
    ids=["larger than the crop", "too long for the crop"],
)
def test_boxes_that_fit_nowhere_are_refused(written, key):
    with pytest.raises(ConfigError, match=f"trainer.weak_to_strong.{key}: expected"):
        validate(config_of(f"trainer.weak_to_strong={{{written}}}"))
