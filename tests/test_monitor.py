"""What a run measures and draws of itself, and that it leaves no trace in what is learnt."""

import numpy as np
import pytest
from tiny import CROP, Trainee, batch_of, same_arrays, settings_for

from semiseg.data.specs import custom_spec
from semiseg.data.transforms import normalize
from semiseg.engine.monitor import Monitor, Sample
from semiseg.methods import METHODS

SPEC = custom_spec("three", ["background", "cat", "dog"], "{id}.jpg", "{id}.png")
LAST = 3  # steps; the first is supervised


def sample(seed=0):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (*CROP, 3), dtype=np.uint8)
    return Sample(f"id{seed}", normalize(rgb), rgb, rng.integers(0, 3, CROP).astype(np.uint8))


def trained(name, *overrides):
    trainee = Trainee(name, settings_for(name, *overrides))
    trainee.run(0, LAST)
    return trainee


@pytest.mark.parametrize("name", METHODS)
def test_watching_changes_nothing(name):
    plain, watched = (Trainee(name, settings_for(name)) for _ in range(2))
    monitor = Monitor(watched.method, SPEC, [sample()], lambda step: batch_of(step, "labeled"))
    plain.run(0, LAST)
    for step in range(LAST):
        watched.run(step, step + 1)
        monitor.numbers(step + 1)
        list(monitor.pictures(step + 1))
    assert watched.method.student.training
    assert not watched.method.teacher.training
    assert same_arrays(plain.arrays(), watched.arrays())


def test_accuracy_counts_pixels_with_a_label_and_those_that_would_be_used():
    trainee = trained("ours", "trainer.unsupervised.confid_thresh=0.4")
    images = batch_of(1, "unlabeled").images
    label, kept = Monitor(trainee.method, SPEC)._pseudo_labels(LAST, images)
    assert 0.02 < kept.mean() < 0.98  # else the two numbers below would say the same
    truth = label.copy()
    truth[:, ::2] = (truth[:, ::2] + 1) % 3  # every other row wrong
    truth[:, -5:] = 255

    class Batch:
        labels = truth

    Batch.images = images
    found = Monitor(trainee.method, SPEC, truth=lambda step: Batch).numbers(LAST)
    odd = (np.arange(CROP[0]) % 2 == 1)[None, :, None] & (truth != 255)
    assert found["pseudo_accuracy"] == pytest.approx(odd.sum() / (truth != 255).sum())
    assert found["pseudo_accuracy_kept"] == pytest.approx((odd & kept).sum() / ((truth != 255) & kept).sum())


def test_without_a_pixel_to_count_there_is_no_accuracy():
    trainee = trained("ours", "trainer.unsupervised.confid_thresh=1.0")
    found = Monitor(trainee.method, SPEC, truth=lambda step: batch_of(step, "labeled")).numbers(LAST)
    assert "pseudo_accuracy" in found
    assert "pseudo_accuracy_kept" not in found


def test_in_the_supervised_phase_nothing_is_measured():
    trainee = Trainee("ours", settings_for("ours"))
    trainee.run(0, 1)
    assert Monitor(trainee.method, SPEC, truth=None).numbers(1) == {}
    assert Monitor(trainee.method, SPEC, truth=lambda step: batch_of(step, "labeled")).numbers(1) == {}


def test_use_of_prototypes_is_counted_in_the_step():
    trainee = trained("ours")
    counts = Monitor(trainee.method, SPEC).numbers(LAST)["proto_counts"]
    assert len(counts) == 6
    assert all(isinstance(count, int) for count in counts)
    selected = 2 * 2 * trainee.method.settings.net.proto_head.select_granularity**2
    assert 0 < sum(counts) <= selected


@pytest.mark.parametrize(("name", "columns"), [("suponly", 4), ("ours", 5)])
def test_panels_show_image_truth_pseudo_label_student_and_teacher(name, columns):
    trainee = trained(name)
    monitor = Monitor(trainee.method, SPEC, [sample(0), sample(1)])
    drawn = dict(monitor.pictures(LAST))
    assert list(drawn) == ["id0", "id1"]
    for seed, picture in enumerate(drawn.values()):
        assert picture.shape == (CROP[0] + 4, columns * (CROP[1] + 4), 3)
        assert np.array_equal(picture[2:-2, 2 : CROP[1] + 2], sample(seed).rgb)
    if name == "ours":  # pixels that would not be used are left as they are
        strict = trained(name, "trainer.unsupervised.confid_thresh=1.0")
        (picture,) = (picture for _, picture in Monitor(strict.method, SPEC, [sample()]).pictures(LAST))
        third = picture[2:-2, 2 * (CROP[1] + 4) + 2 : 3 * (CROP[1] + 4) - 2]
        assert np.array_equal(third, sample().rgb)
