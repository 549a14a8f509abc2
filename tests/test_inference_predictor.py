"""One image through a network, whole or in windows, at its own or another size."""

import numpy as np
import pytest
from mindspore import Tensor
from scipy.special import softmax
from tiny import CLASSES, context_of, network_of

from semiseg.config.keys import EvaluationConfig
from semiseg.data.transforms import MEAN, STD, normalize
from semiseg.inference.logits import image_logits
from semiseg.inference.predictor import Predictor, to_long_side

WHOLE = EvaluationConfig(crop_size=(33, 33))


@pytest.fixture(scope="module")
def network():
    return network_of(context_of().net)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def evaluated(network, image, mode):
    """The probabilities of the logits that evaluation takes, C x H x W."""
    return softmax(image_logits(network, Tensor(normalize(image)[None]), mode).linear.asnumpy()[0], axis=0)


@pytest.mark.parametrize(
    "mode",
    [
        WHOLE,
        WHOLE.model_copy(update={"mode": "slide"}),
        WHOLE.model_copy(update={"mode": "slide", "base_size": 70}),
        WHOLE.model_copy(update={"scales": (0.75, 1.0), "flip": True}),
        WHOLE.model_copy(update={"mode": "slide", "average": "probabilities"}),
    ],
    ids=["whole", "slide", "slide at another size", "scales and mirror images", "slide by probabilities"],
)
@pytest.mark.parametrize("size", [(50, 61), (20, 90)])
def test_predictions_are_those_of_the_evaluation(network, mode, size):
    image = picture(*size)
    classes, found = Predictor(network, mode, MEAN, STD)(image, keep=True)
    expected = evaluated(network, image, mode)
    assert (classes.shape, classes.dtype, found.shape, found.dtype) == (size, np.uint8, (CLASSES, *size), np.float16)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    sure = np.sort(expected, 0)[-1] - np.sort(expected, 0)[-2] > 1e-3
    assert sure.mean() > 0.9
    assert np.array_equal(classes[sure], expected.argmax(0)[sure])


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3)])
def test_the_smallest_images_have_a_prediction(network, size):
    scaled = {"scales": (0.25, 1.0)}
    for update in ({}, {"mode": "slide"}, scaled, {"mode": "slide", "base_size": 20, **scaled}):
        for long_side in (None, 1):
            mode = WHOLE.model_copy(update=update)
            assert Predictor(network, mode, MEAN, STD, long_side)(picture(*size))[0].shape == size


def test_large_images_go_through_the_window(network):
    image = picture(60, 80)
    within, above = (Predictor(network, WHOLE, MEAN, STD, whole_pixels=n)(image, True)[1] for n in (4800, 4799))
    np.testing.assert_allclose(within, evaluated(network, image, WHOLE), atol=2e-3)
    np.testing.assert_allclose(above, evaluated(network, image, WHOLE.model_copy(update={"mode": "slide"})), atol=2e-3)
    assert np.abs(within.astype(float) - above).max() > 0.01


@pytest.mark.parametrize(("scales", "seen"), [((0.5,), 1200), ((0.25, 2.0), 19200)])
def test_the_largest_size_that_the_network_sees_decides_on_the_window(network, scales, seen):
    image, mode = picture(60, 80), WHOLE.model_copy(update={"scales": scales})
    within, above = (Predictor(network, mode, MEAN, STD, whole_pixels=n)(image, True)[1] for n in (seen, seen - 1))
    np.testing.assert_allclose(within, evaluated(network, image, mode), atol=2e-3)
    np.testing.assert_allclose(above, evaluated(network, image, mode.model_copy(update={"mode": "slide"})), atol=2e-3)


def test_another_long_side_is_what_the_network_sees_and_results_keep_their_size(network):
    image = picture(60, 80)
    slide = WHOLE.model_copy(update={"mode": "slide", "base_size": 500})  # what the evaluation would take
    for mode in (WHOLE, slide):
        found = Predictor(network, mode, MEAN, STD, long_side=40)(image, True)[1]
        as_it_is = mode.model_copy(update={"base_size": None})
        small = Predictor(network, as_it_is, MEAN, STD)(to_long_side(image, 40), True)[1]
        assert (found.shape, small.shape) == ((CLASSES, 60, 80), (CLASSES, 30, 40))
        np.testing.assert_allclose(found[:, ::59, ::79], small[:, ::29, ::39], atol=5e-3)  # corners meet corners


def test_images_are_made_smaller_by_averaging():
    image = np.repeat(np.repeat(picture(5, 6), 4, 0), 4, 1)
    assert np.array_equal(to_long_side(image, 6), picture(5, 6))
    assert to_long_side(picture(1, 300), 3).shape == (1, 3, 3)
    assert to_long_side(picture(10, 5), 40).shape == (40, 20, 3)


def test_mode_center_predicts_the_whole_image(network):
    image = picture(50, 61)
    center = Predictor(network, WHOLE.model_copy(update={"mode": "center"}), MEAN, STD)(image)[0]
    assert np.array_equal(center, Predictor(network, WHOLE, MEAN, STD)(image)[0])


@pytest.mark.parametrize(("scales", "around_one"), [((0.24,), (1.0,)), ((0.25, 0.5, 1.0), (0.5, 1.0, 2.0))])
def test_a_long_side_takes_the_place_of_the_scale_that_images_are_otherwise_seen_at(network, scales, around_one):
    image = picture(60, 80)
    found, expected = (
        Predictor(network, WHOLE.model_copy(update={"scales": each}), MEAN, STD, long_side=40)(image, True)[1]
        for each in (scales, around_one)
    )
    assert np.array_equal(found, expected)
