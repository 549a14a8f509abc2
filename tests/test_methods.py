"""One suite for every method of METHODS, and what is particular to the options of the prototype method.

A new method is tested here by being in the table.
"""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import Trainee, batch_of, context_for, context_of, same_arrays, step_batch

from semiseg.common.errors import CheckpointError, ConfigError
from semiseg.methods import METHODS, get_method

EVERY = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="module")
def trained():
    """name -> (state before, results of the steps 0..2, Trainee); step 0 is supervised."""
    found = {}
    for name in METHODS:
        trainee = Trainee(name, context_for(name))
        before = trainee.arrays()
        found[name] = (before, trainee.run(0, 3), trainee)
    return found


def part(arrays, prefix):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


@EVERY
def test_loss_and_terms_are_finite_numbers_and_named(trained, name):
    _, results, trainee = trained[name]
    for step, result in enumerate(results):
        assert np.isfinite(result.loss)
        assert "sup" in result.terms
        assert all(np.isfinite(value) for value in result.terms.values())
        assert ("unsup" in result.terms) == trainee.method.semi_phase(step)
        assert 0 <= result.terms.get("mask_ratio", 0) <= 1


@EVERY
def test_every_trained_weight_moves_and_stays_finite(trained, name):
    before, _, trainee = trained[name]
    after = trainee.arrays()
    assert all(np.isfinite(array).all() for array in after.values())
    weights = {f"student.{n}" for n, p in trainee.method.student.parameters_and_names() if p.requires_grad}
    assert [n for n in sorted(weights) if np.array_equal(before[n], after[n])] == []
    statistics = [n for n in before if n.startswith("student.") and "moving_" in n]
    assert [n for n in statistics if np.array_equal(before[n], after[n])] == []


@EVERY
def test_the_teacher_is_another_network_of_the_same_shape(trained, name):
    before, _, trainee = trained[name]
    student, teacher = part(trainee.arrays(), "student."), part(trainee.arrays(), "teacher.")
    assert student.keys() == teacher.keys()
    assert same_arrays(part(before, "student."), part(before, "teacher."))
    averaged = [n for n in student if not n.startswith("proto_net.")]
    assert [n for n in averaged if np.array_equal(student[n], teacher[n])] == []
    assert not any(p.requires_grad for p in trainee.method.teacher.network.get_parameters())


@EVERY
@pytest.mark.parametrize("done", [1, 2], ids=["before the phase changes", "after it"])
def test_the_state_holds_everything_that_lives_between_steps(name, done):
    # A second process with other initial weights takes the state over and makes the next step bit for bit.
    trainee = Trainee(name, context_for(name), seed=1)
    trainee.run(0, done)
    saved = trainee.arrays()
    other = Trainee(name, context_for(name), seed=2)
    assert other.state.keys() == saved.keys()
    for key, parameter in other.state.items():
        parameter.set_data(Tensor(saved[key]))
    assert other.run(done, done + 1) == trainee.run(done, done + 1)
    assert same_arrays(other.arrays(), trainee.arrays())
    assert not same_arrays(other.arrays(), saved)


@EVERY
def test_the_inputs_of_a_step_depend_on_seed_and_step_alone(name):
    def masks(seed, step):
        method = Trainee(name, context_for(name, f"trainer.seed={seed}")).method
        return method.inputs(step, step_batch(0)).dropout[0].asnumpy()

    assert np.array_equal(masks(1, 0), masks(1, 0))
    assert not np.array_equal(masks(1, 0), masks(2, 0))


@EVERY
def test_the_evaluated_network_scores_whole_images(trained, name):
    _, _, trainee = trained[name]
    for step in (1, 3):
        assert trainee.method.evaluated(step).network in trainee.method.networks.values()
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


def test_an_unknown_method_is_named_with_the_nearest_one():
    assert get_method("ours") is METHODS["ours"]
    with pytest.raises(ConfigError, match=r"unknown method 'our'; did you mean 'ours'\?"):
        get_method("our")


@pytest.mark.parametrize("name", ["suponly", "mean_teacher"])
def test_a_prototype_head_is_refused_where_it_would_stay_untrained(name):
    with pytest.raises(ConfigError, match=rf"net\.proto_head: method {name} does not train"):
        Trainee(name, context_of())


def test_the_teacher_forward_is_refused_where_there_is_no_teacher():
    with pytest.raises(ConfigError, match="teacher_bn"):
        Trainee("suponly", context_for("suponly", "trainer.teacher_bn=forward"))


# Batches of one


@pytest.mark.parametrize(("name", "warm_up"), [("suponly", 0), ("suponly", 1), ("ours", 1)])
def test_one_image_a_step_is_refused_where_it_would_be_alone(name, warm_up):
    with pytest.raises(ConfigError, match=r"dataset\.batch_size: expected at least 2 .* got 1"):
        Trainee(name, context_for(name, f"trainer.sup_only_epoch={warm_up}", batch=1))


def test_one_labelled_and_one_unlabelled_image_train_and_resume():
    context = context_of("trainer.sup_only_epoch=0", batch=1)
    trainee = Trainee("ours", context, seed=1)
    trainee.run(0, 1)
    saved = trainee.arrays()
    assert saved["previous.filled"] == 1
    other = Trainee("ours", context, seed=2)
    for key, array in saved.items():
        other.state[key].set_data(Tensor(array))
    trainee.run(1, 2)
    other.run(1, 2)
    assert same_arrays(other.arrays(), trainee.arrays())
    assert all(np.isfinite(array).all() for array in trainee.arrays().values())


# Phases


def test_before_the_phase_changes_unlabelled_images_have_no_influence():
    first, second = Trainee("ours", context_of()), Trainee("ours", context_of())
    first.step(0, batch_of(0, "labeled"), batch_of(0, "unlabeled"))
    second.step(0, batch_of(0, "labeled"), batch_of(50, "unlabeled"))
    assert same_arrays(first.arrays(), second.arrays())
    assert first.method.evaluated(1).network is first.method.student
    assert first.method.evaluated(2).network is first.method.teacher.network


def test_prototypes_come_from_the_labelled_images_when_the_phase_changes():
    trainee = Trainee("ours", context_of("net.proto_head.dynamic_update_proto=false"))
    trainee.run(0, 1)
    before = trainee.arrays()
    assert trainee.method.enter_step(0) == []
    notes = trainee.method.enter_step(1)
    assert notes[0].startswith("prototypes by k-means on 180 labelled pixels")
    after = trainee.arrays()
    assert [n for n in after if not np.array_equal(after[n], before[n])] == [
        "student.proto_net.proto_list",
        "teacher.proto_net.proto_list",
    ]
    assert trainee.method.student.training
    trainee.step(1, batch_of(1, "labeled"), batch_of(1, "unlabeled"))
    assert np.array_equal(trainee.arrays()["student.proto_net.proto_list"], after["student.proto_net.proto_list"])


def test_use_of_prototypes_is_counted_in_the_step():
    trainee = Trainee("ours", context_for("ours"))
    assert trainee.run(0, 1)[0].measured == {}
    counts = trainee.run(1, 2)[0].measured["proto_counts"].asnumpy()
    assert counts.shape == (6,)
    assert 0 < counts.sum() <= 2 * 2 * trainee.method.context.net.proto_head.select_granularity**2


def test_prototypes_move_at_each_step_and_are_the_same_in_both_networks():
    trainee = Trainee("ours", context_of("trainer.sup_only_epoch=0"))
    trainee.run(0, 1)
    first = trainee.arrays()
    trainee.run(1, 2)
    second = trainee.arrays()
    name = "proto_net.proto_list"
    assert np.array_equal(second[f"student.{name}"], second[f"teacher.{name}"])
    assert not np.array_equal(first[f"student.{name}"], second[f"student.{name}"])


def test_without_a_supervised_phase_the_first_step_takes_unlabelled_images():
    trainee = Trainee("ours", context_of("trainer.sup_only_epoch=0"))
    result = trainee.run(0, 1)[0]
    assert set(result.terms) == {"sup", "unsup", "mask_ratio", "proto_sup", "proto_unsup"}
    assert trainee.method.evaluated(1).network is trainee.method.teacher.network


def test_a_supervised_phase_as_long_as_the_run_is_supervised_training():
    context = context_of("trainer={epochs: 1, sup_only_epoch: 1}")
    trainee = Trainee("ours", context)
    assert [set(result.terms) for result in trainee.run(0, 1)] == [{"sup"}]
    assert trainee.method.evaluated(1).network is trainee.method.student


# Options


def test_without_the_prototype_head_it_is_the_cutmix_mean_teacher():
    context = context_of("net.proto_head=null", "trainer.sup_only_epoch=0")
    assert get_method("ours", proto_head=False) is get_method("mean_teacher")
    trainee, same = Trainee("ours", context), Trainee("mean_teacher", context)
    result = trainee.run(0, 1)[-1]
    assert result == same.run(0, 1)[-1]
    assert same_arrays(trainee.arrays(), same.arrays())
    assert set(result.terms) == {"sup", "unsup", "mask_ratio"}
    assert result.loss == pytest.approx(result.terms["sup"] + result.terms["unsup"], rel=1e-5)
    assert not [name for name in trainee.state if "proto" in name]


def test_the_loss_is_the_weighted_sum_of_its_terms():
    context = context_of(
        "trainer.sup_only_epoch=0",
        "trainer.unsupervised.loss_weight=0.5",
        "net.proto_head={loss_weight: 0.25, unsup_loss_weight: 2}",
        "net.aux_loss={loss_weight: 0.4}",
        "criterion={type: ohem, kwargs: {thresh: 0.7, min_kept: 100}}",
    )
    result = Trainee("ours", context).run(0, 1)[0]
    weights = {"sup": 1, "unsup": 0.5, "proto_sup": 0.25, "proto_unsup": 2, "mask_ratio": 0}
    assert result.loss == pytest.approx(sum(weights[k] * v for k, v in result.terms.items()), rel=1e-5)
    assert min(result.terms.values()) > 0


def test_a_threshold_of_zero_keeps_every_pixel_so_that_both_normalisations_agree():
    results = []
    for normalize in ("all", "confident"):
        unsup = f"trainer.unsupervised={{confid_thresh: 0, normalize: {normalize}}}"
        results.append(Trainee("ours", context_of("trainer.sup_only_epoch=0", unsup)).run(0, 1)[0])
    assert results[0].terms["mask_ratio"] == results[1].terms["mask_ratio"] == 1
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)


def test_a_threshold_of_one_keeps_nothing_and_stays_finite():
    trainee = Trainee("ours", context_of("trainer.sup_only_epoch=0", "trainer.unsupervised.confid_thresh=1"))
    result = trainee.run(0, 1)[0]
    assert (result.terms["mask_ratio"], result.terms["unsup"], result.terms["proto_unsup"]) == (0, 0, 0)
    assert all(np.isfinite(array).all() for array in trainee.arrays().values())


def test_rule_entropy_keeps_more_as_epochs_pass():
    context = context_of(
        "trainer.sup_only_epoch=0", "trainer.unsupervised={rule: entropy, drop_percent: 60, apply_aug: none}"
    )
    trainee = Trainee("ours", context)
    ratios = [trainee.method.inputs(step, step_batch(0)).mask_u.asnumpy().mean() for step in range(4)]
    assert ratios == pytest.approx([0.6, 0.7, 0.8, 0.9], abs=0.01)


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


def test_a_wrong_prototype_file_is_refused_before_the_first_step(tmp_path):
    path = tmp_path / "prototypes.npz"
    np.savez(path, np.zeros((5, 2, 16), np.float32))
    for wrong in (path, tmp_path / "absent.pkl"):
        with pytest.raises(CheckpointError, match=wrong.name):
            Trainee("ours", context_of(f"net.proto_head.init_proto_path='{wrong}'"))


def test_compiled_and_plain_steps_agree():
    plain = Trainee("ours", context_of("trainer.sup_only_epoch=0"))
    compiled = Trainee("ours", context_of("trainer.sup_only_epoch=0", "trainer.jit=true"))
    # One step: over several, any two float32 executions drift apart.
    first, second = plain.run(0, 1)[0], compiled.run(0, 1)[0]
    assert second.loss == pytest.approx(first.loss, rel=1e-4)
    assert second.terms == pytest.approx(first.terms, rel=1e-3, abs=1e-4)
    expected, found = plain.arrays(), compiled.arrays()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-3, atol=2e-3, err_msg=name)
    before = compiled.arrays()
    compiled.run(1, 2)  # later steps really train too
    assert not np.array_equal(
        compiled.arrays()["student.encoder.conv1.0.weight"], before["student.encoder.conv1.0.weight"]
    )
