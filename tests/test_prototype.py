"""``ours``: phases, prototypes, terms of the loss."""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import Trainee, batch_of, context_for, context_of, same_arrays

from semiseg.common.errors import CheckpointError
from semiseg.methods.prototype import _pick_rows


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


def test_before_the_phase_changes_unlabelled_images_have_no_influence():
    first, second = Trainee("ours", context_of()), Trainee("ours", context_of())
    first.step(0, batch_of(0, "labeled"), batch_of(0, "unlabeled"))
    second.step(0, batch_of(0, "labeled"), batch_of(50, "unlabeled"))
    assert same_arrays(first.arrays(), second.arrays())
    assert not first.method.evaluated(1).proto_ready
    assert first.method.evaluated(2).proto_ready


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


@pytest.mark.parametrize("step", [0, 2, 3])
def test_prototypes_are_made_anew_at_no_other_step(step):
    trainee = Trainee("ours", context_of())
    before = trainee.arrays()
    assert trainee.method.enter_step(step) == []
    assert same_arrays(trainee.arrays(), before)


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
    assert not trainee.method.evaluated(1).proto_ready


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


def test_a_wrong_prototype_file_is_refused_before_the_first_step(tmp_path):
    path = tmp_path / "prototypes.npz"
    np.savez(path, np.zeros((5, 2, 16), np.float32))
    for wrong in (path, tmp_path / "absent.pkl"):
        with pytest.raises(CheckpointError, match=wrong.name):
            Trainee("ours", context_of(f"net.proto_head.init_proto_path='{wrong}'"))


def test_soft_targets_of_the_prototype_head_are_those_of_the_selected_pixels():
    maps = np.random.default_rng(1).random((2, 3, 5, 7)).astype(np.float32)
    pixels = np.array([34, 0, 8, 8], np.int32)
    found = _pick_rows(Tensor(maps), Tensor(pixels)).asnumpy()
    expected = [maps[image, :, pixel // 7, pixel % 7] for image in range(2) for pixel in pixels]
    np.testing.assert_array_equal(found, expected)
