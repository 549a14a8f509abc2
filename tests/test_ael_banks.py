"""AEL's two banks: what they hold, what they draw, what a checkpoint restores."""

import numpy as np
import pytest
from mindspore import Tensor

from semiseg.methods.ael.banks import ConfidenceBank, ImageBank


def test_unlearnt_classes_are_all_alike():
    bank = ConfidenceBank(4, 0.9)
    assert bank.values.tolist() == [0, 0, 0, 0]
    assert bank.mixing_probabilities() == pytest.approx([0.25] * 4)
    assert bank.sampling_probabilities(1.0).tolist() == [1, 1, 1, 1]


def test_a_class_absent_from_a_step_keeps_its_value():
    bank = ConfidenceBank(3, 0.9)
    bank.update(np.array([8.0, 0.0, 3.0]), np.array([10, 0, 4]))
    assert bank.values == pytest.approx([0.08, 0, 0.075])
    bank.update(np.array([0.0, 0.0, 3.0]), np.array([0, 0, 4]))
    assert bank.values == pytest.approx([0.08, 0, 0.9 * 0.075 + 0.075])


def test_badly_learnt_classes_are_drawn_and_kept_more_often():
    bank = ConfidenceBank(3, 0.0)
    bank.update(np.array([0.9, 0.5, 0.1]), np.ones(3))
    for shares in (bank.mixing_probabilities(), bank.pasting_probabilities(()), bank.sampling_probabilities(1.0)):
        assert shares[0] < shares[1] < shares[2]
    assert bank.sampling_probabilities(1.0) == pytest.approx([1 / 9, 5 / 9, 1])
    assert bank.sampling_probabilities(0).tolist() == [1, 1, 1]
    assert bank.pasting_probabilities((2,))[2] == 0
    assert bank.mixing_probabilities().sum() == pytest.approx(1)
    assert bank.pasting_probabilities((2,)).sum() == pytest.approx(1)


def test_the_probabilities_have_the_bits_of_the_formula():
    rng = np.random.default_rng(5)
    for classes in range(1, 40):
        bank = ConfidenceBank(classes, 0.0)
        bank.update(rng.random(classes), np.ones(classes))
        missing = 1 - bank.values.astype(np.float64)
        for probabilities, score in (
            (bank.mixing_probabilities(), missing),
            (bank.pasting_probabilities(()), np.sqrt(missing)),
        ):
            raised = np.exp(score - score.max())
            assert np.array_equal(probabilities, raised / raised.sum())


def test_classes_learnt_perfectly_do_not_divide_by_zero():
    bank = ConfidenceBank(2, 0.0)
    bank.update(np.ones(2), np.ones(2))
    assert np.isfinite(bank.sampling_probabilities(1.0)).all()
    assert bank.pasting_probabilities(()).tolist() == [0.5, 0.5]


def test_a_confidence_that_rounding_puts_above_one_is_taken_as_one():
    bank = ConfidenceBank(2, 0.0)
    bank.update(np.array([1.00001, 1.0]), np.ones(2))
    assert bank.pasting_probabilities(()).tolist() == [0.5, 0.5]


def test_a_number_above_the_sum_of_probabilities_draws_the_last_class():
    bank = ImageBank(2, 3)
    classes = {bank.draw(np.array([0.01, 0.01]), np.random.default_rng(seed))[0] for seed in range(20)}
    assert classes == {1}


def test_pixels_outside_the_classes_show_nothing():
    prediction = np.array([[0, 0, 2, 3, 255, 255]])
    assert ImageBank(3, 1).shown(prediction, 0.1).tolist() == [True, False, True]
    assert ImageBank(3, 1).shown(prediction, 2 / 6).tolist() == [True, False, False]


def test_an_image_is_marked_with_the_classes_that_cover_enough():
    bank = ImageBank(3, 2)
    prediction = np.zeros((10, 10), int)
    prediction[0, :5] = 1
    bank.mark(1, bank.shown(prediction, 0.05))
    assert bank.state()["adaptive.images"].array.tolist() == [[0, 1], [0, 1], [0, 0]]
    bank.mark(1, bank.shown(prediction, 0.06))
    assert bank.state()["adaptive.images"].array[:, 1].tolist() == [1, 0, 0]
    bank.mark(1, bank.shown(prediction, 0.0))  # a class that does not occur is not there, whatever the threshold
    assert bank.state()["adaptive.images"].array[:, 1].tolist() == [1, 1, 0]


def test_images_are_drawn_from_those_that_hold_the_class_or_else_from_all():
    bank = ImageBank(2, 50)
    for image in (7, 30):
        bank.mark(image, bank.shown(np.ones((4, 4), int), 0.5))
    draws = [bank.draw(np.array([0.3, 0.7]), np.random.default_rng(seed)) for seed in range(300)]
    assert {image for class_id, image in draws if class_id == 1} == {7, 30}
    assert len({image for class_id, image in draws if class_id == 0}) > 30
    assert np.mean([class_id for class_id, _ in draws]) == pytest.approx(0.7, abs=0.11)  # four standard deviations


def test_the_state_carries_everything_over():
    bank, images = ConfidenceBank(3, 0.5), ImageBank(3, 4)
    bank.update(np.array([0.5, 0.1, 0.2]), np.ones(3))
    images.mark(2, images.shown(np.full((3, 3), 2), 0.1))
    other, others = ConfidenceBank(3, 0.5), ImageBank(3, 4)
    for source, target in ((bank, other), (images, others)):
        for name, item in target.state().items():
            item.set_data(Tensor(source.state()[name].asnumpy()))
    assert other.values.tolist() == bank.values.tolist()
    assert others.draw(np.array([0, 0, 1]), np.random.default_rng(0)) == (2, 2)
