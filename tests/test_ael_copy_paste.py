"""AEL's copy-paste: pixels of drawn classes are laid over a copy of the labelled images."""

import numpy as np
from tiny import context_of, step_batch

from semiseg.methods.ael.banks import ConfidenceBank
from semiseg.methods.ael.copy_paste import CopyPaste


def test_pasting_leaves_the_batch_itself_alone():
    context = context_of("trainer.adaptive={copy_paste: {prob: 1}}")
    paste, batch = CopyPaste(context, ConfidenceBank(3, 0.9)), step_batch(0)
    images, labels = batch.labeled.images.copy(), batch.labeled.labels.copy()
    pasted = paste(0, batch)
    assert np.array_equal(batch.labeled.images, images)
    assert np.array_equal(batch.labeled.labels, labels)
    assert not np.array_equal(pasted.images, images)
    assert not (pasted.labels != labels)[labels == pasted.labels].any()


def test_two_neighbours_share_a_draw_of_classes_wherever_they_are_trained():
    paste = CopyPaste(context_of("trainer.adaptive={copy_paste: {number: 1}}"), ConfidenceBank(3, 0.9))
    even = np.full(3, 1 / 3)
    draws = [[paste._classes(step, place, even).item() for place in range(6)] for step in range(30)]
    assert all(row[0::2] == row[1::2] for row in draws)
    pairs = np.array(draws)[:, 0::2]
    assert all((pairs == c).any(0).all() for c in range(3))
    assert (pairs[:, :-1] != pairs[:, 1:]).any(0).all()
