"""The network of an evaluation, compiled for sizes that come often: the same answers, for weights as they are now."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops
from tiny import context_of, image, network_of

from semiseg.inference.compiled import CompiledNetwork, for_evaluation


class Counting:
    """A network that notes the sizes it is called with from Python; within a graph it is not."""

    def __init__(self):
        self.plain = []

    def logits(self, x):
        self.plain.append(x.shape[2:])
        return x

    outputs = logits


def same(found, expected):
    return all((a is None) == (b is None) for a, b in zip(found, expected, strict=True)) and all(
        np.array_equal(a.asnumpy(), b.asnumpy()) for a, b in zip(found, expected, strict=True) if a is not None
    )


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("change", ["net.aux_loss={}", "net.proto_head=null"])
def test_a_compiled_size_gives_the_plain_networks_bits(change):
    network = network_of(context_of(change).net)
    compiled = CompiledNetwork(network, patience=0.0)
    for size in ((37, 45), (64, 33), (37, 45)):
        x = image(*size)
        assert same(compiled(x), network(x))
        assert np.array_equal(compiled.logits(x).asnumpy(), network.logits(x).asnumpy())


@pytest.mark.usefixtures("shallow")
def test_a_graph_reads_the_weights_of_the_moment():
    network = network_of(context_of().net)
    compiled, x = CompiledNetwork(network, patience=0.0), image()
    before = compiled.logits(x).asnumpy()
    bias = network.decoder.classifier[8].bias
    ops.assign(bias, Tensor(bias.asnumpy() + 1))
    after = compiled.logits(x).asnumpy()
    np.testing.assert_allclose(after, before + 1, rtol=1e-5, atol=1e-5)
    assert np.array_equal(after, network.logits(x).asnumpy())


def test_a_size_stays_plain_until_it_has_taken_long_and_no_more_sizes_than_allowed_are_compiled():
    network = Counting()
    patient = CompiledNetwork(network, patience=1e9)
    for _ in range(3):
        patient.logits(image())
    assert len(network.plain) == 3
    network = Counting()
    few = CompiledNetwork(network, patience=1e-9, max_graphs=1)
    for size in ((37, 45), (37, 45), (20, 20), (20, 20), (37, 45), (20, 20)):
        few.logits(image(*size))
    assert network.plain == [(37, 45), (20, 20), (20, 20), (20, 20)]


def test_without_compiling_the_network_itself_is_used():
    network = network_of(context_of().net)
    assert for_evaluation(network, compiled=False) is network
    assert isinstance(for_evaluation(network, compiled=True), CompiledNetwork) == (
        ms.get_context("device_target") == "CPU"
    )
