"""Weights of classes, against counts by hand; what they change in a step."""

import numpy as np
import pytest
from tiny import Trainee, context_for

from semiseg.methods.class_balance import class_weights


def masks():
    """Classes 0 and 1 are in both (0: 6 of 8 and 2 of 6 labelled pixels), 2 in the second alone, 3 in none."""
    first = np.array([[0, 0, 0, 0], [0, 0, 1, 1]], np.uint8)
    second = np.array([[0, 0, 1, 2], [2, 2, 255, 255]], np.uint8)
    return [first, second]


def test_frequencies_are_those_in_the_images_that_show_a_class():
    frequency = np.array([8 / 14, 3 / 14, 3 / 6])
    found = class_weights(masks(), 4, 1.0)
    np.testing.assert_allclose(found[:3] / found[2], frequency[2] / frequency, rtol=1e-6)
    assert found[3] == 1
    assert found.dtype == np.float32


def test_a_labelled_pixel_weighs_1_in_the_mean():
    labels = np.concatenate([mask.ravel() for mask in masks()])
    for power in (0.3, 1.0):
        assert class_weights(masks(), 4, power)[labels[labels < 4]].mean() == pytest.approx(1, rel=1e-6)


def test_the_power_goes_from_no_weights_to_median_frequency_balancing():
    whole = class_weights(masks(), 4, 1.0)
    np.testing.assert_array_equal(class_weights(masks(), 4, 0.0), np.ones(4))
    half = class_weights(masks(), 4, 0.5)
    np.testing.assert_allclose((half / half[0])[:3], np.sqrt(whole / whole[0])[:3], rtol=1e-6)


def test_a_class_of_a_single_pixel_occurs():
    weights = class_weights([np.array([[0, 0, 0, 1]], np.uint8)], 2, 1.0)
    assert weights[1] / weights[0] == pytest.approx(3)


def test_without_any_labelled_pixel_all_classes_weigh_alike():
    assert class_weights([np.full((2, 2), 255, np.uint8)], 3, 1.0).tolist() == [1, 1, 1]
    assert class_weights([], 3, 1.0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["suponly", "ours"])
def test_a_run_says_the_weights_once_and_its_loss_is_another(name):
    plain, balanced = (context_for(name, f"criterion.class_balance={power}") for power in (0, 1))
    results = {}
    for power, context in enumerate((plain, balanced)):
        trainee = Trainee(name, context)
        lines = trainee.method.enter_step(0)
        assert len(lines) == power
        results[power] = trainee.run(0, 2)
    weights = class_weights([mask for _, mask in balanced.images.labeled()], 3, 1.0)
    assert "(criterion.class_balance): " + ", ".join(f"{weight:.2f}" for weight in weights) in lines[0]
    assert results[0][0].terms["sup"] != pytest.approx(results[1][0].terms["sup"], rel=1e-3)


def test_ohem_takes_no_weights():
    context = context_for("suponly", "criterion={type: ohem, class_balance: 1}")
    assert Trainee("suponly", context).method.class_weights is None
