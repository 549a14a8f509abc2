"""What the method u2pl hands to its contrastive part."""

import numpy as np
import pytest
from tiny import NEEDS, Trainee, context_of, step_batch

from semiseg.methods.u2pl import method as u2pl
from semiseg.models.interpolate import nearest

PASTES = "trainer.adaptive={momentum: 0.9, copy_paste: {number: 2, prob: 1}}"


def test_the_contrastive_part_has_the_labels_that_the_student_sees(monkeypatch):
    """Pasted pixels change images and labels; a contrast of the new images with the old labels would be wrong."""
    trainee = Trainee("u2pl", context_of(*NEEDS["u2pl"], "trainer.sup_only_epoch=0", PASTES))
    taken = []
    real = u2pl.sample_contrast
    monkeypatch.setattr(u2pl, "sample_contrast", lambda pixels, *rest: taken.append(pixels) or real(pixels, *rest))
    batch = step_batch(1)
    inputs = trainee.method.inputs(1, batch)
    label_l = inputs.label_l.asnumpy()
    assert not np.array_equal(label_l, batch.labeled.labels)  # something was pasted
    small = nearest(label_l, trainee.method.student.feature_size(*label_l.shape[1:]))
    assert np.array_equal(taken[0].label[: taken[0].labelled], small.ravel())
    assert taken[0].images == len(label_l)


@pytest.mark.parametrize("negatives", ["paper", "published"])
def test_without_negatives_in_the_bank_a_class_has_no_loss(negatives):
    trainee = Trainee("u2pl", context_of(*NEEDS["u2pl"], f"trainer.contrastive.negatives={negatives}"))
    bank = trainee.method.state()["bank.count"].array
    assert not bank.any()
    weights = trainee.method.inputs(1, step_batch(1)).class_weight.asnumpy()
    assert not weights[bank == 0].any()  # after this step's keys came in


def test_with_published_negatives_the_loss_trains():
    trainee = Trainee("u2pl", context_of(*NEEDS["u2pl"], "trainer.contrastive.negatives=published"))
    results = trainee.run(1, 4)
    losses = [result.terms["contrast"] for result in results]
    assert all(np.isfinite(losses))
    assert max(losses) > 0
    assert trainee.method.state()["bank.count"].array.any()
