"""Scores against a naive double loop over pixels and classes."""

import numpy as np
import pytest

from semiseg.metrics import ConfusionMatrix


def draw(seed, shape=(3, 17, 19), classes=5):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, shape).astype(np.uint8)
    label[rng.random(shape) < 0.1] = 255
    pred = np.where(rng.random(shape) < 0.6, label, rng.integers(0, classes, shape)) % 255 % classes
    return pred, label


def naive(pred, label, classes):
    """IoU, pixel accuracy and class accuracy by counting pixel for pixel."""
    pairs = [(int(p), int(t)) for p, t in zip(pred.ravel(), label.ravel(), strict=True) if t != 255]
    iou, accuracy = [], []
    for c in range(classes):
        both = sum(p == c and t == c for p, t in pairs)
        either = sum(p == c or t == c for p, t in pairs)
        truth = sum(t == c for _, t in pairs)
        iou.append(both / either if either else 0.0)
        accuracy.append(both / truth if truth else 0.0)
    return iou, sum(p == t for p, t in pairs) / len(pairs), accuracy


def test_scores_equal_a_naive_count():
    pred, label = draw(0)
    matrix = ConfusionMatrix(5)
    matrix.update(pred, label)
    iou, pixel, accuracy = naive(pred, label, 5)
    scores = matrix.compute()
    np.testing.assert_allclose(scores.iou, iou, rtol=1e-9)
    np.testing.assert_allclose(scores.class_accuracy, accuracy, rtol=1e-9)
    assert scores.pixel_accuracy == pytest.approx(pixel, rel=1e-9)
    assert scores.miou == pytest.approx(np.mean(iou), rel=1e-9)
    assert scores.mean_class_accuracy == pytest.approx(np.mean(accuracy), rel=1e-9)


def test_rows_are_labels_and_columns_predictions():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([2, 2, 0]), np.array([1, 1, 0]))
    assert matrix.counts.dtype == np.int64
    assert matrix.counts.tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_images_one_by_one_or_merged_give_the_score_of_the_whole_set():
    pred, label = draw(1)
    whole, one_by_one, first, second = (ConfusionMatrix(5) for _ in range(4))
    whole.update(pred, label)
    for p, t in zip(pred, label, strict=True):
        one_by_one.update(p, t)
    first.update(pred[:1], label[:1])
    second.update(pred[1:], label[1:])
    first.merge(second)
    assert (one_by_one.counts == whole.counts).all()
    assert (first.counts == whole.counts).all()


def test_ignored_pixels_do_not_count_whatever_is_predicted_there():
    pred, label = draw(2)
    matrix, changed = ConfusionMatrix(5), ConfusionMatrix(5)
    matrix.update(pred, label)
    changed.update(np.where(label == 255, 77, pred), label)
    assert (matrix.counts == changed.counts).all()
    assert matrix.counts.sum() == (label != 255).sum()


def test_a_class_that_occurs_nowhere_counts_as_zero_and_is_reported():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 1]), np.array([0, 1]))
    scores = matrix.compute()
    np.testing.assert_allclose(scores.iou, [1, 1, 0], atol=1e-9)
    assert scores.miou == pytest.approx(2 / 3)
    assert scores.present.tolist() == [True, True, False]


def test_nothing_seen_gives_zeros_without_warnings():
    matrix = ConfusionMatrix(4)
    matrix.update(np.zeros((2, 2), int), np.full((2, 2), 255))
    assert matrix.compute().miou == 0
    assert matrix.compute().pixel_accuracy == 0


def test_a_perfect_prediction_scores_one_and_renaming_classes_changes_nothing():
    pred, label = draw(3)
    perfect, matrix, renamed = (ConfusionMatrix(5) for _ in range(3))
    perfect.update(np.where(label == 255, 0, label), label)
    assert perfect.compute().miou == pytest.approx(1)
    matrix.update(pred, label)
    order = np.array([3, 0, 4, 1, 2])
    renamed.update(order[pred], np.where(label == 255, 255, order[label % 255 % 5]))
    np.testing.assert_allclose(renamed.compute().iou[order], matrix.compute().iou, rtol=1e-12)


def test_another_ignore_label_can_be_chosen():
    matrix = ConfusionMatrix(2, ignore_label=-1)
    matrix.update(np.array([0, 1, 1]), np.array([0, -1, 0]))
    assert matrix.counts.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("pred", "label", "message"),
    [
        ([0, 1], [0, 3], r"labels must be 0\.\.2, found \[3\]"),
        ([0, 1], [0, -1], r"labels must be 0\.\.2, found \[-1\]"),
        ([0, 3], [0, 1], r"predictions must be 0\.\.2, found \[3\]"),
        ([-2, 0], [0, 1], r"predictions must be 0\.\.2, found \[-2\]"),
        ([0.0, 1.0], [0, 1], "integers"),
        ([True, False], [0, 1], "integers"),
        ([0, 1, 2], [0, 1], "shape"),
        ([0, 1], [0, 1, 2], "shape"),
        ([-4, -1, 0, 1, 3, 5, 7, 9], [0] * 8, r"found \[-4, -1, 3, 5, 7\]$"),  # the first five, and only what is wrong
    ],
)
def test_values_outside_the_classes_are_refused_and_nothing_is_counted(pred, label, message):
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        matrix.update(np.array(pred), np.array(label))
    assert matrix.counts.sum() == 0


def test_matrices_of_different_classes_do_not_merge():
    for first, second in (((3, 255), (4, 255)), ((4, 255), (3, 255)), ((3, 254), (3, 255)), ((3, 255), (3, 254))):
        with pytest.raises(ValueError, match="cannot be merged"):
            ConfusionMatrix(*first).merge(ConfusionMatrix(*second))


@pytest.mark.parametrize(("classes", "ignore"), [(3, 0), (3, 2), (1, 0), (0, 255)])
def test_an_ignore_label_inside_the_classes_is_refused_and_so_are_no_classes(classes, ignore):
    with pytest.raises(ValueError, match="outside"):
        ConfusionMatrix(classes, ignore)


@pytest.mark.parametrize(("classes", "ignore"), [(1, 1), (3, 3), (3, -1)])
def test_an_ignore_label_beside_the_classes_is_fine(classes, ignore):
    matrix = ConfusionMatrix(classes, ignore)
    matrix.update(np.array([0, 0]), np.array([ignore, 0]))
    assert matrix.counts.sum() == 1


def test_the_small_number_in_the_scores_is_added_as_published():
    matrix = ConfusionMatrix(1)
    matrix.update(np.array([0]), np.array([0]))
    scores = matrix.compute()
    one = 1 / (1 + 1e-10)
    assert (scores.iou[0], scores.class_accuracy[0], scores.pixel_accuracy) == (one, one, one)


def test_counts_beyond_32_bits_stay_exact():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([1]), np.array([1]))
    for _ in range(40):  # doubles each time
        matrix.merge(matrix)
    assert matrix.counts[1, 1] == 2**40


@pytest.mark.parametrize("ignore", [255, 7, -1, 256, 300])
def test_bytes_are_counted_as_other_integers_are(ignore):
    rng = np.random.default_rng(3)
    values = [0, 1, 2, 3] + [ignore] * (0 <= ignore < 256)
    label, pred = rng.choice(values, (40, 50)).astype(np.uint8), rng.integers(0, 4, (40, 50)).astype(np.uint8)
    fast, plain = ConfusionMatrix(4, ignore), ConfusionMatrix(4, ignore)
    fast.update(pred.T, label.T)  # not contiguous
    plain.update(pred.astype(np.int16), label.astype(np.int16))
    assert np.array_equal(fast.counts, plain.counts)


def test_bytes_beyond_what_float32_counts_exactly_stay_exact():
    matrix = ConfusionMatrix(2)
    zeros = np.zeros(2**24 + 5, np.uint8)
    matrix.update(zeros, zeros)
    assert matrix.counts[0, 0] == 2**24 + 5


@pytest.mark.parametrize(
    ("pred", "label", "message"),
    [
        ([0, 3], [0, 1], "predictions .*found"),
        ([0, 255], [0, 1], "predictions .*found"),
        ([0, 1], [0, 9], "labels .*found"),
    ],
)
def test_bytes_outside_the_classes_are_refused_too(pred, label, message):
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        matrix.update(np.array(pred, np.uint8), np.array(label, np.uint8))
    assert matrix.counts.sum() == 0
    matrix.update(np.array([200, 1], np.uint8), np.array([255, 1], np.uint8))  # where the label is ignored it is fine
    assert matrix.counts.sum() == 1


@pytest.mark.parametrize("ignore", [-1, 7, 256])
def test_byte_255_is_no_class_where_another_label_is_ignored(ignore):
    with pytest.raises(ValueError, match=r"labels .*found \[255\]"):
        ConfusionMatrix(3, ignore).update(np.zeros(2, np.uint8), np.array([0, 255], np.uint8))


@pytest.mark.parametrize("label", [np.zeros(2, np.uint8), np.zeros(2, bool)])
def test_truth_values_are_no_predictions_beside_bytes_either(label):
    with pytest.raises(ValueError, match="integers"):
        ConfusionMatrix(3).update(np.zeros(2, bool), label)
