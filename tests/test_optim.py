"""SGD with momentum, weight decay and two rates against numpy; the schedule."""

import numpy as np
import pytest
from mindspore import Tensor, mutable
from tiny import context_of, network_of

from semiseg.engine.optim import SGD, poly


def test_poly_falls_from_one_to_zero():
    assert poly(0, 10, 0.9) == 1
    assert poly(10, 10, 0.9) == 0
    assert poly(5, 10, 1.0) == 0.5
    assert poly(5, 10, 0.9) == pytest.approx(0.5**0.9)
    factors = [poly(step, 100, 0.9) for step in range(101)]
    assert factors == sorted(factors, reverse=True)


@pytest.mark.parametrize("times", [1, 10])
def test_three_steps_are_those_of_the_formula(times):
    context = context_of(
        f"trainer.optimizer={{kwargs: {{lr: 0.1, momentum: 0.8, weight_decay: 0.01}}, decoder_lr_times: {times}}}"
    )
    network = network_of(context.net)
    optimizer = SGD({"student": network}, context.trainer)
    named = {name: p for name, p in network.parameters_and_names() if p.requires_grad}
    expected = {name: p.asnumpy().astype(np.float64) for name, p in named.items()}
    momenta = {name: np.zeros(p.shape) for name, p in named.items()}
    rng = np.random.default_rng(0)
    for factor in (1.0, 0.7, 0.2):
        gradients = {name: rng.normal(size=p.shape).astype(np.float32) for name, p in named.items()}
        rate = optimizer(tuple(Tensor(g) for g in gradients.values()), factor)
        assert rate == pytest.approx(0.1 * factor)
        for name in named:
            momenta[name] = 0.8 * momenta[name] + gradients[name] + 0.01 * expected[name]
            expected[name] -= rate * (1 if name.startswith("encoder.") else times) * momenta[name]
    for name, parameter in named.items():
        np.testing.assert_allclose(parameter.asnumpy(), expected[name], rtol=2e-4, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(
            optimizer.state()[f"optimizer.{name}"].asnumpy(), momenta[name], rtol=1e-4, atol=1e-5
        )


def test_prototypes_and_statistics_are_not_optimised():
    context = context_of()
    network = network_of(context.net)
    names = SGD({"student": network}, context.trainer).state()
    assert not [name for name in names if "proto_list" in name or "moving_" in name]
    assert len(names) == len([p for p in network.get_parameters() if p.requires_grad])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_wrong_gradient_is_noticed(wrong):
    context = context_of()
    network = network_of(context.net)
    optimizer = SGD({"student": network}, context.trainer)
    gradients = [np.ones(weight.shape, np.float32) for weight in optimizer.weights]
    assert np.isfinite(float(optimizer.total(tuple(map(Tensor, gradients)))))
    gradients[7].flat[3] = wrong
    assert not np.isfinite(float(optimizer.total(tuple(map(Tensor, gradients)))))


@pytest.mark.parametrize("jit", ["true", "false"])
def test_the_update_gives_a_tensor_back(jit):
    """A compiled function that gives nothing back gets a node that runs on the host."""
    context = context_of(f"trainer.jit={jit}")
    optimizer = SGD({"student": network_of(context.net)}, context.trainer)
    gradients = tuple(Tensor(np.ones(weight.shape, np.float32)) for weight in optimizer.weights)
    assert isinstance(optimizer._step(mutable(gradients), Tensor(0.1), Tensor(0.1)), Tensor)


def test_two_networks_are_two_updates_whose_momenta_are_named_by_role():
    context = context_of("trainer.optimizer={kwargs: {lr: 0.1}, decoder_lr_times: 3}")
    together = {"student": network_of(context.net, 1), "second": network_of(context.net, 2)}
    alone = network_of(context.net, 1), network_of(context.net, 2)
    both, *each = (SGD(n, context.trainer) for n in (together, *({"student": network} for network in alone)))
    count = len(each[0].weights)
    rng = np.random.default_rng(0)
    for _ in range(2):
        gradients = tuple(Tensor(rng.normal(size=w.shape).astype(np.float32)) for w in both.weights)
        both(gradients, 1.0)
        each[0](gradients[:count], 1.0)
        each[1](gradients[count:], 1.0)
    state = both.state()
    assert len(state) == 2 * count
    for role, network, single, optimizer in zip(("", "second."), together.values(), alone, each, strict=True):
        for parameter, expected in zip(network.get_parameters(), single.get_parameters(), strict=True):
            assert np.array_equal(parameter.asnumpy(), expected.asnumpy())
        for name, momentum in optimizer.state().items():
            found = state[f"optimizer.{role}{name.removeprefix('optimizer.')}"]
            assert np.array_equal(found.asnumpy(), momentum.asnumpy())
            assert momentum.asnumpy().any()
