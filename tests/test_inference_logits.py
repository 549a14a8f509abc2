"""Whole images, sliding windows, scales and mirror images, with networks whose answer is known."""

import itertools

import numpy as np
import pytest
from mindspore import Tensor
from scipy.special import softmax
from tiny import context_of, image, network_of

from semiseg.config.keys import EvaluationConfig
from semiseg.inference import logits
from semiseg.inference.logits import (
    _windows,
    image_logits,
    logit_strips,
    sliding_strips,
    sliding_window,
    upsampled_strips,
)
from semiseg.models import Output
from semiseg.models.interpolate import resize

WHOLE = EvaluationConfig()


def windows_of(height, width, rate=2 / 3):
    return EvaluationConfig(mode="slide", crop_size=(height, width), stride_rate=rate)


class Echo:
    """Its logits are the pixels themselves, so that what comes out must be the image that went in."""

    def __init__(self):
        self.sizes = []

    def __call__(self, x):
        self.sizes.append(x.shape[2:])
        return Output(x, None, None, 2 * x)

    def logits(self, x):
        self.sizes.append(x.shape[2:])
        return x


def test_whole_image_logits_are_the_networks_at_image_size():
    network = network_of(context_of().net)
    x = image()
    out, found = network(x), image_logits(network, x, WHOLE)
    assert np.array_equal(found.linear.asnumpy(), resize(out.pred, (37, 45)).asnumpy())
    assert np.array_equal(found.proto.asnumpy(), out.proto.asnumpy())


def test_a_network_without_prototypes_has_none():
    network = network_of(context_of("net.proto_head=null").net)
    assert image_logits(network, image(), WHOLE).proto is None


def test_mirroring_averages_with_the_mirrored_answer_turned_back():
    x = image()
    found = image_logits(Echo(), x, WHOLE.model_copy(update={"flip": True}))
    np.testing.assert_allclose(found.linear.asnumpy(), x.asnumpy(), rtol=1e-6)
    np.testing.assert_allclose(found.proto.asnumpy(), 2 * x.asnumpy(), rtol=1e-6)
    network = network_of(context_of().net)
    flipped = Tensor(np.ascontiguousarray(x.asnumpy()[:, :, :, ::-1]))
    first = image_logits(network, x, WHOLE.model_copy(update={"flip": True})).linear.asnumpy()
    second = image_logits(network, flipped, WHOLE.model_copy(update={"flip": True})).linear.asnumpy()
    np.testing.assert_allclose(first, second[:, :, :, ::-1], atol=1e-3)  # with both, left and right are alike


def test_strips_of_several_views_are_their_mean():
    pixels = image().asnumpy()[0]
    views = EvaluationConfig(scales=(1.0, 1.0, 1.0), flip=True)  # all of them the image again: Echo turns nothing
    strips = np.concatenate(list(logit_strips(Echo(), pixels, pixels.shape[1:], views)), 1)
    assert np.allclose(strips, pixels, atol=1e-6)  # 6 times as much would make a softmax of it too sure


def test_scales_are_averaged_at_the_images_size():
    echo = Echo()
    constant = Tensor(np.full((1, 3, 40, 60), 1.5, np.float32))
    found = image_logits(echo, constant, WHOLE.model_copy(update={"scales": (0.5, 1.0, 1.75)}))
    assert echo.sizes == [(20, 30), (40, 60), (70, 105)]
    np.testing.assert_allclose(found.linear.asnumpy(), 1.5, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 70)])
def test_no_scale_makes_a_side_smaller_than_one_pixel(size):
    for update in (
        {"scales": (0.1, 1.0)},
        {"mode": "slide", "base_size": 3, "crop_size": (5, 5), "scales": (0.1, 1.0)},
    ):
        echo = Echo()
        found = image_logits(echo, Tensor(np.full((1, 3, *size), 1.5, np.float32)), WHOLE.model_copy(update=update))
        assert min(min(seen) for seen in echo.sizes) >= 1
        np.testing.assert_allclose(found.linear.asnumpy(), np.full((1, 3, *size), 1.5), rtol=1e-5)


@pytest.mark.parametrize(("size", "expected"), [((40, 80), (64, 128)), ((80, 40), (128, 64)), ((50, 50), (128, 128))])
def test_the_long_side_is_brought_to_the_base_size_in_sliding_only(size, expected):
    slide = WHOLE.model_copy(update={"mode": "slide", "base_size": 128, "crop_size": (128, 128)})
    echo = Echo()
    image_logits(echo, image(*size), slide)
    assert set(echo.sizes) == {(128, 128)}
    for mode in ("whole", "center"):
        other = Echo()
        image_logits(other, image(*size), slide.model_copy(update={"mode": mode}))
        assert other.sizes == [size]
    windows = Echo()
    image_logits(windows, image(*size), slide.model_copy(update={"crop_size": (17, 17), "stride_rate": 1.0}))
    assert len(windows.sizes) == -(-expected[0] // 17) * -(-expected[1] // 17)


@pytest.mark.parametrize("size", [(37, 45), (20, 90), (16, 16), (33, 33), (34, 33)])
@pytest.mark.parametrize("rate", [1.0, 2 / 3, 0.3])
def test_overlapping_windows_are_averaged_seamlessly(size, rate):
    x = image(*size)
    echo = Echo()
    found = sliding_window(echo, x, windows_of(33, 25, rate))
    np.testing.assert_allclose(found.asnumpy(), x.asnumpy(), rtol=1e-5, atol=1e-5)
    assert set(echo.sizes) == {(33, 25)}


def test_one_window_as_large_as_the_image_is_the_whole_image():
    network = network_of(context_of().net)
    x = image(33, 41)
    expected = resize(network.logits(x), (33, 41)).asnumpy()
    np.testing.assert_allclose(sliding_window(network, x, windows_of(33, 41)).asnumpy(), expected, rtol=1e-6)


def test_windows_cover_a_cityscapes_image_as_published():
    rows, cols = list(_windows(1024, 769, 2 / 3)), list(_windows(2048, 769, 2 / 3))
    assert [(w.start, w.stop) for w in rows] == [(0, 769), (255, 1024)]
    assert [(w.start, w.stop) for w in cols] == [(0, 769), (513, 1282), (1026, 1795), (1279, 2048)]


def test_the_sliding_window_scores_the_linear_head_only():
    slide = WHOLE.model_copy(update={"mode": "slide", "crop_size": (33, 33)})
    assert image_logits(Echo(), image(), slide).proto is None


@pytest.mark.parametrize("rate", [1.0, 2 / 3, 0.3])
def test_strips_put_together_are_the_sliding_window_and_are_small(rate):
    x = image(90, 45)
    strips = [strip.asnumpy()[0] for strip in sliding_strips(Echo(), x.asnumpy()[0], windows_of(33, 25, rate))]
    np.testing.assert_allclose(np.concatenate(strips, 1), x.asnumpy()[0], rtol=1e-5, atol=1e-5)
    assert len(strips) > 1
    assert max(strip.shape[1] for strip in strips) <= 33


class Numbered:
    """The n-th window's logits are n everywhere."""

    def __init__(self):
        self.count = 0

    def logits(self, x):
        self.count += 1
        return Tensor(np.full((1, 2, 3, 3), self.count, np.float32))


@pytest.mark.parametrize(("size", "window", "rate"), [((40, 50), (16, 20), 2 / 3), ((40, 20), (16, 20), 0.3)])
def test_each_pixel_is_the_mean_of_the_windows_that_reach_it(size, window, rate):
    rows, cols = (list(_windows(n, side, rate)) for n, side in zip(size, window, strict=True))
    total, count = np.zeros(size), np.zeros(size)
    for number, (row, col) in enumerate(itertools.product(rows, cols), 1):
        total[row, col] += number
        count[row, col] += 1
    found = sliding_window(Numbered(), image(*size), windows_of(*window, rate)).asnumpy()
    assert count.max() >= 4
    np.testing.assert_allclose(found, np.broadcast_to(total / count, found.shape), rtol=1e-6)


class Doubtful:
    """Very sure of class 1 in the first window, in all others sure of class 0."""

    def __init__(self):
        self.count = 0

    def logits(self, x):
        self.count += 1
        logits = np.zeros((1, 2, 3, 3), np.float32)
        logits[:, 1] = 60 if self.count == 1 else -3
        return Tensor(logits)


def test_of_probabilities_no_window_outweighs_all_others():
    cfg, size = windows_of(16, 20, 0.3), (16, 32)
    rows, cols = (list(_windows(n, side, 0.3)) for n, side in zip(size, cfg.crop_size, strict=True))
    total, count = np.zeros((2, *size)), np.zeros(size)
    for number, (row, col) in enumerate(itertools.product(rows, cols)):
        sure = 1 / (1 + np.exp(-60 if number == 0 else 3))
        total[:, row, col] += np.array([1 - sure, sure])[:, None, None]
        count[row, col] += 1
    cfg = cfg.model_copy(update={"average": "probabilities"})
    found = image_logits(Doubtful(), image(*size), cfg).linear.asnumpy()[0]
    np.testing.assert_allclose(np.exp(found), total / count, atol=1e-6)
    strips = np.concatenate(list(logit_strips(Doubtful(), image(*size).asnumpy()[0], size, cfg)), 1)
    np.testing.assert_allclose(strips, found, atol=1e-5)
    of_logits = image_logits(Doubtful(), image(*size), windows_of(16, 20, 0.3)).linear.asnumpy()[0]
    assert (of_logits.argmax(0) > found.argmax(0)).any()  # there the first one alone decides


def test_probabilities_of_scales_and_mirror_images_are_averaged_in_both_heads():
    network, x = network_of(context_of().net), image()
    views = WHOLE.model_copy(update={"flip": True, "average": "probabilities"})
    found = image_logits(network, x, views)
    mirrored = network(Tensor(np.ascontiguousarray(x.asnumpy()[:, :, :, ::-1])))
    for mean, first, second in zip(
        found,
        (resize(network(x).pred, (37, 45)), network(x).proto),
        (resize(mirrored.pred, (37, 45)), mirrored.proto),
        strict=True,
    ):
        expected = softmax(first.asnumpy(), 1) + softmax(second.asnumpy(), 1)[:, :, :, ::-1]
        np.testing.assert_allclose(np.exp(mean.asnumpy()), expected / 2, atol=1e-5)
    one = image_logits(network, x, WHOLE.model_copy(update={"average": "probabilities"})).linear.asnumpy()
    assert np.array_equal(one.argmax(1), image_logits(network, x, WHOLE).linear.asnumpy().argmax(1))


def test_logits_stay_on_the_device_until_a_strip_is_there(monkeypatch):
    read, real = [], Tensor.asnumpy
    x = image(90, 45).asnumpy()[0]
    monkeypatch.setattr(Tensor, "asnumpy", lambda tensor: read.append(tensor.shape) or real(tensor))
    assert len(list(sliding_strips(Echo(), x, windows_of(33, 25)))) > 1
    assert read == []


@pytest.mark.parametrize("size", [(37, 45), (74, 90), (5, 200), (1, 1), (120, 7)])
def test_strips_of_another_size_are_the_resized_map(size):
    x = image()
    strips = list(upsampled_strips(x.asnumpy()[0], size, at_once=3 * size[1] * 4))
    np.testing.assert_allclose(np.concatenate(strips, 1), resize(x, size).asnumpy()[0], atol=1e-5)
    assert len(strips) == (1 if size == (37, 45) else -(-size[0] // 4))


def test_of_one_scale_nothing_is_ever_held_at_full_size_on_the_device():
    network, x = network_of(context_of().net), image(90, 70)
    cfg = WHOLE.model_copy(update={"scales": (0.5,)})
    strips = np.concatenate(list(logit_strips(network, x.asnumpy()[0], (90, 70), cfg)), 1)
    np.testing.assert_allclose(strips, image_logits(network, x, cfg).linear.asnumpy()[0], atol=1e-5)
    seen = Echo()
    assert next(logit_strips(seen, np.zeros((3, 900, 700), np.float32), (900, 700), cfg)).shape == (3, 900, 700)
    assert seen.sizes == [(450, 350)]


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_windows_of_one_scale_are_put_together_strip_by_strip(average, monkeypatch):
    network, x = network_of(context_of().net), image(90, 70)
    cfg = windows_of(33, 33).model_copy(update={"scales": (0.8,), "average": average})
    expected = image_logits(network, x, cfg).linear.asnumpy()[0]
    monkeypatch.setattr(logits, "image_logits", None)
    strips = np.concatenate(list(logit_strips(network, x.asnumpy()[0], (90, 70), cfg)), 1)
    np.testing.assert_allclose(strips, expected, atol=1e-5)
