"""One step: nothing is updated when the loss is not finite."""

import numpy as np
import pytest
from tiny import Trainee, batch_of, context_of, same_arrays

from semiseg.engine.step import NonFiniteLossError


def test_a_loss_that_is_not_finite_stops_the_run_before_anything_changes():
    # The loss itself stays finite here: on CPU the ReLU of NaN is 0.
    trainee = Trainee("ours", context_of("trainer.sup_only_epoch=0"))
    before = {n: a for n, a in trainee.arrays().items() if "moving_" not in n}
    batch = batch_of(0, "labeled")
    batch.images[0, 0, 0, 0] = np.nan
    with pytest.raises(NonFiniteLossError, match=r"step 0: .* not finite .* labeled 0, labeled 1, unlabeled 0"):
        trainee.step(0, batch, batch_of(0, "unlabeled"))
    assert same_arrays({n: a for n, a in trainee.arrays().items() if "moving_" not in n}, before)


def test_the_rate_follows_the_schedule_and_the_step_alone():
    trainee = Trainee("ours", context_of("trainer.sup_only_epoch=0"))
    assert trainee.run(0, 1)[0].lr == pytest.approx(0.05)
    assert trainee.run(3, 4)[0].lr == pytest.approx(0.05 * 0.25**0.9)
