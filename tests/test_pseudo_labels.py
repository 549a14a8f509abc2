"""Pseudo-labels: the teacher's argmax and reliability, mixed by CutMix, and which pixels are kept."""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import CROP, batch_of, context_of

from semiseg.common.rng import generator
from semiseg.data.loaders import Batch
from semiseg.methods.context import StepBatch
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.methods.mixing import box_masks, class_masks, cutmix_boxes
from semiseg.methods.pseudo_labels import BLANK, confidence_of, entropy_of, reliable_pixels
from semiseg.methods.sampling import BatchSlice
from semiseg.models.interpolate import resize


def softmax(logits):
    exact = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return exact / exact.sum(1, keepdims=True)


class Source:
    """Teacher's labels and mixing as a method makes them."""

    def __init__(self, *overrides, batch=2):
        context = context_of(
            "net.proto_head=null", "trainer={sup_only_epoch: 0, unsupervised: {aug_prob: 1}}", *overrides, batch=batch
        )
        self.method, self.cfg = MeanTeacher(context), context.trainer.unsupervised
        self.state = self.method.mixer.state

    def __call__(self, step, images):
        size = len(images)
        batch = StepBatch(None, Batch(step, [], images, None), BatchSlice(0, size, size))
        return self.method.mixer(step, self.method.teacher_labels(images), batch)


def labeler(*overrides, batch=2):
    return Source(*overrides, batch=batch)


def reliable(pseudo, source, percent=80):
    return reliable_pixels(pseudo.score, pseudo.label, source.cfg, percent).asnumpy()


def images(step=0, size=2):
    return batch_of(step, "unlabeled", size).images


def teacher_scores(source, x):
    """(label, softmax) of the teacher at full size."""
    logits = resize(source.method.teacher.network.logits(Tensor(x)), CROP).asnumpy()
    return logits.argmax(1), softmax(logits)


def test_confidence_and_entropy_are_those_of_the_softmax():
    logits = np.random.default_rng(0).normal(0, 4, (2, 5, 3, 4)).astype(np.float32)
    probability = softmax(logits)
    np.testing.assert_allclose(confidence_of(Tensor(logits)).asnumpy(), probability.max(1), rtol=1e-5)
    expected = -(probability * np.log(probability + 1e-10)).sum(1)
    np.testing.assert_allclose(entropy_of(Tensor(logits)).asnumpy(), expected, atol=1e-5)


def test_without_mixing_labels_are_the_teachers_and_confident_pixels_are_kept():
    source = labeler("trainer.unsupervised={apply_aug: none, confid_thresh: 0.4}")
    x = images()
    pseudo = source(3, x)
    label, probability = teacher_scores(source, x)
    assert np.array_equal(pseudo.image.asnumpy(), x)
    assert np.array_equal(pseudo.label.asnumpy(), label)
    assert np.array_equal(reliable(pseudo, source), (probability.max(1) >= 0.4).astype(np.float32))
    assert 0.02 < reliable(pseudo, source).mean() < 0.98
    assert pseudo.label.asnumpy().dtype == np.int32


@pytest.mark.parametrize("size", [2, 3])
def test_cutmix_pastes_image_label_and_reliability_of_the_next_image_alike(size):
    source = labeler("trainer.unsupervised.confid_thresh=0.4", batch=size)
    x = images(size=size)
    pseudo = source(7, x)
    label, probability = teacher_scores(source, x)
    mask = box_masks(cutmix_boxes(size, *CROP, generator(5, "cutmix", 7)), *CROP)
    nxt = np.roll(np.arange(size), -1)
    assert np.array_equal(pseudo.image.asnumpy(), np.where(mask[:, None], x[nxt], x))
    assert np.array_equal(pseudo.label.asnumpy(), np.where(mask, label[nxt], label))
    sure = probability.max(1) >= 0.4
    assert np.array_equal(reliable(pseudo, source), np.where(mask, sure[nxt], sure).astype(np.float32))


def test_classmix_keeps_half_of_an_images_classes_and_takes_the_rest_from_the_next():
    source = labeler("trainer.unsupervised.apply_aug=classmix")
    x = images()
    pseudo = source(2, x)
    label, _ = teacher_scores(source, x)
    mask = class_masks(label, generator(5, "cutmix", 2))
    assert 0 < mask.mean() < 1
    assert np.array_equal(pseudo.image.asnumpy(), np.where(mask[:, None], x[::-1], x))
    assert np.array_equal(pseudo.label.asnumpy(), np.where(mask, label[::-1], label))


@pytest.mark.parametrize("rule", ["confidence", "entropy"])
def test_cutout_blanks_a_box_that_then_counts_nowhere(rule):
    source = labeler(f"trainer.unsupervised={{apply_aug: cutout, rule: {rule}}}", batch=1)
    x = images(size=1)
    pseudo = source(4, x)  # needs no partner: also the first step of a batch of one is blanked
    box = box_masks(cutmix_boxes(1, *CROP, generator(5, "cutmix", 4)), *CROP)
    label, probability = teacher_scores(source, x)
    assert np.array_equal(pseudo.label.asnumpy(), np.where(box, BLANK, label))
    assert (pseudo.image.asnumpy()[np.broadcast_to(box[:, None], x.shape)] == 0).all()
    sure = reliable(pseudo, source, 50).astype(bool)
    assert not sure[box].any()
    if rule == "entropy":
        entropy = -(probability * np.log(probability + 1e-10)).sum(1)
        assert sure[~box].mean() == pytest.approx(0.5, abs=0.02)
        assert entropy[sure].max() <= np.median(entropy[~box]) + 1e-5


def test_no_pixel_with_a_label_keeps_nothing():
    score, label = Tensor(np.ones((1, 2, 2), np.float32)), Tensor(np.full((1, 2, 2), BLANK, np.int32))
    for rule in ("confidence", "entropy"):
        cfg = context_of(f"trainer.unsupervised.rule={rule}").trainer.unsupervised
        assert reliable_pixels(score, label, cfg, 80).asnumpy().sum() == 0


def test_the_share_of_mixing_steps_is_aug_prob():
    source = labeler("trainer.unsupervised.aug_prob=0.3")
    x = images()
    known = source.method.teacher_labels(x)
    source.method.teacher_labels = lambda images: known  # the teacher's forward is not what is counted here
    mixed = [not np.array_equal(source(step, x).image.asnumpy(), x) for step in range(100)]
    assert 0.12 < np.mean(mixed) < 0.48  # four standard deviations
    never = labeler("trainer.unsupervised.aug_prob=0")
    assert all(np.array_equal(never(step, x).image.asnumpy(), x) for step in range(5))


def test_rule_entropy_keeps_the_most_certain_percent():
    source = labeler("trainer.unsupervised={rule: entropy, apply_aug: none}")
    x = images()
    _, probability = teacher_scores(source, x)
    entropy = -(probability * np.log(probability + 1e-10)).sum(1)
    pseudo = source(0, x)
    for percent in (20, 80):
        sure = reliable(pseudo, source, percent).astype(bool)
        assert sure.mean() == pytest.approx(percent / 100, abs=0.01)
        assert entropy[sure].max() <= entropy[~sure].min() + 1e-5
    assert reliable(pseudo, source, 100).mean() > 0.99


def test_a_batch_of_one_is_mixed_with_the_image_of_the_step_before():
    source = labeler("trainer.unsupervised.confid_thresh=0.4", batch=1)
    first, second = images(0, 1), images(1, 1)
    assert np.array_equal(source(0, first).image.asnumpy(), first)  # nothing has gone before
    pseudo = source(1, second)
    mask = box_masks(cutmix_boxes(1, *CROP, generator(5, "cutmix", 1)), *CROP)
    labels = [teacher_scores(source, x)[0] for x in (first, second)]
    assert np.array_equal(pseudo.image.asnumpy(), np.where(mask[:, None], first, second))
    assert np.array_equal(pseudo.label.asnumpy(), np.where(mask, *labels))
    third = source(2, images(2, 1)).image.asnumpy()
    mask = box_masks(cutmix_boxes(1, *CROP, generator(5, "cutmix", 2)), *CROP)
    assert np.array_equal(third, np.where(mask[:, None], second, images(2, 1)))  # the plain one, not the mixed one


def test_only_a_batch_of_one_has_state_and_the_state_is_complete():
    assert labeler().state() == {}
    source = labeler(batch=1)
    source(0, images(0, 1))
    restored = labeler(batch=1)
    for name, parameter in restored.state().items():
        parameter.set_data(Tensor(source.state()[name].asnumpy()))
    for a, b in zip(source(1, images(1, 1)), restored(1, images(1, 1)), strict=True):
        assert np.array_equal(a.asnumpy(), b.asnumpy())
