"""Activation recomputation: the same step, gradients and statistics alike, and where it does not go."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from tiny import TINY_NET, Trainee, batch_of, config_of, context_for, image, network_of

from semiseg.common.errors import ConfigError
from semiseg.models.recompute import recompute_blocks


def is_recomputed(cell):
    return (cell.get_scope() or "").startswith("recompute_")


def loss_of(net):
    def loss(x):
        return (net.encoder(x)[3] ** 2).mean()

    return loss


def compiled_step(recomputed):
    """(loss, gradients, running statistics) of a compiled step of the encoder."""
    net = network_of(config_of(*TINY_NET, "net.num_classes=3").net).set_train(True)
    if recomputed:
        recompute_blocks(net)
    weights = tuple(net.encoder.trainable_params())
    function = ms.jit(ms.value_and_grad(loss_of(net), None, weights))
    loss, gradients = function(image(33, 33, 2))
    statistics = {n: p.asnumpy() for n, p in net.encoder.parameters_and_names() if "moving_" in n}
    return float(loss), [gradient.asnumpy() for gradient in gradients], statistics


def test_gradients_and_statistics_are_the_same():
    (loss, gradients, statistics), (again, same, moved) = compiled_step(False), compiled_step(True)
    assert again == loss
    for expected, found in zip(gradients, same, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    for name, expected in statistics.items():
        np.testing.assert_array_equal(moved[name], expected, err_msg=name)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50", "efficientnet_lite0"])
def test_convolutions_of_blocks_are_recomputed_and_batch_norms_are_not(encoder):
    net = network_of(config_of(f"net.encoder.type={encoder}", "net.encoder.kwargs.width=4", "net.num_classes=3").net)
    recompute_blocks(net)
    inside, outside = [], []
    for name, cell in net.cells_and_names():
        in_block = name.startswith(("encoder.layer", "encoder.blocks"))
        if isinstance(cell, nn.BatchNorm2d) and in_block:
            assert cell.bn_train.attrs["recompute"] is False, name
        if isinstance(cell, nn.Conv2d):
            (inside if in_block else outside).append(is_recomputed(cell))
    assert all(inside)
    assert len(inside) >= 16
    assert not any(outside)


def test_the_network_that_is_optimized_is_recomputed_alone():
    trainee = Trainee("suponly", context_for("suponly", "trainer.recompute=true", "trainer.jit=true"))
    student, teacher = (n.encoder.layer1[0].conv1 for n in trainee.method.networks.values())
    assert (is_recomputed(student), is_recomputed(teacher)) == (True, False)
    before = trainee.arrays()["student.encoder.conv1.0.weight"]
    trainee.step(0, batch_of(0, "labeled"), None)
    assert not np.array_equal(trainee.arrays()["student.encoder.conv1.0.weight"], before)


def test_batch_norm_over_devices_is_refused():
    with pytest.raises(ConfigError, match=r"trainer\.recompute: does not go with net\.sync_bn"):
        recompute_blocks(network_of(config_of(*TINY_NET, "net.num_classes=3").net, world=2))
