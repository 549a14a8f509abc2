"""The unsupervised loss: threshold, rules, normalisation; ``ours`` without its head."""

import numpy as np
import pytest
from tiny import Trainee, context_for, context_of, step_batch

from semiseg.methods import get_method


def test_without_the_prototype_head_it_is_the_cutmix_mean_teacher():
    assert get_method("ours", proto_head=False) is get_method("mean_teacher")
    trainee = Trainee("ours", context_of("net.proto_head=null", "trainer.sup_only_epoch=0"))
    (result,) = trainee.run(0, 1)
    assert set(result.terms) == {"sup", "unsup", "mask_ratio"}
    assert result.loss == pytest.approx(result.terms["sup"] + result.terms["unsup"], rel=1e-5)
    assert not [name for name in trainee.state if "proto" in name]


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


@pytest.mark.parametrize(
    ("start", "statistics", "role"),
    [("first_step", "ema", "teacher"), ("first_step", "forward", "student"), ("semi_phase", "ema", "student")],
)
def test_in_the_supervised_phase_the_average_is_scored_where_there_is_one(start, statistics, role):
    keys = [f"trainer.teacher_start={start}", f"trainer.teacher_bn={statistics}", "net.proto_head=null"]
    method = Trainee("mean_teacher", context_of(*keys)).method
    assert method.evaluated(1).network is method.networks[role]
    assert method.evaluated(2).network is method.teacher.network


@pytest.mark.parametrize("name", ["mean_teacher", "ours"])
def test_soft_targets_are_the_teachers_probabilities_and_not_weighted_by_class(name):
    keys = "trainer={sup_only_epoch: 0, unsupervised: {apply_aug: none, targets: %s}}"
    balanced = "criterion={type: CELoss, class_balance: 1}"
    results, targets = {}, {}
    for kind in ("hard", "soft"):
        trainee = Trainee(name, context_for(name, keys % kind, balanced))
        targets[kind] = trainee.method.inputs(0, step_batch(0)).soft_u
        results[kind] = trainee.run(0, 1)[0].terms
    assert targets["hard"] == ()
    (probability,) = (target.asnumpy() for target in targets["soft"])
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    # Dropout and the statistics of the batch make the student another.
    entropy = -(probability * np.log(probability)).sum(1).mean()
    assert results["soft"]["unsup"] > entropy
    assert results["soft"]["mask_ratio"] == 1 > results["hard"]["mask_ratio"]
    assert results["soft"]["unsup"] != pytest.approx(results["hard"]["unsup"], rel=1e-3)
    assert results["soft"]["sup"] == pytest.approx(results["hard"]["sup"], rel=1e-6)


def test_methods_with_a_loss_of_their_own_take_no_soft_targets():
    for name in ("u2pl", "ael"):
        method = Trainee(
            name, context_for(name, "trainer.sup_only_epoch=0", "trainer.unsupervised.targets=soft")
        ).method
        assert method.teacher_labels(step_batch(0).unlabeled.images).probability is None
