"""BatchNorm over devices, on one device: it must be MindSpore's own. Several devices: test_distributed.py."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from semiseg.config.keys import EncoderConfig, NetConfig
from semiseg.models import build_model
from semiseg.models.layers import SyncBatchNorm2d

SMALL = EncoderConfig(type="resnet18")


def pair():
    """The layer with a sum over one device, and MindSpore's, with equal parameters."""
    rng = np.random.default_rng(3)
    layers = SyncBatchNorm2d(5, 1), nn.BatchNorm2d(5)
    layers[0]._sum = lambda x: x
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        values = Tensor(rng.uniform(0.5, 1.5, 5).astype(np.float32))
        for layer in layers:
            getattr(layer, name).set_data(values)
    return layers


def image(shape=(3, 5, 7, 6)):
    return Tensor((20 + np.random.default_rng(4).normal(size=shape)).astype(np.float32))  # a mean far from 0


@pytest.mark.parametrize("training", [True, False])
def test_it_is_batch_norm(training):
    x, found = image(), []
    for layer in pair():
        layer.set_train(training)
        function = ms.value_and_grad(lambda x, layer=layer: (ops.sin(layer(x))).sum(), 0, layer.trainable_params())
        value, (of_input, of_weights) = function(x)
        stored = [layer.moving_mean, layer.moving_variance]
        found.append([t.asnumpy() for t in (value, of_input, *of_weights, *stored)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)


def test_one_number_a_channel_is_finite():
    layer = pair()[0].set_train(True)
    assert np.isfinite(layer(image((1, 5, 1, 1))).asnumpy()).all()
    assert np.isfinite(layer.moving_variance.asnumpy()).all()


@pytest.mark.parametrize(("sync", "world", "synchronised"), [(True, 1, False), (True, 2, True), (False, 2, False)])
def test_a_network_has_it_where_several_devices_ask_for_it(sync, world, synchronised):
    network = build_model(NetConfig(num_classes=2, sync_bn=sync, encoder=SMALL), world)
    layers = [cell for _, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)]
    assert len(layers) > 25
    assert {isinstance(layer, SyncBatchNorm2d) for layer in layers} == {synchronised}


def test_names_are_those_of_a_network_on_one_device():
    networks = [build_model(NetConfig(num_classes=2, encoder=SMALL), world) for world in (1, 2)]
    names = [[name for name, _ in network.parameters_and_names()] for network in networks]
    assert names[0] == names[1]
