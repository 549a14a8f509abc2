"""A step in micro-batches is the step of the whole batch, and what is drawn does not depend on the division."""

import numpy as np
import pytest
from mindspore import nn
from tiny import Trainee, batch_of, context_for

from semiseg.common.distributed import Group
from semiseg.common.rng import generator
from semiseg.data.loaders import Shard, TrainStream
from semiseg.methods.context import StepBatch
from semiseg.methods.sampling import BatchSlice, dropout_masks, random_slice

START = "trainer.sup_only_epoch=0"
PLAIN = "trainer.unsupervised.apply_aug=none"  # partners in CutMix are of one part, as published


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


CASES = {
    "supervised": ("suponly", []),
    "supervised with auxiliary loss": ("suponly", ["net.aux_loss={}"]),
    "mean teacher": ("mean_teacher", [START, PLAIN]),
    "divided by confident pixels": ("mean_teacher", [START, PLAIN, "trainer.unsupervised.normalize=confident"]),
    "prototypes": ("ours", [START, PLAIN]),
    "prototypes, confident": ("ours", [START, PLAIN, "trainer.unsupervised.normalize=confident"]),
    "prototypes and class confidences": ("ours", [START, PLAIN, "trainer.adaptive={momentum: 0.9}"]),
}


# One labelled image alone is refused in steps without unlabelled ones.
DIVISIONS = [(case, parts) for case, (name, _) in CASES.items() for parts in (2, 4) if parts == 2 or name != "suponly"]


@pytest.mark.parametrize(("case", "accumulate"), DIVISIONS)
def test_micro_batches_make_the_step_of_the_whole_batch(case, accumulate):
    name, overrides = CASES[case]
    whole, expected = one_step(name, *overrides, batch=4, accumulate=1)
    divided, found = one_step(name, *overrides, batch=4 // accumulate, accumulate=accumulate)
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


# Draws


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_of_a_batch_draw_what_the_whole_batch_draws(parts):
    whole = [mask.asnumpy() for mask in dropout_masks(3, 7, BatchSlice(0, 4, 4), (5, 6), 0.5, kinds=2)]
    count = 4 // parts
    for part in range(parts):
        first = part * count
        found = dropout_masks(3, 7, BatchSlice(first, count, 4), (5, 6), 0.5, kinds=2)
        for mask, expected in zip(found, whole, strict=True):
            rows = [*range(first, first + count), *range(4 + first, 4 + first + count)]
            np.testing.assert_array_equal(mask.asnumpy(), expected[rows])


def test_rows_are_drawn_without_the_others():
    whole, part = generator(1, "x", 2), generator(1, "x", 2)
    expected = whole.random((7, 3, 2))
    np.testing.assert_array_equal(random_slice(part, BatchSlice(2, 3, 7), (3, 2)), expected[2:5])
    assert part.random() == whole.random()


@pytest.mark.parametrize("name", ["classmix", "cutmix"])
def test_parts_get_other_boxes(name):
    context = context_for("mean_teacher", START, f"trainer.unsupervised={{apply_aug: {name}, aug_prob: 1}}")
    method = Trainee("mean_teacher", context).method
    batch = batch_of(0, "unlabeled")

    def mask(images, first, count):
        place = StepBatch(None, batch, BatchSlice(first, count, 6))
        return method.mixer.replacement(0, method.teacher_labels(images), place)[0]

    masks = [mask(batch.images, first, 2) for first in (0, 2, 4)]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[1], masks[2])
    if name == "cutmix":
        same_images = np.concatenate([batch.images[:1]] * 6)
        np.testing.assert_array_equal(mask(same_images[:2], 2, 2), mask(same_images, 0, 6)[2:4])


@pytest.mark.parametrize(("world", "accumulate"), [(1, 3), (2, 1), (2, 3), (3, 2)])
def test_the_places_of_images_are_those_that_the_streams_give_them(world, accumulate):
    batch, step = 2, 5

    class Numbers:
        def __len__(self):
            return 10**6

    seen = []
    for rank in range(world):
        context = context_for("suponly", f"trainer.accumulate={accumulate}", batch=batch)
        object.__setattr__(context, "group", Group(rank, world))
        stream = TrainStream(Numbers(), None, batch, seed=0, purpose="x", shard=Shard(rank, world, accumulate))
        total = batch * world * accumulate
        places = [
            step * total + row
            for part in range(accumulate)
            for rows in [context.batch_slice(part)]
            for row in range(rows.first, rows.first + rows.count)
        ]
        assert stream._positions(step) == places
        assert {context.batch_slice(part).total for part in range(accumulate)} == {total}
        seen += places
    assert sorted(seen) == list(range(step * total, (step + 1) * total))


def test_the_previous_image_of_a_part_of_one_is_state_of_each_device():
    trainee = Trainee("mean_teacher", context_for("mean_teacher", START, "trainer.accumulate=2", batch=1))
    own = {name for name, value in trainee.state.items() if getattr(value, "per_device", False)}
    assert own == {"previous.image", "previous.label", "previous.score", "previous.filled"}
    images = batch_of(0, "unlabeled", 2)
    trainee.step(0, batch_of(0, "labeled", 2), images)
    np.testing.assert_array_equal(trainee.state["previous.image"].asnumpy()[0], images.images[1])
