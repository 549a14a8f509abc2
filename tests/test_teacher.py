"""The teacher: its average against the formula, name by name; where it starts and where its statistics come from."""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import Trainee, context_for, context_of, network_of, same_arrays

from semiseg.common.errors import ConfigError
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


def part(arrays, prefix):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def test_the_teacher_forward_is_refused_where_there_is_no_teacher():
    with pytest.raises(ConfigError, match="teacher_bn"):
        Trainee("suponly", context_for("suponly", "trainer.teacher_bn=forward"))


def test_a_teacher_that_starts_with_the_semi_phase_is_a_copy_there():
    trainee = Trainee("ours", context_of("trainer.teacher_start=semi_phase"))
    start = part(trainee.arrays(), "teacher.")
    trainee.run(0, 1)
    assert same_arrays(part(trainee.arrays(), "teacher."), start)  # waits
    trainee.run(1, 2)
    arrays = trainee.arrays()
    assert same_arrays(part(arrays, "teacher."), part(arrays, "student."))  # first update: decay 0
    trainee.run(2, 3)
    arrays = trainee.arrays()
    assert not same_arrays(part(arrays, "teacher."), part(arrays, "student."))


@pytest.mark.parametrize(("start", "copied"), [("semi_phase", True), ("first_step", False)])
def test_entering_the_semi_phase_makes_a_copy_where_the_teacher_starts_there_and_else_changes_nothing(start, copied):
    trainee = Trainee("ours", context_of(f"trainer={{teacher_start: {start}, sup_only_epoch: 2, epochs: 4}}"))
    trainee.run(0, 2)
    before = part(trainee.arrays(), "teacher.")
    trainee.method.teacher.enter_semi_phase()
    arrays = trainee.arrays()
    assert same_arrays(part(arrays, "teacher."), part(arrays, "student." if copied else "teacher."))
    assert same_arrays(part(arrays, "teacher."), before) is not copied


def test_teacher_statistics_by_forward_follow_the_teachers_own_activations():
    trainee = Trainee("ours", context_of("trainer={teacher_bn: forward, sup_only_epoch: 1}"))
    start = trainee.arrays()
    name = "encoder.bn1.moving_mean"
    trainee.run(0, 1)
    assert np.array_equal(trainee.arrays()[f"teacher.{name}"], start[f"teacher.{name}"])  # no forward so far
    trainee.method.enter_step(1)
    entered = trainee.arrays()
    assert np.array_equal(entered[f"teacher.{name}"], entered[f"student.{name}"])  # not those of the random start
    trainee.run(1, 3)
    arrays = trainee.arrays()
    assert not np.array_equal(arrays[f"teacher.{name}"], entered[f"teacher.{name}"])
    assert not np.array_equal(arrays[f"teacher.{name}"], arrays[f"student.{name}"])
    assert not trainee.method.teacher.network.training
    weight = "encoder.conv1.0.weight"
    assert not np.array_equal(arrays[f"teacher.{weight}"], entered[f"teacher.{weight}"])  # weights: still by EMA
