"""The prototype head against plain numpy loops."""

import numpy as np
import pytest
from mindspore import Tensor

from semiseg.models.interpolate import resize
from semiseg.models.prototypes import PrototypeHead, ema_prototypes, normalise, prototype_sums

CLASSES, PER_CLASS, PLANES, TEMPERATURE = 3, 4, 6, 0.1


@pytest.fixture
def head():
    head = PrototypeHead(CLASSES, PER_CLASS, PLANES, TEMPERATURE)
    rows = np.random.default_rng(0).normal(0, 2, (CLASSES * PER_CLASS, PLANES)).astype(np.float32)
    head.proto_list.set_data(Tensor(rows))
    return head


def features(count=40, seed=1):
    return np.random.default_rng(seed).normal(0, 3, (count, PLANES)).astype(np.float32)


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def prototype(head, class_id, k):
    return head.proto_list.asnumpy()[class_id * PER_CLASS + k].astype(np.float64)


def test_logits_are_the_best_cosine_of_the_class_over_the_temperature(head):
    x = features()
    found = head(Tensor(x)).asnumpy()
    for n, row in enumerate(x.astype(np.float64)):
        for c in range(CLASSES):
            best = max(cosine(row, prototype(head, c, k)) for k in range(PER_CLASS))
            assert found[n, c] == pytest.approx(best / TEMPERATURE, abs=1e-4)


def test_length_of_features_and_prototypes_does_not_matter(head):
    x = features()
    before = head(Tensor(x)).asnumpy()
    head.proto_list.set_data(head.proto_list.value() * 7.5)
    np.testing.assert_allclose(head(Tensor(x * 0.01)).asnumpy(), before, atol=1e-4)


def test_a_zero_feature_is_finite(head):
    assert not head(Tensor(np.zeros((2, PLANES), np.float32))).asnumpy().any()
    assert not normalise(Tensor(np.zeros((2, PLANES), np.float32))).asnumpy().any()


@pytest.mark.parametrize(
    ("source", "size"), [((9, 10), (33, 37)), ((5, 5), (5, 5)), ((1, 3), (4, 9)), ((13, 13), (48, 48))]
)
def test_the_dense_map_is_the_head_on_the_upsampled_feature(head, source, size):
    feature = np.random.default_rng(2).normal(0, 2, (2, PLANES, *source)).astype(np.float32)
    upsampled = resize(Tensor(feature), size).asnumpy()
    expected = head(Tensor(np.moveaxis(upsampled, 1, -1).reshape(-1, PLANES))).asnumpy().reshape(2, *size, CLASSES)
    found = head.dense(Tensor(feature), size).asnumpy()
    np.testing.assert_allclose(found, np.moveaxis(expected, -1, 1), atol=2e-3)


def test_pixels_join_the_nearest_prototype_of_their_own_class(head):
    x = features(60)
    rng = np.random.default_rng(3)
    labels = rng.integers(0, CLASSES, 60).astype(np.int32)
    valid = rng.random(60) < 0.7
    labels[~valid] = 255
    sums, counts = np.zeros((CLASSES * PER_CLASS, PLANES)), np.zeros(CLASSES * PER_CLASS)
    for row, label, counted in zip(x.astype(np.float64), labels, valid, strict=True):
        if counted:
            nearest = max(range(PER_CLASS), key=lambda k: cosine(row, prototype(head, label, k)))
            sums[label * PER_CLASS + nearest] += row
            counts[label * PER_CLASS + nearest] += 1
    found_sums, found_counts = prototype_sums(head, Tensor(x), Tensor(labels), Tensor(valid))
    np.testing.assert_allclose(found_sums.asnumpy(), sums, atol=1e-3)
    assert np.array_equal(found_counts.asnumpy(), counts)


def test_without_valid_pixels_nothing_is_summed(head):
    labels, none = np.full(5, 255, np.int32), np.zeros(5, bool)
    sums, counts = prototype_sums(head, Tensor(features(5)), Tensor(labels), Tensor(none))
    assert not sums.asnumpy().any()
    assert not counts.asnumpy().any()


def test_prototypes_move_to_the_mean_and_those_without_pixels_stay(head):
    before = head.proto_list.asnumpy()
    sums = np.random.default_rng(4).normal(size=before.shape).astype(np.float32)
    counts = np.array([0, 1, 2, 5] * CLASSES, np.float32)
    found = ema_prototypes(head.proto_list, Tensor(sums), Tensor(counts), 0.99).asnumpy()
    for row in range(len(before)):
        expected = 0.99 * before[row] + 0.01 * sums[row] / counts[row] if counts[row] else before[row]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(found[::4], before[::4])


def test_prototypes_are_no_weights(head):
    assert not head.proto_list.requires_grad
    assert [name for name, _ in head.parameters_and_names()] == ["proto_list"]
