"""One suite for every method of METHODS. A new method is tested here by being in the table."""

import functools

import numpy as np
import pytest
from mindspore import Tensor
from tiny import Trainee, batch_of, context_for, same_arrays, step_batch

from semiseg.common.errors import ConfigError
from semiseg.methods import METHODS, get_method

EVERY = pytest.mark.parametrize("name", METHODS)


class Trained:
    """Steps 0..2 of a method, the first supervised: their ``results``; ``arrays[n]`` is the state after n steps."""

    def __init__(self, name):
        self.trainee = Trainee(name, context_for(name))
        self.arrays, self.results = [self.trainee.arrays()], []
        for step in range(3):
            self.results += self.trainee.run(step, step + 1)
            self.arrays.append(self.trainee.arrays())


@pytest.fixture(scope="module")
def trained():
    """Gives what was Trained by a method's name, made once. Not to be trained on."""
    return functools.cache(Trained)


def part(arrays, prefix):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


@EVERY
def test_loss_and_terms_are_finite_numbers_and_named(trained, name):
    method = trained(name).trainee.method
    for step, result in enumerate(trained(name).results):
        assert np.isfinite(result.loss)
        assert "sup" in result.terms
        assert all(np.isfinite(value) for value in result.terms.values())
        assert any(term.startswith("unsup") for term in result.terms) == method.semi_phase(step)
        assert 0 <= result.terms.get("mask_ratio", 0) <= 1


@EVERY
def test_every_trained_weight_moves_and_stays_finite(trained, name):
    trainee, before, after = trained(name).trainee, trained(name).arrays[0], trained(name).arrays[-1]
    assert all(np.isfinite(array).all() for array in after.values())
    weights = {f"student.{n}" for n, p in trainee.method.student.parameters_and_names() if p.requires_grad}
    assert [n for n in sorted(weights) if np.array_equal(before[n], after[n])] == []
    statistics = [n for n in before if n.startswith("student.") and "moving_" in n]
    assert [n for n in statistics if np.array_equal(before[n], after[n])] == []


@EVERY
def test_the_teacher_is_another_network_of_the_same_shape(trained, name):
    trainee, before, after = trained(name).trainee, trained(name).arrays[0], trained(name).arrays[-1]
    student, teacher = part(after, "student."), part(after, "teacher.")
    assert student.keys() == teacher.keys()
    assert same_arrays(part(before, "student."), part(before, "teacher."))
    averaged = [n for n in student if not n.startswith("proto_net.")]
    assert [n for n in averaged if np.array_equal(student[n], teacher[n])] == []
    assert not any(p.requires_grad for p in trainee.method.teacher.network.get_parameters())


@EVERY
@pytest.mark.parametrize("done", [1, 2], ids=["before the phase changes", "after it"])
def test_the_state_holds_everything_that_lives_between_steps(trained, name, done):
    # A second process with other initial weights takes the state over and makes the next step bit for bit.
    saved, expected = trained(name).arrays[done : done + 2]
    other = Trainee(name, context_for(name), seed=2)
    assert other.state.keys() == saved.keys()
    for key, parameter in other.state.items():
        parameter.set_data(Tensor(saved[key]))
    assert other.run(done, done + 1) == trained(name).results[done : done + 1]
    assert same_arrays(other.arrays(), expected)
    assert not same_arrays(other.arrays(), saved)


@EVERY
def test_the_inputs_of_a_step_depend_on_seed_and_step_alone(name):
    def masks(method, step):
        return np.concatenate([mask.asnumpy().ravel() for mask in method.inputs(step, step_batch(0)).dropout])

    method, same, other = (Trainee(name, context_for(name, f"trainer.seed={seed}")).method for seed in (1, 1, 2))
    first = masks(method, 1)
    assert not np.array_equal(first, masks(method, 2))
    assert np.array_equal(first, masks(method, 1))  # whatever was asked for in between
    assert np.array_equal(first, masks(same, 1))
    assert not np.array_equal(first, masks(other, 1))


@EVERY
def test_the_evaluated_network_scores_whole_images(trained, name):
    trainee = trained(name).trainee
    for step in (1, 3):
        evaluated = trainee.method.evaluated(step)
        assert evaluated.network is trainee.method.networks[evaluated.role]
    out = trainee.method.evaluated(3).network(Tensor(batch_of(0, "labeled").images))
    assert np.isfinite(out.pred.asnumpy()).all()
    assert (out.proto is not None) == (trainee.method.context.net.proto_head is not None)


@EVERY
def test_without_a_labelled_pixel_the_supervised_loss_is_zero(name):
    trainee = Trainee(name, context_for(name))
    batch = batch_of(0, "labeled")
    batch.labels[:] = 255
    result = trainee.step(0, batch, batch_of(0, "unlabeled"))
    assert result.terms["sup"] == 0
    assert all(np.isfinite(array).all() for array in trainee.arrays().values())


def test_methods_are_found_by_name_and_an_unknown_one_is_named_with_the_nearest():
    assert {name: get_method(name) for name in METHODS} == METHODS
    without_head = {name: get_method(name, proto_head=False) for name in METHODS}
    assert without_head == METHODS | {"ours": METHODS["mean_teacher"]}
    with pytest.raises(ConfigError, match=r"unknown method 'our'; did you mean 'ours'\?"):
        get_method("our")
