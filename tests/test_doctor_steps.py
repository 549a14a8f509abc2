"""The steps that the doctor makes: those of the experiments, on images that are on no disk."""

from typing import Literal

import numpy as np
import pytest
from pydantic.fields import FieldInfo

from semiseg.config.keys import TrainerConfig
from semiseg.doctor import steps
from semiseg.methods import METHODS


@pytest.mark.parametrize("size", ["small", "published"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_that_of_the_experiments(method, size):
    plan = steps.plan_of(method, size, "off")
    config = plan.config
    assert (config.method, config.net.num_classes, config.dataset.batch_size) == (method, 21, 2)
    assert plan.method is METHODS[method]
    assert config.trainer.sup_only_epoch == 0
    published, side = size == "published", 321 if method in ("fixmatch", "unimatch") else 513
    assert config.dataset.train.crop.size == ((side, side) if published else (33, 33))
    assert (config.net.encoder.type == "resnet101", config.trainer.jit) == (published, published)


def test_two_steps_are_made_the_same_each_time_and_pseudo_labels_count():
    found, again = (steps.run("mean_teacher", "small") for _ in range(2))
    assert np.isfinite(found["losses"]).all()
    assert found["losses"] == again["losses"]
    assert found["losses"][0] != found["losses"][1]
    assert found["terms"]["unsup"] > 0
    assert found["terms"]["mask_ratio"] > 0
    assert len(found["seconds"]) == 2


def test_precisions_come_from_the_key(monkeypatch):
    field = FieldInfo(annotation=Literal["off", "O1", "O2"])
    monkeypatch.setattr(TrainerConfig, "model_fields", {"amp": field})
    assert steps.amp_values() == ("off", "O1", "O2")


def test_without_a_clone_the_reason_is_told(monkeypatch):
    monkeypatch.setattr(steps, "checkout", lambda: None)
    with pytest.raises(FileNotFoundError, match="steps need a clone"):
        steps.plan_of("ours", "small", "off")
