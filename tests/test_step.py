"""One step: micro-batches make the step of the whole batch, compiled or not; no update where the loss is not finite."""

import functools

import numpy as np
import pytest
from mindspore import Tensor, nn
from tiny import Trainee, batch_of, context_for, context_of, same_arrays

from semiseg.engine.optim import SGD
from semiseg.engine.step import NonFiniteLossError

START = "trainer.sup_only_epoch=0"
PLAIN = "trainer.unsupervised.apply_aug=none"  # partners in CutMix are of one part, as published


def test_a_loss_that_is_not_finite_stops_the_run_before_anything_changes():
    # The loss itself stays finite here: on CPU the ReLU of NaN is 0.
    trainee = Trainee("ours", context_of("trainer.sup_only_epoch=0"))
    before = {n: a for n, a in trainee.arrays().items() if "moving_" not in n}
    batch = batch_of(0, "labeled")
    batch.images[0, 0, 0, 0] = np.nan
    said = r"step 0: the gradient of the loss not finite \(.* labeled 0, labeled 1, unlabeled 0"
    with pytest.raises(NonFiniteLossError, match=said):
        trainee.step(0, batch, batch_of(0, "unlabeled"))
    assert same_arrays({n: a for n, a in trainee.arrays().items() if "moving_" not in n}, before)


def test_terms_that_are_not_finite_are_named_and_others_are_not():
    trainee = Trainee("ours", context_of())
    terms = {"sup": 1.0, "unsup": float("nan"), "proto_sup": float("inf")}
    with pytest.raises(NonFiniteLossError, match=r"step 7: unsup and proto_sup not finite \(sup 1, unsup nan"):
        trainee.step._refuse(7, terms, False, (batch_of(0, "labeled"),))


def test_the_rate_follows_the_schedule_and_the_step_alone():
    trainee = Trainee("ours", context_of("trainer.sup_only_epoch=0"))
    assert trainee.run(0, 1)[0].lr == pytest.approx(0.05)
    assert trainee.run(3, 4)[0].lr == pytest.approx(0.05 * 0.25**0.9)


@pytest.mark.parametrize(("name", "accumulate", "images"), [("suponly", 1, 2), ("suponly", 2, 4), ("ours", 2, 8)])
def test_the_images_that_the_student_saw_are_counted_over_all_parts(name, accumulate, images):
    trainee = Trainee(name, context_for(name, START, f"trainer.accumulate={accumulate}"))
    result = trainee.step(0, batch_of(0, "labeled", 2 * accumulate), batch_of(0, "unlabeled", 2 * accumulate))
    assert result.images == images


@pytest.fixture
def gradients(monkeypatch):
    """Those of each update so far, in the order of the optimizer's weights."""
    taken, real = [], SGD.__call__

    def call(self, gradients, *rest):
        taken.append([gradient.asnumpy() for gradient in gradients])
        return real(self, gradients, *rest)

    monkeypatch.setattr(SGD, "__call__", call)
    return taken


@pytest.mark.usefixtures("shallow")
def test_compiled_and_plain_steps_agree(gradients):
    semi = [START, "net.aux_loss={}", "trainer.unsupervised.aug_prob=1"]
    semi.append("criterion={type: ohem, kwargs: {thresh: 0.3, min_kept: 200}}")
    plain, compiled = (Trainee("ours", context_of(*semi, f"trainer.jit={jit}")) for jit in ("false", "true"))
    # One step: over several, any two float32 executions drift apart.
    first, second = plain.run(0, 1)[0], compiled.run(0, 1)[0]
    assert second.loss == pytest.approx(first.loss, rel=5e-5)
    assert second.terms == pytest.approx(first.terms, rel=5e-5)
    # A bias before a BatchNorm has a gradient of exactly 0: it is measured against a thousandth of the largest of all.
    least = 1e-3 * max(np.abs(gradient).max() for gradient in gradients[0])
    for weight, expected, found in zip(plain.optimizer.weights, *gradients, strict=True):
        assert np.abs(found - expected).max() < 1e-3 * max(np.abs(expected).max(), least), weight.name
    before = compiled.arrays()
    for name, expected in plain.arrays().items():
        largest = np.abs(expected).max()
        limit = 1e-3 * max(largest, least) if name.startswith("optimizer.") else 5e-5 * largest
        assert np.abs(before[name] - expected).max() <= limit, name
    compiled.run(1, 2)  # later steps really train too
    assert not np.array_equal(
        compiled.arrays()["student.encoder.conv1.0.weight"], before["student.encoder.conv1.0.weight"]
    )


def frozen(trainee):
    """BatchNorm by its stored statistics, which do not see how the batch is divided."""
    for _, cell in trainee.method.student.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            cell.use_batch_statistics = False
    return trainee


def uneven(step, kind, size):
    """A batch whose images have very different numbers of labelled pixels."""
    batch = batch_of(step, kind, size)
    if batch.labels is not None:
        for image, rows in zip(batch.labels, (30, 0, 12, 33), strict=True):
            image[:rows] = 255
    return batch


def one_step(name, *overrides, batch, accumulate):
    context = context_for(name, f"trainer.accumulate={accumulate}", *overrides, batch=batch)
    trainee = frozen(Trainee(name, context))
    return trainee.step(0, uneven(0, "labeled", 4), uneven(0, "unlabeled", 4)), trainee.arrays()


@functools.cache
def of_case(case, accumulate):
    """``one_step`` of four images of each kind."""
    name, overrides = CASES[case]
    return one_step(name, *overrides, batch=4 // accumulate, accumulate=accumulate)


CASES = {
    "supervised": ("suponly", []),
    "supervised with auxiliary loss": ("suponly", ["net.aux_loss={}"]),
    "supervised, balanced": ("suponly", ["criterion.class_balance=1"]),
    "mean teacher": ("mean_teacher", [START, PLAIN]),
    "divided by confident pixels": ("mean_teacher", [START, PLAIN, "trainer.unsupervised.normalize=confident"]),
    "prototypes": ("ours", [START, PLAIN]),
    "prototypes, balanced": ("ours", [START, PLAIN, "criterion.class_balance=0.5"]),
    "confident pixels, balanced": (
        "mean_teacher",
        [START, PLAIN, "trainer.unsupervised.normalize=confident", "criterion.class_balance=1"],
    ),
    "prototypes, confident": ("ours", [START, PLAIN, "trainer.unsupervised.normalize=confident"]),
    "soft targets, balanced": (
        "ours",
        [START, PLAIN, "trainer.unsupervised.targets=soft", "criterion.class_balance=1"],
    ),
    "soft targets": ("mean_teacher", [START, PLAIN, "trainer.unsupervised.targets=soft"]),
    "strong views": ("unimatch", [START, "trainer.weak_to_strong.partner=same_image"]),
    "strong views, balanced": (
        "unimatch",
        [START, "trainer.weak_to_strong.partner=same_image", "criterion.class_balance=1"],
    ),
    "prototypes and class confidences": ("ours", [START, PLAIN, "trainer.adaptive={momentum: 0.9}"]),
}


# One labelled image alone is refused in steps without unlabelled ones.
DIVISIONS = [(case, parts) for case, (name, _) in CASES.items() for parts in (2, 4) if parts == 2 or name != "suponly"]


@pytest.mark.parametrize(("case", "accumulate"), DIVISIONS)
def test_micro_batches_make_the_step_of_the_whole_batch(case, accumulate):
    (whole, expected), (divided, found) = of_case(case, 1), of_case(case, accumulate)
    assert divided.loss == pytest.approx(whole.loss, rel=1e-5)
    assert divided.terms == pytest.approx(whole.terms, rel=1e-5, abs=1e-6)
    assert divided.lr == whole.lr
    if accumulate == 4 and "unsup" in whole.terms:
        found = {n: a for n, a in found.items() if not n.startswith("previous.")}
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-4, atol=2e-6, err_msg=key)


def test_plain_averages_over_micro_batches_would_differ():
    # The test above compares something: the labelled pixels of these images are 0 to 1,000.
    counts = [(labels != 255).sum() for labels in uneven(0, "labeled", 4).labels]
    assert min(counts) == 0
    assert max(counts) > 900


def test_ohem_and_rule_entropy_choose_within_a_part_and_are_averaged():
    overrides = [START, PLAIN, "criterion={type: ohem, kwargs: {thresh: 0.7, min_kept: 100}}"]
    overrides.append("trainer.unsupervised={rule: entropy, drop_percent: 60}")
    divided, _ = one_step("mean_teacher", *overrides, batch=2, accumulate=2)
    parts = []
    for rows in (slice(0, 2), slice(2, 4)):
        context = context_for("mean_teacher", *overrides, "net.decoder.kwargs.dropout=0")
        labeled, unlabeled = (uneven(0, kind, 4) for kind in ("labeled", "unlabeled"))
        labeled = labeled._replace(images=labeled.images[rows], labels=labeled.labels[rows])
        unlabeled = unlabeled._replace(images=unlabeled.images[rows])
        parts.append(frozen(Trainee("mean_teacher", context)).step(0, labeled, unlabeled).terms)
    again, _ = one_step("mean_teacher", *overrides, "net.decoder.kwargs.dropout=0", batch=2, accumulate=2)
    for name, value in again.terms.items():
        assert value == pytest.approx(np.mean([part[name] for part in parts]), rel=1e-5), name
    assert divided.terms["sup"] != again.terms["sup"]  # dropout does something here


@pytest.mark.parametrize("name", ["ael", "u2pl"])
def test_methods_that_choose_images_or_pixels_of_a_part_train_in_micro_batches(name):
    trainee = Trainee(name, context_for(name, START, "trainer.accumulate=2"))
    results = [trainee.step(step, batch_of(step, "labeled", 4), batch_of(step, "unlabeled", 4)) for step in (0, 1)]
    assert all(np.isfinite(list(result.terms.values())).all() for result in results)
    assert all(np.isfinite(array).all() for array in trainee.arrays().values())


@pytest.fixture
def reads(monkeypatch):
    """Shapes of the tensors that the host has read from the device so far."""
    shapes, real = [], Tensor.asnumpy

    def asnumpy(tensor):
        shapes.append(tensor.shape)
        return real(tensor)

    monkeypatch.setattr(Tensor, "asnumpy", asnumpy)
    return shapes


@pytest.mark.parametrize(("name", "terms"), [("suponly", 1), ("mean_teacher", 3), ("ours", 5)])
def test_the_host_waits_for_the_device_once_a_step(reads, name, terms):
    trainee = Trainee(name, context_for(name, START))
    batches = batch_of(0, "labeled"), batch_of(0, "unlabeled")
    reads.clear()
    trainee.step(0, *batches)
    assert reads == [(1 + terms + 1,)]  # the loss, the terms, and the sum of the gradients


def test_in_micro_batches_losses_are_read_once_and_counts_once_a_part(reads):
    trainee = Trainee("ours", context_for("ours", START, "trainer.accumulate=3"))
    batches = batch_of(0, "labeled", 6), batch_of(0, "unlabeled", 6)
    reads.clear()
    trainee.step(0, *batches)
    small = [shape for shape in reads if np.prod(shape) < 20]
    assert sorted(small) == sorted([(4,)] * 3 + [(3 * 6 + 1,)])
