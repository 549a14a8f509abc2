"""Dynamic loss scaling: how the scale moves; of a step that overflows nothing stays but the count and the scale."""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import Trainee, batch_of, context_for, same_arrays

from semiseg.checkpoints.run import Checkpoints, Progress
from semiseg.common.host_array import HostArray
from semiseg.config.keys import SaverConfig
from semiseg.engine import loss_scale
from semiseg.engine.step import NonFiniteLossError

START = "trainer.sup_only_epoch=0"
O1 = "trainer.amp=O1"
HUGE = 2.0**100  # what gradients in float16 certainly do not bear; the loss itself, in float32, does


def trainee_of(name, *overrides, **options):
    return Trainee(name, context_for(name, START, O1, *overrides, **options))


def set_scale(trainee, value):
    trainee.state["amp.scale"].array[0] = value


def split(arrays):
    """(the loss scale's, all others)."""
    amp = {name: array.tolist()[0] for name, array in arrays.items() if name.startswith("amp.")}
    return amp, {name: array for name, array in arrays.items() if not name.startswith("amp.")}


# ---- the scale


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.setattr(loss_scale, "GROW_AFTER", 3)
    return loss_scale.LossScale(trainee_of("suponly").method)


def test_the_scale_doubles_after_good_steps_in_a_row_and_halves_at_a_skip(scale):
    assert scale.value == 2**16
    for _ in range(2):
        scale.succeed()
    scale.begin()
    scale.skip()
    assert (scale.value, scale.skipped) == (2**15, 1)
    for expected in (2**15, 2**15, 2**16, 2**16):  # the two good steps before the skip do not count
        scale.succeed()
        assert scale.value == expected
    assert [value.array.tolist() for value in scale.state().values()] == [[2**16], [1], [1]]


def test_the_scale_stays_between_its_ends(scale):
    for _ in range(3 * 12):
        scale.succeed()
    assert scale.value == 2**24
    for _ in range(23):
        scale.begin()
        scale.skip()
        assert scale.may_fall
    scale.skip()
    assert (scale.value, scale.may_fall, scale.skipped) == (1, False, 24)


def test_a_host_array_is_put_back():
    array = HostArray("a", np.arange(4, dtype=np.float32))
    for value in (7.0, 8.0):
        array.keep()
        array.array[1:3] = value
        array.restore()
        assert array.array.tolist() == [0, 1, 2, 3]


# ---- steps


@pytest.mark.parametrize(
    ("name", "overrides", "batch", "moved"),
    [
        ("suponly", ["trainer.jit=true"], 2, ["student.encoder.bn1.moving_mean"]),
        ("ours", ["net.proto_head={num_micro_proto: 2, select_granularity: 8, init_samples: 60}"], 2, []),
        ("mean_teacher", ["trainer.accumulate=2"], 1, ["previous.image", "previous.filled"]),
        ("ael", ["trainer.teacher_bn=forward"], 2, ["teacher.encoder.bn1.moving_variance"]),
        ("u2pl", ["trainer.teacher_bn=forward"], 2, ["bank.rows", "bank.count", "teacher.encoder.bn1.moving_mean"]),
    ],
)
def test_a_step_that_overflows_changes_nothing_but_the_scale(monkeypatch, name, overrides, batch, moved):
    trainee = trainee_of(name, *overrides, batch=batch)
    size = batch * trainee.method.context.trainer.accumulate
    trainee.method.enter_step(0)
    set_scale(trainee, HUGE)
    _, before = split(trainee.arrays())
    undone = []

    def restore(undo, real=loss_scale.Undo.restore):
        undone.extend(n for n, a in split(trainee.arrays())[1].items() if not np.array_equal(a, before[n]))
        real(undo)

    monkeypatch.setattr(loss_scale.Undo, "restore", restore)
    result = trainee.step(0, batch_of(0, "labeled", size), batch_of(0, "unlabeled", size))
    amp, after = split(trainee.arrays())
    assert same_arrays(after, before)
    assert {"student.encoder.bn1.moving_variance", *moved} <= set(undone)
    assert amp == {"amp.scale": HUGE / 2, "amp.good_steps": 0, "amp.skipped_steps": 1}
    assert (result.overflow, result.loss_scale, result.overflows, trainee.step.overflows) == (True, HUGE / 2, 1, 1)
    assert np.isfinite(result.loss)  # it was the gradient
    assert result.lr == pytest.approx(0.05)
    set_scale(trainee, 2.0**8)
    assert not trainee.step(1, batch_of(1, "labeled", size), batch_of(1, "unlabeled", size)).overflow
    weight = "student.decoder.classifier.8.weight"
    assert not np.array_equal(trainee.arrays()[weight], before[weight])


@pytest.mark.parametrize("amp", ["O1", "O2"])
def test_the_loss_falls(amp):
    trainee = Trainee("suponly", context_for("suponly", f"trainer.amp={amp}", "trainer.epochs=40"))
    batch = batch_of(0, "labeled")
    losses = [trainee.step(step, batch, None).loss for step in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_step_is_that_of_float32_up_to_float16s_rounding():
    exact = Trainee("suponly", context_for("suponly"))
    mixed = Trainee("suponly", context_for("suponly", O1))
    first, second = (trainee.run(0, 1)[0] for trainee in (exact, mixed))
    assert second.loss == pytest.approx(first.loss, rel=5e-3)
    assert second.lr == first.lr
    expected, found = (
        np.concatenate([a.ravel() for name, a in trainee.arrays().items() if name.startswith("optimizer.")])
        for trainee in (exact, mixed)
    )
    # This net is so narrow that noise of 2e-3 on its images, all in float32, moves the gradient by 0.2.
    assert np.linalg.norm(found - expected) < 0.4 * np.linalg.norm(expected)
    assert {array.dtype for name, array in mixed.arrays().items() if not name.startswith("amp.")} == {np.dtype("f4")}


def test_without_mixed_precision_there_is_no_scale():
    trainee = Trainee("suponly", context_for("suponly"))
    assert (trainee.step.state(), trainee.step.overflows) == ({}, 0)
    result = trainee.run(0, 1)[0]
    assert (result.loss_scale, result.overflow, result.overflows) == (None, False, 0)


def test_an_infinity_in_one_part_skips_the_step_of_all_parts():
    trainee = trainee_of("suponly", "trainer.accumulate=2")
    set_scale(trainee, 4.0)
    _, before = split(trainee.arrays())
    batch = batch_of(0, "labeled", 4)
    batch.images[3] = np.inf
    assert trainee.step(0, batch, None).overflow
    amp, after = split(trainee.arrays())
    assert same_arrays(after, before)
    assert amp["amp.scale"] == 2


def test_when_the_scale_cannot_fall_the_run_stops():
    trainee = trainee_of("suponly")
    set_scale(trainee, 1.0)
    batch = batch_of(0, "labeled")
    batch.images[0] = np.inf
    with pytest.raises(NonFiniteLossError, match=r"trainer\.amp=off \(the loss scale is down to 1\).*labeled 0"):
        trainee.step(0, batch, None)
    assert trainee.step.overflows == 0


def test_a_run_continues_exactly_after_a_skip(tmp_path):
    def run(trainee, first, last):
        for step in range(first, last):
            if step == 1:
                set_scale(trainee, HUGE)
            if step == 2:
                set_scale(trainee, 2.0**8)
            trainee.run(step, step + 1)

    whole, stopped, continued = (trainee_of("u2pl", "trainer.epochs=8") for _ in range(3))
    run(whole, 0, 4)
    run(stopped, 0, 2)
    saver = SaverConfig()
    Checkpoints(tmp_path, saver, stopped.state).save(Progress(2, images=2))
    progress, _ = Checkpoints(tmp_path, saver, continued.state).resume(Progress(images=2))
    assert continued.step.overflows == 1
    assert continued.arrays()["amp.scale"][0] == HUGE / 2
    run(continued, progress.step, 4)
    assert same_arrays(continued.arrays(), whole.arrays())
    assert whole.arrays()["amp.good_steps"][0] == 2


def test_the_optimizer_divides_by_the_scale():
    exact, scaled = (Trainee("suponly", context_for("suponly")) for _ in range(2))
    gradients = tuple(Tensor(np.full(w.shape, 0.01, np.float32)) for w in exact.optimizer.weights)
    assert exact.optimizer(gradients, 0.5) == scaled.optimizer(tuple(g * 2.0**20 for g in gradients), 0.5, 2.0**20)
    assert same_arrays(exact.arrays(), scaled.arrays())
