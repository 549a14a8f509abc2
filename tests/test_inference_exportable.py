"""The network in export's operators gives the network's own logits."""

import numpy as np
import pytest
from mindspore import Tensor, nn
from tiny import context_of, network_of

from semiseg.inference.exportable import ExportableNetwork, ExportablePrototypes, PaddedMaxPool, Resize
from semiseg.models.interpolate import resize
from semiseg.models.prototypes import PrototypeHead


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("source", "target"), [((5, 7), (20, 13)), ((9, 9), (4, 1)), ((1, 1), (3, 5)), ((6, 1), (6, 4))]
)
def test_matrices_interpolate_as_the_operator_does(source, target):
    x = Tensor(random(2, 3, *source))
    np.testing.assert_allclose(Resize(source, target)(x).asnumpy(), resize(x, target).asnumpy(), atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (7, 10), (1, 2), (1, 1)])
def test_padding_with_zeros_pools_as_the_networks_layer_does(size):
    x = Tensor(np.maximum(random(2, 3, *size), 0))
    for ceil_mode in (True, False):
        reference = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1, ceil_mode=ceil_mode)
        assert np.array_equal(PaddedMaxPool((2, 3, *size), ceil_mode)(x).asnumpy(), reference(x).asnumpy())


@pytest.mark.parametrize("size", [(33, 37), (64, 48), (17, 90)])
@pytest.mark.parametrize("decoder", ["dec_deeplabv3_plus", "dec_unimatch"])
@pytest.mark.parametrize(
    "encoder",
    ["{type: resnet18}", "{type: resnet50}", "{type: resnet18, kwargs: {stem: conv7}}", "{type: efficientnet_lite0}"],
)
def test_the_whole_network_is_the_same(size, encoder, decoder):
    network = network_of(context_of(f"net.encoder={encoder}", f"net.decoder.type={decoder}", "net.proto_head=null").net)
    image = Tensor(random(1, 3, *size))
    before = {name: parameter.asnumpy() for name, parameter in network.parameters_and_names()}
    found = ExportableNetwork(network, size)(image).asnumpy()
    expected = resize(network.logits(image), size).asnumpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    for name, parameter in network.parameters_and_names():
        assert np.array_equal(parameter.asnumpy(), before[name])


@pytest.mark.parametrize("per_class", [1, 3])
@pytest.mark.parametrize(
    ("source", "target"), [((5, 7), (20, 13)), ((1, 1), (3, 5)), ((6, 1), (6, 4)), ((9, 9), (9, 9))]
)
def test_the_prototype_head_is_the_same_for_features_of_any_length(source, target, per_class):
    head = PrototypeHead(4, per_class, 6, 0.1)
    feature = random(1, 6, *source) * np.exp(random(1, 1, *source, seed=1))
    feature[:, :, :1, :1] = 0
    found = ExportablePrototypes(head, source, target)(Tensor(feature)).asnumpy()
    np.testing.assert_allclose(found, head.dense(Tensor(feature), target).asnumpy(), atol=1e-5 * np.abs(found).max())


@pytest.mark.parametrize("decoder", ["dec_deeplabv3_plus", "dec_unimatch"])
def test_both_heads_are_those_of_the_network(decoder):
    network, size = network_of(context_of(f"net.decoder.type={decoder}").net), (33, 37)
    image = Tensor(random(1, 3, *size))
    linear, proto = ExportableNetwork(network, size, "both")(image)
    expected = network(image)
    np.testing.assert_allclose(linear.asnumpy(), resize(expected.pred, size).asnumpy(), atol=1e-5)
    np.testing.assert_allclose(proto.asnumpy(), expected.proto.asnumpy(), atol=1e-4)
    assert np.array_equal(ExportableNetwork(network, size, "proto")(image).asnumpy(), proto.asnumpy())
    assert np.array_equal(ExportableNetwork(network, size)(image).asnumpy(), linear.asnumpy())
