"""Pseudo-labels: the teacher's argmax, its confidence or entropy, and which pixels count."""

import numpy as np
import pytest
from mindspore import Tensor
from teaching import MixingTeacher, images, reliable, softmax, teacher_scores
from tiny import context_of

from semiseg.methods.pseudo_labels import (
    BLANK,
    blanked,
    confidence_of,
    entropy_of,
    entropy_percentile,
    labels_and_scores,
    reliable_pixels,
)


def test_confidence_and_entropy_are_those_of_the_softmax():
    logits = np.random.default_rng(0).normal(0, 4, (2, 5, 3, 4)).astype(np.float32)
    probability = softmax(logits)
    np.testing.assert_allclose(confidence_of(Tensor(logits)).asnumpy(), probability.max(1), rtol=1e-5)
    expected = -(probability * np.log(probability + 1e-10)).sum(1)
    np.testing.assert_allclose(entropy_of(Tensor(logits)).asnumpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("rule", "score_of"), [("confidence", confidence_of), ("entropy", entropy_of)])
def test_the_rule_decides_what_labels_are_judged_by(rule, score_of):
    logits = Tensor(np.random.default_rng(0).normal(0, 4, (2, 5, 3, 4)).astype(np.float32))
    label, score = labels_and_scores(logits, rule)
    assert np.array_equal(label.asnumpy(), logits.asnumpy().argmax(1))
    assert np.array_equal(score.asnumpy(), score_of(logits).asnumpy())


def test_outside_an_image_a_label_is_255():
    label, inside = np.arange(12, dtype=np.int32).reshape(1, 3, 4), np.arange(12).reshape(1, 3, 4) % 3 > 0
    assert np.array_equal(blanked(Tensor(label), inside).asnumpy(), np.where(inside, label, 255))
    assert np.array_equal(blanked(Tensor(label), None).asnumpy(), label)


def test_a_confidence_at_the_threshold_counts():
    cfg = context_of("trainer.unsupervised.confid_thresh=0.5").trainer.unsupervised
    score, label = np.array([[[0.25, 0.5, 0.75, 0.75]]], np.float32), np.array([[[0, 1, 2, BLANK]]], np.int32)
    assert reliable_pixels(Tensor(score), Tensor(label), cfg, 80).asnumpy().tolist() == [[[0, 1, 1, 0]]]


def test_percentiles_are_of_pixels_with_a_label_and_zero_without_any():
    score, label = np.array([5.0, 1.0, 2.0, 3.0]), np.array([BLANK, 0, 1, 0])
    assert entropy_percentile(score, label, 50) == 2
    assert entropy_percentile(score, np.full(4, BLANK), 50) == 0


def test_without_mixing_labels_are_the_teachers_and_confident_pixels_are_kept():
    teacher = MixingTeacher("trainer.unsupervised={apply_aug: none, confid_thresh: 0.4}")
    x = images()
    pseudo = teacher(3, x)
    label, probability = teacher_scores(teacher, x)
    assert np.array_equal(pseudo.image.asnumpy(), x)
    assert np.array_equal(pseudo.label.asnumpy(), label)
    assert np.array_equal(reliable(pseudo, teacher), (probability.max(1) >= 0.4).astype(np.float32))
    assert 0.02 < reliable(pseudo, teacher).mean() < 0.98
    assert pseudo.label.asnumpy().dtype == np.int32


def test_no_pixel_with_a_label_keeps_nothing():
    score, label = Tensor(np.ones((1, 2, 2), np.float32)), Tensor(np.full((1, 2, 2), BLANK, np.int32))
    for rule in ("confidence", "entropy"):
        cfg = context_of(f"trainer.unsupervised.rule={rule}").trainer.unsupervised
        assert reliable_pixels(score, label, cfg, 80).asnumpy().sum() == 0


def test_rule_entropy_keeps_the_most_certain_percent():
    teacher = MixingTeacher("trainer.unsupervised={rule: entropy, apply_aug: none}")
    x = images()
    _, probability = teacher_scores(teacher, x)
    entropy = -(probability * np.log(probability + 1e-10)).sum(1)
    pseudo = teacher(0, x)
    for percent in (20, 80):
        sure = reliable(pseudo, teacher, percent).astype(bool)
        assert sure.mean() == pytest.approx(percent / 100, abs=0.01)
        assert entropy[sure].max() <= entropy[~sure].min() + 1e-5
    assert reliable(pseudo, teacher, 100).mean() > 0.99
