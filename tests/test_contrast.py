"""Which pixels U2PL's contrastive loss takes, and its value, against the rules in words."""

from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor, value_and_grad

from semiseg.config.keys import ContrastiveConfig
from semiseg.methods.u2pl.contrast import (
    Pixels,
    anchor_masks,
    class_ranks,
    contrastive_loss,
    directions_at,
    mean_directions,
    members_as_published,
    members_by_label,
    negative_masks,
    negatives_as_published,
    sample_contrast,
)
from semiseg.methods.u2pl.memory_bank import MemoryBank

PROB = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.25, 0.25, 0.5], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]], np.float32)
TINY = ContrastiveConfig(num_queries=6, num_negatives=4, low_rank=1, high_rank=3)


def pixels(label, certain=None, uncertain=None, labelled=2):
    every = np.ones(5, bool)
    return Pixels(
        PROB,
        np.array(label),
        every if certain is None else np.array(certain, bool),
        every if uncertain is None else np.array(uncertain, bool),
        labelled,
    )


def rows(count=5, planes=4, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (count, planes)).astype(np.float32)


class Compared(NamedTuple):
    """What the loss is given, as numpy."""

    anchor: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    weight: np.ndarray


def compared(found, teacher, bank, cfg, seed):
    """``sample_contrast``, and the representations that its indices stand for."""
    chosen = sample_contrast(found, Tensor(teacher), bank, cfg, np.random.default_rng(seed))
    positive = mean_directions(Tensor(teacher), Tensor(chosen.members)).asnumpy()
    negative = directions_at(bank.rows, Tensor(chosen.negative)).asnumpy()
    return Compared(chosen.anchor, positive, negative, chosen.weight)


def draw(found, bank=None, cfg=TINY, seed=0, teacher=None):
    bank = bank or MemoryBank((20, 20, 20), 4)
    return compared(found, rows() if teacher is None else teacher, bank, cfg, seed), bank


def fill(bank, class_id, added):
    """Adds rows to one class alone."""
    nothing = np.zeros(0, np.int64)
    bank.enqueue(Tensor(added), [np.arange(len(added)) if c == class_id else nothing for c in range(3)])


def held(bank, class_id):
    """The rows of a class, oldest first."""
    return bank.rows.asnumpy()[bank.places(class_id, np.arange(bank.count(class_id)))]


def test_ranks_are_places_in_the_order_of_probabilities():
    assert class_ranks(PROB).tolist() == [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 1, 0], [0, 1, 2]]


def test_equal_probabilities_are_ranked_by_class():
    probabilities = np.random.default_rng(0).integers(0, 3, (40, 7)).astype(np.float32)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    assert np.array_equal(np.take_along_axis(class_ranks(probabilities), order, 1), np.tile(np.arange(7), (40, 1)))


def test_anchors_are_certain_pixels_that_are_likely_of_their_class():
    seen = pixels([0, 2, 255, 1, 0], certain=[1, 1, 1, 1, 0])
    members, anchors = anchor_masks(seen, members_by_label(seen), 0.3)
    assert members.T.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert anchors.T.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]


def test_negatives_of_labelled_pixels_are_the_classes_they_are_mistaken_for():
    found = negative_masks(pixels([1, 2, 0, 0, 0], labelled=2), low_rank=2, high_rank=3)
    assert found[0].tolist() == [True, False, False]  # ranks 0, 1 are classes 0, 1; 1 is its own
    assert found[1].tolist() == [False, True, False]


def test_negatives_of_unlabelled_pixels_are_classes_ranked_in_between():
    found = negative_masks(pixels([0, 0, 2, 2, 0], labelled=2), low_rank=1, high_rank=2)
    assert found[2:].tolist() == [[True, False, False], [False, True, False], [False, True, False]]


def test_only_uncertain_pixels_with_a_label_give_negatives():
    found = negative_masks(pixels([255, 2, 255, 2, 0], uncertain=[1, 1, 1, 0, 1]), 1, 3)
    assert found.any(1).tolist() == [False, False, False, False, True]
    assert negative_masks(pixels([0, 0, 2, 2, 0], uncertain=[0] * 5), 1, 3).sum() == 0


def random_pixels(seed, count=120, classes=5, labelled=50):
    """Pixels of random probabilities; labels of all classes, and three values that are none."""
    rng = np.random.default_rng(seed)
    prob = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    label = rng.choice([*range(classes), -1, classes, 255], count)
    return Pixels(prob, label, rng.random(count) < 0.6, rng.random(count) < 0.6, labelled)


@pytest.mark.parametrize(("low", "high"), [(1, 3), (1, 4), (2, 4), (3, 5)])
def test_negatives_are_those_of_the_rule_pixel_by_pixel(low, high):
    seen = random_pixels(low)
    found = negative_masks(seen, low, high)
    for i, (prob, label) in enumerate(zip(seen.prob, seen.label, strict=True)):
        for c in range(5):
            rank = (prob > prob[c]).sum()
            likely_not = c != label and rank < low if i < seen.labelled else low <= rank < high
            assert found[i, c] == (0 <= label < 5 and seen.uncertain[i] and likely_not)


@pytest.mark.parametrize(("low", "high"), [(1, 3), (2, 4)])
def test_published_negatives_are_unlabelled_pixels_of_the_class_itself_pixel_by_pixel(low, high):
    seen = random_pixels(low)
    of_class = members_by_label(seen)
    found = negatives_as_published(seen, of_class, low, high)
    for i, prob in enumerate(seen.prob):
        for c in range(5):
            between = low <= (prob > prob[c]).sum() < high
            assert found[i, c] == (i >= seen.labelled and of_class[i, c] and between and seen.uncertain[i])


def test_with_one_image_of_each_kind_the_published_members_are_those_of_the_labels():
    seen = random_pixels(3)
    assert np.array_equal(members_as_published(seen), members_by_label(seen))


def test_a_probability_at_the_threshold_makes_no_anchor():
    seen = pixels([0, 1, 2, 2, 0])
    _, anchors = anchor_masks(seen, members_by_label(seen), float(np.float32(0.6)))
    assert anchors.any(1).tolist() == [False, False, False, True, False]


def test_pixels_are_of_one_image_where_nothing_is_said():
    assert pixels([0] * 5).images == 1


def test_the_length_of_representations_does_not_matter_unless_it_is_zero():
    found = pixels([0, 2, 2, 2, 0])
    long, short = (draw(found, teacher=rows(seed=4) * factor)[0] for factor in (1, np.float32(1e-4)))
    for name in ("positive", "negative"):
        np.testing.assert_allclose(getattr(short, name), getattr(long, name), rtol=1e-5)
    rep = np.random.default_rng(5).normal(0, 2, (1, 4, 1, 5)).astype(np.float32)
    expected, value, of_zeros = (loss_of(rep * np.float32(factor), long).asnumpy() for factor in (1, 1e-4, 0))
    assert value == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(of_zeros)
    nothing, _ = draw(found, teacher=0 * rows())
    assert all(np.isfinite(part).all() for part in nothing)


def test_the_bank_gets_the_teachers_rows_of_this_step():
    teacher = rows(seed=3)
    found = pixels([0, 2, 2, 2, 0])
    _, bank = draw(found, teacher=teacher)
    masks = negative_masks(found, 1, 3)
    for c in range(3):
        assert np.array_equal(held(bank, c), teacher[masks[:, c]])


def test_anchors_positives_and_negatives_are_drawn_from_their_own_sets():
    found = pixels([0, 2, 2, 2, 0])
    teacher = rows(seed=4)
    chosen, bank = draw(found, teacher=teacher)
    assert set(chosen.anchor[0]) <= {0, 4}
    assert set(chosen.anchor[2]) <= {1, 2, 3}
    mean = teacher[[1, 2, 3]].mean(0)
    np.testing.assert_allclose(chosen.positive[2], mean / np.linalg.norm(mean), rtol=1e-6)
    known = held(bank, 2)
    known = known / np.linalg.norm(known, axis=1, keepdims=True)
    assert all(np.isclose(row, known).all(1).any() for row in chosen.negative[2].reshape(-1, 4))
    assert chosen.weight.tolist() == [0.5, 0, 0.5]


def test_anchors_and_negatives_are_drawn_uniformly_by_two_arrays_of_numbers():
    found = pixels([0, 2, 2, 2, 0])
    bank = MemoryBank((20, 20, 20), 4)
    for c in range(3):
        fill(bank, c, rows(17, seed=20 + c))
    chosen, bank = draw(found, bank, seed=3)
    rng = np.random.default_rng(3)
    along, within = rng.random((3, TINY.num_queries)), rng.random((3, TINY.num_queries, TINY.num_negatives))
    for c, members in ((0, np.array([0, 4])), (2, np.array([1, 2, 3]))):
        likely = members[PROB[members, c] > TINY.current_class_threshold]
        assert chosen.anchor[c].tolist() == likely[(along[c] * len(likely)).astype(int)].tolist()
        taken = held(bank, c)[(within[c] * bank.count(c)).astype(int)]
        np.testing.assert_allclose(chosen.negative[c], taken / np.linalg.norm(taken, axis=-1, keepdims=True), rtol=1e-6)


def test_a_class_without_negatives_does_not_keep_later_ones_from_theirs():
    bank = MemoryBank((20, 20, 20), 4)
    fill(bank, 2, rows(3))
    chosen, _ = draw(pixels([0, 2, 2, 2, 0], uncertain=[0] * 5), bank)
    assert chosen.weight.tolist() == [0, 0, 0.5]


def test_the_same_generator_gives_the_same_choice_and_another_does_not():
    found = pixels([0, 2, 2, 2, 0])
    first, again, other = (draw(found, seed=seed)[0] for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.anchor, other.anchor)


@pytest.mark.parametrize(
    ("label", "certain", "uncertain", "weight"),
    [
        ([2, 2, 2, 2, 2], None, None, [0, 0, 0]),  # one class: nothing to tell apart
        ([255] * 5, None, None, [0, 0, 0]),
        ([0, 2, 2, 2, 0], [0] * 5, None, [0, 0, 0]),
        ([0, 2, 2, 2, 0], None, [0] * 5, [0, 0, 0]),  # an empty bank
        ([1, 2, 2, 2, 1], None, None, [0, 0.5, 0.5]),
        (
            [1, 2, 0, 2, 1],
            None,
            [1, 1, 0, 0, 0],
            [0, 0, 0],
        ),  # no class has both
    ],
)
def test_classes_without_anchors_or_negatives_have_no_weight(label, certain, uncertain, weight):
    chosen, _ = draw(pixels(label, certain, uncertain))
    np.testing.assert_allclose(chosen.weight, weight, rtol=1e-6)
    assert all(np.isfinite(part).all() for part in chosen)


def loss_of(rep, chosen, temperature=0.5):
    return contrastive_loss(Tensor(rep), *map(Tensor, chosen), temperature)


def test_the_loss_is_the_mean_log_softmax_of_the_positive():
    rep = np.random.default_rng(5).normal(0, 2, (1, 4, 1, 5)).astype(np.float32)
    chosen, _ = draw(pixels([0, 2, 2, 2, 0]))
    flat = rep[0, :, 0].T.astype(np.float64)
    expected = 0
    for c in (0, 2):
        query = flat[chosen.anchor[c]]
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
        keys = np.concatenate([np.repeat(chosen.positive[c][None, None], 6, 0), chosen.negative[c]], 1)
        scores = np.exp(np.einsum("qd,qnd->qn", query, keys) / 0.5)
        expected += -np.log(scores[:, 0] / scores.sum(1)).mean() / 2
    assert float(loss_of(rep, chosen)) == pytest.approx(expected, rel=1e-5)
    assert float(loss_of(3 * rep, chosen)) == pytest.approx(expected, rel=1e-5)  # lengths do not matter


def test_only_anchors_get_a_gradient_and_no_class_means_zero():
    rep = np.random.default_rng(5).normal(0, 2, (1, 4, 1, 5)).astype(np.float32)
    chosen, _ = draw(pixels([255, 2, 2, 255, 0]))
    value, gradient = value_and_grad(lambda x: contrastive_loss(x, *map(Tensor, chosen), 0.5))(Tensor(rep))
    assert float(value) > 0
    moved = np.abs(gradient.asnumpy()[0, :, 0]).sum(0) > 0
    assert set(np.flatnonzero(moved)) == {*chosen.anchor[0], *chosen.anchor[2]} <= {1, 2, 4}
    nothing, _ = draw(pixels([255] * 5))
    value, gradient = value_and_grad(lambda x: contrastive_loss(x, *map(Tensor, nothing), 0.5))(Tensor(rep))
    assert (float(value), float(np.abs(gradient.asnumpy()).max())) == (0, 0)


# --- negatives as U2PL's code chooses them ----------------------------------------------------------------------------


def published_masks(prob, label_l, label_u, certain, uncertain, threshold, low, high):
    """(members, anchors, negatives), each image x class x pixel, pixel by pixel as U2PL's functions go through them.

    prob: images of both kinds x class x pixel. labels: images x pixel. certain, uncertain: as prob, without classes.
    """
    images, count, num_classes = *label_l.shape, prob.shape[1]
    masks = np.zeros((3, 2 * images, num_classes, count), bool)
    for kind, labels in enumerate((label_l, label_u)):
        hot = np.zeros((num_classes, images, count), int)
        for image in range(images):  # scatter along the classes, where the index has room for one image: the first
            for pixel in range(count):
                label = labels[image, pixel]
                hot[0 if label == 255 else label, 0, pixel] = 1
        for image in range(images):
            for pixel in range(count):
                if labels[image, pixel] == 255:
                    hot[:, image, pixel] = 0
        for image in range(images):
            place = kind * images + image
            for pixel in range(count):
                order = sorted(range(num_classes), key=lambda c: -prob[place, c, pixel])
                for c in range(num_classes):
                    member = hot[c, image, pixel] and certain[place, pixel]
                    masks[0, place, c, pixel] = member
                    masks[1, place, c, pixel] = member and prob[place, c, pixel] > threshold
                    likely_not = c in order[:low] and hot[c, image, pixel] == 0 if kind == 0 else c in order[low:high]
                    masks[2, place, c, pixel] = hot[c, image, pixel] and uncertain[place, pixel] and likely_not
    return masks


@pytest.mark.parametrize("classes", [(0, 1, 2, 3), (1, 3), (0, 2), (3,)])
@pytest.mark.parametrize("seed", range(3))
def test_published_negatives_are_those_of_the_published_functions(classes, seed):
    rng, images, count, num_classes = np.random.default_rng(seed), 3, 20, 4
    prob = rng.dirichlet(np.ones(num_classes), (2 * images, count)).transpose(0, 2, 1)
    label_l, label_u = rng.choice([*classes, 255], (2, images, count))
    certain, uncertain = rng.random((2, 2 * images, count)) < 0.6
    certain[:images] = uncertain[:images] = True
    cfg = TINY.model_copy(update={"negatives": "published"})
    expected = published_masks(prob, label_l, label_u, certain, uncertain, 0.3, cfg.low_rank, cfg.high_rank)
    members, anchors, negatives = (mask.transpose(0, 2, 1).reshape(-1, num_classes) for mask in expected)
    seen = Pixels(
        prob.transpose(0, 2, 1).reshape(-1, num_classes),
        np.concatenate([label_l, label_u]).ravel(),
        certain.ravel(),
        uncertain.ravel(),
        labelled=images * count,
        images=images,
    )
    teacher = rows(2 * images * count, seed=seed)
    bank = MemoryBank((200,) * num_classes, 4)
    chosen = compared(seen, teacher, bank, cfg, seed)
    present = [c for c in range(num_classes) if members[:, c].any()]
    for c in range(num_classes):
        assert np.array_equal(held(bank, c), teacher[negatives[:, c]])
    for place, c in enumerate(present):  # anchors and positive are those of class ``place``
        if len(present) > 1 and anchors[:, place].any() and negatives[:, c].any():
            assert set(chosen.anchor[c]) <= set(np.flatnonzero(anchors[:, place]))
            mean = teacher[members[:, place]].mean(0)
            np.testing.assert_allclose(chosen.positive[c], mean / np.linalg.norm(mean), rtol=1e-5)
            known = teacher[negatives[:, c]]
            known = known / np.linalg.norm(known, axis=1, keepdims=True)
            assert all(np.isclose(row, known, atol=1e-6).all(1).any() for row in chosen.negative[c].reshape(-1, 4))
            assert chosen.weight[c] == pytest.approx(1 / len(present))
        else:
            assert chosen.weight[c] == 0
    if len(classes) > 2:
        assert chosen.weight.any()


def test_the_papers_rule_fills_the_bank_many_times_as_fast():
    rng, images, count = np.random.default_rng(0), 4, 200
    prob = rng.dirichlet(0.3 * np.ones(6), 2 * images * count)
    label = prob.argmax(1)
    every = np.ones(len(label), bool)
    counts = {}
    for negatives in ("paper", "published"):
        cfg = TINY.model_copy(update={"negatives": negatives, "low_rank": 3, "high_rank": 20})
        bank = MemoryBank((5000,) * 6, 4)
        seen = Pixels(prob, label, every, every, images * count, images)
        sample_contrast(seen, Tensor(rows(len(label))), bank, cfg, np.random.default_rng(0))
        counts[negatives] = sum(bank.count(c) for c in range(6))
    assert 0 < counts["published"] < counts["paper"] / 5
