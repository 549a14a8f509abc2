"""Losses against a second implementation in numpy (float64), and where no pixel counts."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from semiseg import losses

CLASSES = 4


def pixel_losses(logits, labels):
    """Cross entropy pixel by pixel with plain loops; (loss, valid), float64."""
    logits = np.moveaxis(logits.astype(np.float64), 1, -1).reshape(-1, logits.shape[1])
    flat = labels.ravel()
    loss, valid = np.zeros(flat.size), np.zeros(flat.size, bool)
    for i, label in enumerate(flat):
        if 0 <= label < logits.shape[1]:
            valid[i] = True
            top = logits[i].max()
            loss[i] = top + np.log(np.exp(logits[i] - top).sum()) - logits[i, label]
    return loss.reshape(labels.shape), valid.reshape(labels.shape)


def ohem(logits, labels, thresh, min_kept):
    loss, valid = pixel_losses(logits, labels)
    loss = loss[valid]
    if loss.size > min_kept > 0:
        probability = np.exp(-loss)
        loss = loss[probability <= max(thresh, np.sort(probability)[min_kept - 1])]
    elif min_kept == 0:
        loss = loss[np.exp(-loss) <= thresh]
    return loss.mean() if loss.size else 0.0


def make(shape=(2, 5, 6), scale=3.0, seed=0, flat=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (shape[0], CLASSES, *shape[1:])).astype(np.float32)
    labels = rng.integers(0, CLASSES, shape).astype(np.int32)
    labels[rng.random(shape) < 0.3] = 255
    if flat:
        return np.moveaxis(logits, 1, -1).reshape(-1, CLASSES), labels.ravel()
    return logits, labels


def value_and_gradient(function, logits):
    loss, gradient = ms.value_and_grad(function)(Tensor(logits))
    return float(loss), gradient.asnumpy()


@pytest.mark.parametrize("flat", [False, True], ids=["B x C x H x W", "N x C"])
def test_cross_entropy_is_the_mean_over_labelled_pixels(flat):
    logits, labels = make(flat=flat)
    loss, valid = pixel_losses(logits, labels)
    found, counted = losses.pixel_cross_entropy(Tensor(logits), Tensor(labels))
    np.testing.assert_allclose(found.asnumpy(), loss, atol=1e-5)
    assert np.array_equal(counted.asnumpy().astype(bool), valid)
    assert float(losses.cross_entropy(Tensor(logits), Tensor(labels))) == pytest.approx(loss[valid].mean(), rel=1e-5)


@pytest.mark.parametrize("flat", [False, True], ids=["B x C x H x W", "N x C"])
def test_weighted_classes_make_a_weighted_mean(flat):
    logits, labels = make(flat=flat)
    loss, valid = pixel_losses(logits, labels)
    of_class = np.array([0.5, 2.0, 1.0, 3.5], np.float32)
    weight = of_class[np.where(valid, labels, 0)] * valid
    found = losses.cross_entropy(Tensor(logits), Tensor(labels), Tensor(of_class))
    assert float(found) == pytest.approx((loss * weight).sum() / weight.sum(), rel=1e-5)
    np.testing.assert_array_equal(losses.pixel_weights(Tensor(labels), Tensor(of_class)).asnumpy(), weight)
    assert losses.pixel_weights(Tensor(labels), None) == 1
    alike = losses.cross_entropy(Tensor(logits), Tensor(labels), Tensor(np.full(CLASSES, 3, np.float32)))
    assert float(alike) == pytest.approx(loss[valid].mean(), rel=1e-5)


def test_weighted_classes_weigh_pseudo_labels_too():
    logits, labels = make()
    loss, valid = pixel_losses(logits, labels)
    of_class = np.array([0.5, 2.0, 1.0, 3.5], np.float32)
    weight = of_class[np.where(valid, labels, 0)] * valid
    chosen = np.random.default_rng(3).random(labels.shape) < 0.6
    given = Tensor(logits), Tensor(labels), Tensor(chosen.astype(np.float32))
    kept = (loss * weight * chosen).sum()
    for over_all, total in ((True, weight.sum()), (False, (weight * chosen).sum())):
        found = losses.confident_cross_entropy(*given, over_all, Tensor(of_class))
        assert float(found) == pytest.approx(kept / total, rel=1e-5)
    for inside, count in ((None, loss.size), (Tensor(valid), valid.sum())):
        found = losses.certain_cross_entropy(*given, inside, Tensor(of_class))
        exact = count / (valid & chosen).sum() * kept / (weight * chosen).sum()
        assert float(found) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("flat", [False, True], ids=["B x C x H x W", "N x C"])
def test_soft_targets_are_followed_as_probabilities(flat):
    logits, labels = make(flat=flat)
    valid = labels < CLASSES
    target = np.random.default_rng(5).dirichlet(np.ones(CLASSES), labels.shape).astype(np.float32)
    target = np.moveaxis(target, -1, 1)
    chosen = np.random.default_rng(3).random(labels.shape) < 0.6

    def loss_of(over_all):
        given = Tensor(labels), Tensor(chosen.astype(np.float32)), over_all, None, Tensor(target)
        return lambda x: losses.confident_cross_entropy(x, *given)

    log_softmax = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    kept = -(target * log_softmax).sum(1) * (valid & chosen)
    for over_all, count in ((True, valid.sum()), (False, (valid & chosen).sum())):
        loss, gradient = value_and_gradient(loss_of(over_all), logits)
        assert loss == pytest.approx(kept.sum() / count, rel=1e-5)
        exact = (np.exp(log_softmax) - target) * np.expand_dims(valid & chosen, 1) / count
        np.testing.assert_allclose(gradient, exact, atol=1e-6)


def test_soft_targets_that_are_sure_are_labels():
    logits, labels = make()
    valid = labels < CLASSES
    one_hot = np.moveaxis(np.eye(CLASSES, dtype=np.float32)[np.where(valid, labels, 0)], -1, 1)
    given = Tensor(logits), Tensor(labels), Tensor(np.ones(labels.shape, np.float32)), True
    hard, soft = (losses.confident_cross_entropy(*given, None, t) for t in (None, Tensor(one_hot)))
    assert float(soft) == pytest.approx(float(hard), rel=1e-6)


def test_weighted_classes_without_a_labelled_pixel_give_zero():
    logits, labels = make()
    weights = Tensor(np.ones(CLASSES, np.float32))
    loss, gradient = value_and_gradient(
        lambda x: losses.cross_entropy(x, Tensor(np.full_like(labels, 255)), weights), logits
    )
    assert loss == 0
    assert not gradient.any()


def test_the_gradient_of_cross_entropy_is_softmax_minus_one_hot():
    logits, labels = make()
    _, gradient = value_and_gradient(lambda x: losses.cross_entropy(x, Tensor(labels)), logits)
    exact = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    valid = labels < CLASSES
    exact -= (np.arange(CLASSES)[None, :, None, None] == labels[:, None]).astype(float)
    np.testing.assert_allclose(gradient, exact * valid[:, None] / valid.sum(), atol=1e-6)


def test_any_value_outside_the_classes_is_ignored():
    logits, labels = make()
    others = labels.copy()
    others[labels == 255] = -1
    others[0, 0, 0], labels[0, 0, 0] = CLASSES, 255
    assert float(losses.cross_entropy(Tensor(logits), Tensor(others))) == float(
        losses.cross_entropy(Tensor(logits), Tensor(labels))
    )


def test_huge_logits_stay_finite():
    logits, labels = make(scale=3e4)
    value, gradient = value_and_gradient(lambda x: losses.cross_entropy(x, Tensor(labels)), logits)
    assert value == pytest.approx(pixel_losses(logits, labels)[0].sum() / (labels < CLASSES).sum(), rel=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("thresh", [0.05, 0.7, 1.0])
@pytest.mark.parametrize("min_kept", [0, 1, 7, 30, 59, 60, 100000])
def test_ohem_keeps_the_hard_pixels(thresh, min_kept):
    logits, labels = make(scale=1.5)
    found = losses.ohem_cross_entropy(Tensor(logits), Tensor(labels), thresh, min_kept)
    assert float(found) == pytest.approx(ohem(logits, labels, thresh, min_kept), rel=1e-5)


def test_ohem_with_room_for_all_is_cross_entropy():
    logits, labels = make()
    plain = losses.cross_entropy(Tensor(logits), Tensor(labels))
    assert float(losses.ohem_cross_entropy(Tensor(logits), Tensor(labels), 0.1, 60)) == pytest.approx(float(plain))


@pytest.mark.parametrize("min_kept", [1, 2, 3])
def test_ohem_keeps_a_minimum_where_no_pixel_is_hard(min_kept):
    logits, labels = make(scale=1.5)
    loss, valid = pixel_losses(logits, labels)
    found = losses.ohem_cross_entropy(Tensor(logits), Tensor(labels), 1e-9, min_kept)
    assert float(found) == pytest.approx(np.sort(loss[valid])[-min_kept:].mean(), rel=1e-5)


@pytest.mark.parametrize("over_all", [True, False])
def test_confident_pixels_alone_count(over_all):
    logits, labels = make()
    confident = np.random.default_rng(3).random(labels.shape) < 0.4
    loss, valid = pixel_losses(logits, labels)
    kept = valid & confident
    expected = loss[kept].sum() / (valid.sum() if over_all else kept.sum())
    found = losses.confident_cross_entropy(Tensor(logits), Tensor(labels), Tensor(confident), over_all)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    if over_all:
        unsaid = losses.confident_cross_entropy(Tensor(logits), Tensor(labels), Tensor(confident))
        assert float(unsaid) == float(found)


def test_certain_pixels_are_weighted_by_all_over_kept():
    logits, labels = make()
    certain = np.random.default_rng(4).random(labels.shape) < 0.5
    loss, valid = pixel_losses(logits, labels)
    kept = valid & certain
    expected = labels.size / kept.sum() * loss[kept].mean()
    found = losses.certain_cross_entropy(Tensor(logits), Tensor(labels), Tensor(certain.astype(np.float32)))
    assert float(found) == pytest.approx(expected, rel=1e-5)


ALL = {
    "cross_entropy": lambda x, y: losses.cross_entropy(x, y),
    "ohem": lambda x, y: losses.ohem_cross_entropy(x, y, 0.7, 3),
    "ohem without minimum": lambda x, y: losses.ohem_cross_entropy(x, y, 0.7, 0),
    "confident": lambda x, y: losses.confident_cross_entropy(x, y, Tensor(np.ones(y.shape, np.float32))),
    "confident mean": lambda x, y: losses.confident_cross_entropy(x, y, Tensor(np.ones(y.shape, np.float32)), False),
    "certain": lambda x, y: losses.certain_cross_entropy(x, y, Tensor(np.ones(y.shape, np.float32))),
}


@pytest.mark.parametrize("name", ALL)
def test_without_a_labelled_pixel_loss_and_gradient_are_zero(name):
    logits, labels = make()
    labels[:] = 255
    value, gradient = value_and_gradient(lambda x: ALL[name](x, Tensor(labels)), logits)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", ALL)
def test_a_single_labelled_pixel_is_enough(name):
    logits, labels = make(shape=(1, 1, 1), seed=2)
    labels[:] = int(logits.argmin())
    value, gradient = value_and_gradient(lambda x: ALL[name](x, Tensor(labels)), logits)
    assert value == pytest.approx(pixel_losses(logits, labels)[0].item(), rel=1e-5)
    assert gradient.any()


def test_without_a_kept_pixel_the_unsupervised_losses_are_zero():
    logits, labels = make()
    none = Tensor(np.zeros(labels.shape, np.float32))
    for function in (losses.confident_cross_entropy, losses.certain_cross_entropy):
        value, gradient = value_and_gradient(lambda x, f=function: f(x, Tensor(labels), none), logits)
        assert value == 0
        assert not gradient.any()


def test_entropy_is_in_nats_and_finite_at_certainty():
    probability = np.array([[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [0.5, 0.5, 0, 0]], np.float32)
    found = losses.entropy(Tensor(probability.T[None, :, :, None])).asnumpy().ravel()
    np.testing.assert_allclose(found, [np.log(4), 0, np.log(2)], atol=1e-6)


def test_class_confidences_are_sums_over_the_labelled_pixels_of_each_class():
    logits, labels = make(shape=(2, 7, 6))
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    sums, counts = losses.class_confidences(Tensor(probability), Tensor(labels))
    for c in range(CLASSES):
        assert float(counts[c]) == (labels == c).sum() > 0
        assert float(sums[c]) == pytest.approx(probability[:, c][labels == c].sum(), rel=1e-5)
    assert sums.shape == counts.shape == (CLASSES,)


def test_by_pairs_of_images_a_class_counts_zero_where_a_pair_does_not_show_it():
    logits, labels = make(shape=(6, 7, 6))
    labels[2:4][labels[2:4] == 1] = 255
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    sums, counts = losses.pair_confidences(Tensor(probability), Tensor(labels))
    expected = np.zeros(CLASSES)
    for first in (0, 2, 4):
        for c in range(CLASSES):
            true = labels[first : first + 2] == c
            expected[c] += probability[first : first + 2, c][true].mean() if true.any() else 0
    np.testing.assert_allclose(sums.asnumpy(), expected, rtol=1e-5)
    assert counts.asnumpy().tolist() == [3] * CLASSES
    shown_once = losses.pair_confidences(Tensor(probability[2:4]), Tensor(labels[2:4]))
    assert float(shown_once[0][1]) == 0


def test_weights_are_brought_to_sum_one_and_a_pixel_without_a_label_has_no_loss():
    logits, labels = make()
    weight = np.random.default_rng(5).random(labels.shape).astype(np.float32)
    loss, _ = pixel_losses(logits, labels)
    found = losses.weighted_cross_entropy(Tensor(logits), Tensor(labels), Tensor(weight))
    assert float(found) == pytest.approx((loss * weight).sum() / weight.sum(), rel=1e-5)
    none = losses.weighted_cross_entropy(Tensor(logits), Tensor(labels), Tensor(0 * weight))
    assert float(none) == 0
