"""What a run measures and draws of itself, and that it leaves no trace in what is learnt."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import CROP, Trainee, batch_of, context_for, same_arrays

from semiseg.data.loaders import Batch
from semiseg.data.specs import custom_spec
from semiseg.data.transforms import normalize
from semiseg.engine.monitor import Monitor, Sample
from semiseg.methods import METHODS

SPEC = custom_spec("three", ["background", "cat", "dog"], "{id}.jpg", "{id}.png")
LAST = 2  # steps; the first is supervised


def sample(seed=0):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (*CROP, 3), dtype=np.uint8)
    return Sample(f"id{seed}", normalize(rgb), rgb, rng.integers(0, 3, CROP).astype(np.uint8))


def trained(name):
    trainee = Trainee(name, context_for(name))
    trainee.run(0, LAST)
    return trainee


@pytest.fixture(scope="module")
def ours():
    """The method after its first step with unlabelled images; not to be trained on."""
    return trained("ours").method


@pytest.fixture
def confident(ours, monkeypatch):
    """Sets the confidence from which on pseudo-labels are used."""

    def to(threshold):
        trainer = ours.context.trainer
        unsupervised = trainer.unsupervised.model_copy(update={"confid_thresh": threshold})
        trainer = trainer.model_copy(update={"unsupervised": unsupervised})
        monkeypatch.setattr(ours, "context", replace(ours.context, trainer=trainer))
        return ours

    return to


@pytest.mark.parametrize("name", METHODS)
def test_watching_changes_nothing(name):
    trainee = trained(name)
    before = trainee.arrays()
    monitor = Monitor(trainee.method, SPEC, [sample()], lambda step: batch_of(step, "labeled"))
    assert len(list(monitor.pictures(LAST))) == 1
    found = monitor.numbers(LAST)
    assert ("pseudo_accuracy" in found) == trainee.method.uses_unlabeled
    assert trainee.method.student.training
    assert not trainee.method.teacher.network.training
    assert same_arrays(before, trainee.arrays())


def test_accuracy_counts_pixels_with_a_label_and_those_that_would_be_used(confident):
    images = batch_of(1, "unlabeled").images
    method = confident(0.4)
    label, kept = Monitor(method, SPEC)._pseudo_labels(LAST, images)
    assert 0.02 < kept.mean() < 0.98  # else the two numbers below would say the same
    truth = label.copy()
    truth[:, ::2] = (truth[:, ::2] + 1) % 3  # every other row wrong
    truth[:, -5:] = 255
    found = Monitor(method, SPEC, truth=lambda step: Batch(step, [], images, truth)).numbers(LAST)
    odd = (np.arange(CROP[0]) % 2 == 1)[None, :, None] & (truth != 255)
    assert found["pseudo_accuracy"] == pytest.approx(odd.sum() / (truth != 255).sum())
    assert found["pseudo_accuracy_in_mask"] == pytest.approx((odd & kept).sum() / ((truth != 255) & kept).sum())


def test_without_a_pixel_to_count_there_is_no_accuracy(confident):
    found = Monitor(confident(1.0), SPEC, truth=lambda step: batch_of(step, "labeled")).numbers(LAST)
    assert "pseudo_accuracy" in found
    assert "pseudo_accuracy_in_mask" not in found


def test_in_the_supervised_phase_nothing_is_measured(ours):
    found = Monitor(ours, SPEC, truth=lambda step: batch_of(step, "labeled")).numbers(1)
    assert not {"pseudo_accuracy", "pseudo_accuracy_in_mask"} & set(found)


@pytest.mark.parametrize(("step", "columns"), [(1, 4), (LAST, 5)])
def test_panels_show_image_truth_pseudo_label_student_and_teacher(ours, step, columns):
    drawn = dict(Monitor(ours, SPEC, [sample(0), sample(1)]).pictures(step))
    assert list(drawn) == ["id0", "id1"]
    for seed, picture in enumerate(drawn.values()):
        assert picture.shape == (CROP[0] + 4, columns * (CROP[1] + 4), 3)
        assert np.array_equal(picture[2:-2, 2 : CROP[1] + 2], sample(seed).rgb)


def test_pixels_whose_pseudo_label_is_not_used_are_left_as_they_are(confident):
    (picture,) = (picture for _, picture in Monitor(confident(1.0), SPEC, [sample()]).pictures(LAST))
    third = picture[2:-2, 2 * (CROP[1] + 4) + 2 : 3 * (CROP[1] + 4) - 2]
    assert np.array_equal(third, sample().rgb)
