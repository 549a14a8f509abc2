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
