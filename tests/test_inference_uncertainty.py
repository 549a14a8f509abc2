"""Scores of what a network is unsure of, in strips and as a whole, whole images and windows."""

import math

import numpy as np
import pytest
from mindspore import Tensor
from scipy.special import log_softmax, softmax
from scipy.stats import entropy as scipy_entropy
from tiny import CLASSES, context_of, network_of

from semiseg.config.keys import EvaluationConfig
from semiseg.data.pictures import Painter
from semiseg.data.specs import custom_spec
from semiseg.data.transforms import MEAN, STD, normalize
from semiseg.inference.predictor import Predictor
from semiseg.inference.uncertainty import (
    BothHeads,
    Ranked,
    Scores,
    image_scores,
    most_uncertain,
    picture_of,
    pixel_entropy,
)
from semiseg.models.deeplabv3plus import Output
from semiseg.models.interpolate import resize

WHOLE = EvaluationConfig(crop_size=(33, 33))
SPEC = custom_spec("three", ["background", "cat", "dog"], "{id}.jpg", "{id}.png")


@pytest.fixture(scope="module")
def network():
    return network_of(context_of().net)


def logits(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


def test_entropy_is_shannons_in_nats():
    x = logits(5, 4, 7)
    np.testing.assert_allclose(pixel_entropy(x), scipy_entropy(softmax(x, axis=0), axis=0), atol=1e-5)
    assert pixel_entropy(np.zeros((5, 1, 1), np.float32))[0, 0] == pytest.approx(math.log(5))
    sure = np.array([1e4, 0, 0], np.float32)[:, None, None]
    assert pixel_entropy(sure)[0, 0] == 0


def test_scores_are_means_over_all_pixels_whatever_the_strips():
    x = logits(10, 12, 7)  # of two heads of five classes
    classes, other = x[:5].argmax(0), x[5:].argmax(0)
    for parts in ([x], [x[:, :1], x[:, 1:9], x[:, 9:]]):
        scores = image_scores(parts, 5)
        assert scores.entropy == pytest.approx(scipy_entropy(softmax(x[:5], axis=0), axis=0).mean(), abs=1e-5)
        assert scores.disagreement == (classes != other).mean()
    assert image_scores([x[:5]], 5) == Scores(pytest.approx(image_scores([x], 5).entropy), None)


def test_the_least_sure_come_first_and_of_equals_the_earlier_one():
    scored = [Ranked(name, Scores(e, d)) for name, e, d in (("a", 1, 0), ("b", 2, 0.5), ("c", 2, 0.1), ("d", 0, 0.9))]
    assert [item for item, _ in most_uncertain(iter(scored), 3, "entropy")] == ["b", "c", "a"]
    assert [item for item, _ in most_uncertain(iter(scored), 9, "disagreement")] == ["d", "b", "c", "a"]


@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.0)])
def test_both_heads_are_the_networks_own_on_a_whole_image(network, scales):
    image = np.random.default_rng(0).integers(0, 256, (50, 61, 3), dtype=np.uint8)
    mode = WHOLE.model_copy(update={"scales": scales})
    both = np.concatenate(list(Predictor(BothHeads(network), mode, MEAN, STD).strips(image)), 1)
    linear = np.concatenate(list(Predictor(network, mode, MEAN, STD).strips(image)), 1)
    np.testing.assert_allclose(log_softmax(both[:CLASSES], 0), log_softmax(linear, 0), atol=1e-4)
    if scales == (1.0,):
        proto = network(Tensor(normalize(image)[None])).proto.asnumpy()[0]
        np.testing.assert_allclose(both[CLASSES:], log_softmax(proto, 0), atol=1e-5)


def test_the_sliding_window_averages_both_heads(network):
    image = np.random.default_rng(0).integers(0, 256, (33, 44, 3), dtype=np.uint8)
    slide = WHOLE.model_copy(update={"mode": "slide", "stride_rate": 2 / 3})
    both = np.concatenate(list(Predictor(BothHeads(network), slide, MEAN, STD).strips(image)), 1)
    parts = [network(Tensor(normalize(image)[None, :, :, start : start + 33])) for start in (0, 11)]
    for heads, own in (
        (both[:CLASSES], [resize(part.pred, (33, 33)) for part in parts]),
        (both[CLASSES:], [p.proto for p in parts]),
    ):
        left, right = (log_softmax(part.asnumpy()[0], 0) for part in own)
        np.testing.assert_allclose(heads[:, :, :11], left[:, :, :11], atol=1e-4)
        np.testing.assert_allclose(heads[:, :, 11:33], (left[:, :, 11:] + right[:, :, :22]) / 2, atol=1e-4)


class Lopsided:
    """Two windows' worth of logits, and a prototype head whose logits are larger by ``offset`` in every other call."""

    def __init__(self, offset):
        self.offset, self.calls = offset, 0

    def __call__(self, x):
        self.calls += 1
        linear, proto = (Tensor(logits(1, 3, *x.shape[2:], seed=seed + 2 * self.calls)) for seed in (0, 1))
        return Output(linear, None, None, proto + self.offset * (self.calls % 2))


def test_averaged_as_probabilities_no_head_weighs_on_the_other():
    image = np.zeros((33, 44, 3), np.uint8)
    cfg = WHOLE.model_copy(update={"mode": "slide", "average": "probabilities"})
    alike, apart = (
        image_scores(Predictor(BothHeads(Lopsided(offset)), cfg, MEAN, STD).strips(image), 3) for offset in (0, 100)
    )
    assert apart == Scores(pytest.approx(alike.entropy, abs=1e-4), alike.disagreement)
    windows = [softmax(logits(1, 3, 33, 33, seed=2 * call)[0], 0) for call in (1, 2)]
    mean = np.zeros((3, 33, 44), np.float32)
    mean[:, :, :33] += windows[0]
    mean[:, :, 11:] += windows[1]
    assert alike.entropy == pytest.approx(scipy_entropy(mean, axis=0).mean(), abs=1e-4)


@pytest.mark.parametrize(("channels", "columns"), [(3, 3), (6, 4)])
def test_a_picture_shows_image_predictions_and_entropy(channels, columns):
    image = np.full((20, 30, 3), 100, np.uint8)
    x = np.zeros((channels, 20, 30), np.float32)
    x[0, :, 15:] = 50  # sure of background on the right, of nothing on the left
    row = picture_of(image, [x[:, :7], x[:, 7:]], Painter(SPEC), 3)
    assert row.shape == (24, columns * 34, 3)
    tiles = [row[2:-2, 34 * index + 2 : 34 * index + 32] for index in range(columns)]
    assert np.array_equal(tiles[0], image)
    assert tiles[-1][:, :15].min() > tiles[-1][:, 15:].max()
    large = picture_of(np.zeros((100, 1300, 3), np.uint8), [np.zeros((3, 100, 1300), np.float32)], Painter(SPEC), 3)
    assert large.shape == (round(100 * 640 / 1300) + 4, 3 * 644, 3)
