"""The teacher's average against the formula, name by name."""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import context_of, network_of

from semiseg.methods.teacher import ExponentialMovingAverage, ema_decay


def pair():
    context = context_of()
    return network_of(context.net, 1), network_of(context.net, 2)


def arrays(network):
    return {name: parameter.asnumpy().copy() for name, parameter in network.parameters_and_names()}


def test_the_decay_starts_as_a_mean_and_is_limited():
    assert [ema_decay(i, 0.99) for i in (0, 1, 3)] == [0, 0.5, 0.75]
    assert ema_decay(98, 0.99) == pytest.approx(0.99 - 1 / 9900)
    assert ema_decay(99, 0.99) == 0.99
    assert ema_decay(10**6, 0.99) == 0.99
    assert ema_decay(10**6, 0.0) == 0.0


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_weights_and_statistics_are_averaged_and_prototypes_are_not(statistics, decay):
    student, teacher = pair()
    old, new = arrays(teacher), arrays(student)
    ExponentialMovingAverage(student, teacher, statistics, compiled=False).update(decay)
    for name, value in arrays(teacher).items():
        if name.startswith("proto_net.") or ("moving_" in name and not statistics):
            assert np.array_equal(value, old[name]), name
        else:
            np.testing.assert_allclose(value, decay * old[name] + (1 - decay) * new[name], rtol=1e-5, atol=1e-6)
    assert all(np.array_equal(value, new[name]) for name, value in arrays(student).items())


def test_a_decay_of_zero_copies_exactly():
    student, teacher = pair()
    ExponentialMovingAverage(student, teacher, compiled=False).update(0.0)
    new = arrays(student)
    for name, value in arrays(teacher).items():
        if not name.startswith("proto_net."):
            assert np.array_equal(value, new[name]), name


def test_copying_takes_all_or_the_statistics_alone():
    student, teacher = pair()
    average = ExponentialMovingAverage(student, teacher, statistics=False, compiled=False)
    old, new = arrays(teacher), arrays(student)
    average.copy_statistics()
    for name, value in arrays(teacher).items():
        assert np.array_equal(value, (new if "moving_" in name else old)[name]), name
    average.copy()
    for name, value in arrays(teacher).items():
        assert np.array_equal(value, (old if name.startswith("proto_net.") else new)[name]), name


def test_the_copy_is_no_alias():
    student, teacher = pair()
    ExponentialMovingAverage(student, teacher, compiled=False).copy()
    before = teacher.decoder.classifier[8].weight.asnumpy()
    student.decoder.classifier[8].weight.set_data(Tensor(before * 3))
    assert np.array_equal(teacher.decoder.classifier[8].weight.asnumpy(), before)


def test_the_hundreds_of_parameters_of_a_resnet_101_compile():
    context = context_of("net.encoder.type=resnet101")
    student, teacher = network_of(context.net, 1), network_of(context.net, 2)
    for name, parameter in teacher.parameters_and_names():
        parameter.name = f"teacher.{name}"
    old, new = arrays(teacher), arrays(student)
    average = ExponentialMovingAverage(student, teacher, compiled=True)
    for _ in range(2):
        average.update(0.75)
    expected = old["encoder.layer3.22.bn3.gamma"], new["encoder.layer3.22.bn3.gamma"]
    for _ in range(2):
        expected = 0.75 * expected[0] + 0.25 * expected[1], expected[1]
    found = teacher.encoder.layer3[22].bn3.gamma.asnumpy()
    np.testing.assert_allclose(found, expected[0], rtol=1e-5)
