"""semiseg.models.layers: convolutions that change the order of additions and nothing else, and BatchNorm over devices.

BatchNorm is tested on one device here, where it must be MindSpore's own; on several in test_distributed.py.
"""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from semiseg.config.keys import EncoderConfig, NetConfig
from semiseg.models import build_model
from semiseg.models.layers import Conv3x3, ImagePool, StemPool, SyncBatchNorm2d, frozen_norm, synchronised_norm


def summed(x, weight, stride, rate):
    """The definition, in float64: each weight times the padded map, moved to its place."""
    height, width = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (rate, rate), (rate, rate)))
    total = 0
    for row in range(3):
        for column in range(3):
            part = padded[:, :, row * rate :, column * rate :][:, :, :height:stride, :width:stride]
            total = total + np.einsum("bchw,oc->bohw", part, weight[:, :, row, column].astype(np.float64))
    return total


CASES = {
    "plain": (6, 4, 1, 1, (9, 7)),
    "strided": (6, 4, 2, 1, (9, 7)),
    "dilated": (6, 4, 1, 3, (9, 7)),
    "no row above or below": (6, 4, 1, 7, (5, 9)),
    "no column left or right": (6, 4, 1, 5, (8, 5)),
    "the middle alone": (6, 4, 1, 9, (9, 7)),
    "the middle alone, strided": (6, 4, 2, 9, (9, 7)),
    "many to few": (1024, 3, 1, 1, (5, 4)),
    "many to few, dilated": (1024, 3, 1, 3, (4, 7)),
    "many to few, the middle alone": (1024, 3, 1, 12, (4, 7)),
}


def made(case, training):
    channels, planes, stride, rate, size = CASES[case]
    rng = np.random.default_rng(3)
    conv = Conv3x3(channels, planes, stride, rate)
    weight = (rng.standard_normal((planes, channels, 3, 3)) / np.sqrt(channels)).astype(np.float32)
    conv.weight.set_data(Tensor(weight))
    conv.set_train(training)
    x = rng.standard_normal((2, channels, *size)).astype(np.float32)
    return conv, x, summed(x, weight, stride, rate)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "not compiled"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("case", CASES)
def test_the_sum_is_that_of_the_definition(case, training, compiled):
    conv, x, expected = made(case, training)
    found = (ms.jit(conv) if compiled else conv)(Tensor(x)).asnumpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_plain_convolution(case):
    conv, x, expected = made(case, training=True)
    pull = Tensor(np.random.default_rng(4).standard_normal(expected.shape).astype(np.float32))

    def own(x):
        return (conv(x) * pull).sum()

    def plain(x):
        return (conv.conv2d(x, conv.weight) * pull).sum()

    both = [flat(ms.jit(ms.grad(f, 0, [conv.weight]))(Tensor(x))) for f in (own, plain)]
    for found, right in zip(*both, strict=True):
        assert np.abs(right).max() > 0.1
        np.testing.assert_allclose(found, right, atol=1e-4)


def flat(gradients):
    of_x, (of_weight,) = gradients
    return of_x.asnumpy(), of_weight.asnumpy()


def test_twice_the_same_bits():
    conv, x, _ = made("many to few, dilated", training=True)
    once, again = (conv(Tensor(x)).asnumpy() for _ in range(2))
    assert np.array_equal(once, again)


# ---- poolings


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "not compiled"])
@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize("size", [(9, 7), (8, 6), (9, 6), (6, 9), (1, 1), (2, 1)])
def test_the_stems_pooling_is_the_padded_one_in_values_and_gradients(size, ceil_mode, compiled):
    rng = np.random.default_rng(5)
    x = np.maximum(rng.normal(0.3, 1, (2, 3, *size)), 0).astype(np.float32)  # as after ReLU: many zeros
    plain = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1, ceil_mode=ceil_mode)
    shape = plain(Tensor(x)).shape
    pull = Tensor(rng.standard_normal(shape).astype(np.float32))

    def of(pool):
        def pulled(x):
            out = pool(ops.relu(x))
            return (out * pull).sum(), out

        function = ms.value_and_grad(pulled, has_aux=True)
        function = ms.jit(function) if compiled else function
        for _ in range(2):  # gradients through ops.pad are right the first time
            (_, out), gradient = function(Tensor(x))
        return out.asnumpy(), gradient.asnumpy()

    (found, gradient), (expected, right) = of(StemPool(ceil_mode)), of(plain)
    assert np.array_equal(found, expected)
    np.testing.assert_allclose(gradient, right, atol=1e-6)


def test_image_pooling_is_the_mean_of_the_map():
    x = np.random.default_rng(6).normal(2, 1, (2, 5, 33, 41)).astype(np.float32)
    found = ImagePool()(Tensor(x)).asnumpy()
    assert found.shape == (2, 5, 1, 1)
    np.testing.assert_allclose(found, x.astype(np.float64).mean((2, 3), keepdims=True), rtol=1e-6)


# ---- SyncBatchNorm2d

SMALL = EncoderConfig(type="resnet18")


def norms():
    """The layer with a sum over one device, and MindSpore's, with equal parameters."""
    rng = np.random.default_rng(3)
    layers = SyncBatchNorm2d(5, 1), nn.BatchNorm2d(5)
    layers[0]._sum = lambda x: x
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        values = Tensor(rng.uniform(0.5, 1.5, 5).astype(np.float32))
        for layer in layers:
            getattr(layer, name).set_data(values)
    return layers


def batch(shape=(3, 5, 7, 6)):
    return Tensor((20 + np.random.default_rng(4).normal(size=shape)).astype(np.float32))  # a mean far from 0


@pytest.mark.parametrize("training", [True, False])
def test_synchronised_batch_norm_is_mindspores_own(training):
    x, results = batch(), []
    for layer in norms():
        layer.set_train(training)
        function = ms.value_and_grad(lambda x, layer=layer: (ops.sin(layer(x))).sum(), 0, layer.trainable_params())
        value, (of_input, of_weights) = function(x)
        stored = [layer.moving_mean, layer.moving_variance]
        results.append([t.asnumpy() for t in (value, of_input, *of_weights, *stored)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)


def test_synchronised_batch_norm_of_one_number_a_channel_is_finite():
    layer = norms()[0].set_train(True)
    assert np.isfinite(layer(batch((1, 5, 1, 1))).asnumpy()).all()
    assert np.isfinite(layer.moving_variance.asnumpy()).all()


@pytest.mark.parametrize(("sync", "world", "synchronised"), [(True, 1, False), (True, 2, True), (False, 2, False)])
def test_a_network_has_it_where_several_devices_ask_for_it(sync, world, synchronised):
    network = build_model(NetConfig(num_classes=2, sync_bn=sync, encoder=SMALL), world)
    layers = [cell for _, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)]
    assert len(layers) > 25
    assert {isinstance(layer, SyncBatchNorm2d) for layer in layers} == {synchronised}


@pytest.mark.parametrize(("device", "own"), [("CPU", True), ("GPU", True), ("Ascend", False)])
def test_mindspores_own_is_taken_where_it_is_documented_to_train(monkeypatch, device, own):
    monkeypatch.setattr(ms, "get_context", lambda name: device)
    norm = synchronised_norm(2)
    assert (norm is nn.SyncBatchNorm) != own
    assert not own or isinstance(norm(3, eps=1e-3), SyncBatchNorm2d)


def test_names_with_it_are_those_of_a_network_on_one_device():
    networks = [build_model(NetConfig(num_classes=2, encoder=SMALL), world) for world in (1, 2)]
    names = [[name for name, _ in network.parameters_and_names()] for network in networks]
    assert names[0] == names[1]


# ---- frozen BatchNorm


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "not compiled"])
def test_frozen_batch_norm_is_that_of_evaluation_whose_scale_and_shift_learn(compiled):
    layer, x = frozen_norm(5, eps=1e-3).set_train(True), batch()
    rng = np.random.default_rng(3)
    mean, variance, scale = (rng.uniform(0.5, 1.5, 5).astype(np.float32) for _ in range(3))
    layer.moving_mean.set_data(Tensor(mean))
    layer.moving_variance.set_data(Tensor(variance))
    layer.gamma.set_data(Tensor(scale))
    pull, weights = rng.normal(size=x.shape).astype(np.float32), ms.ParameterTuple(layer.trainable_params())

    def pulled(x, pull):
        return (layer(x) * pull).sum()

    def value_and_gradients(x, pull):
        return ms.value_and_grad(pulled, 0, weights)(x, pull)

    function = ms.jit(value_and_gradients) if compiled else value_and_gradients
    value, (of_input, of_weights) = function(x, Tensor(pull))
    columns = [a.reshape(1, -1, 1, 1).astype(np.float64) for a in (mean, np.sqrt(variance + 1e-3), scale)]
    normal = (x.asnumpy() - columns[0]) / columns[1]
    np.testing.assert_allclose(value.asnumpy(), (normal * columns[2] * pull).sum(), rtol=1e-4)
    np.testing.assert_allclose(of_input.asnumpy(), pull * columns[2] / columns[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_weights[0].asnumpy(), (pull * normal).sum((0, 2, 3)), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(of_weights[1].asnumpy(), pull.sum((0, 2, 3)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(layer.moving_mean.asnumpy(), mean)
    np.testing.assert_array_equal(layer.moving_variance.asnumpy(), variance)


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("kind", ["resnet18", "efficientnet_lite0"])
def test_only_the_encoder_is_frozen(kind, world):
    network = build_model(NetConfig(num_classes=2, encoder=EncoderConfig(type=kind, freeze_bn=True)), world)
    layers = {n: cell for n, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)}
    frozen = {name for name, layer in layers.items() if layer.use_batch_statistics is False}
    assert frozen == {name for name in layers if name.startswith("encoder.")}
    assert len(frozen) < len(layers)
