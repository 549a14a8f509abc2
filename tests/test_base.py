"""What methods are made of: refusals, and a second network that is trained."""

import pytest
from tiny import Trainee, context_for, context_of

from semiseg.common.errors import ConfigError


@pytest.mark.parametrize("name", ["suponly", "mean_teacher"])
def test_a_prototype_head_is_refused_where_it_would_stay_untrained(name):
    with pytest.raises(ConfigError, match=rf"net\.proto_head: method {name} does not train"):
        Trainee(name, context_of())


@pytest.mark.parametrize(("name", "warm_up"), [("suponly", 0), ("suponly", 1), ("ours", 1)])
def test_one_image_a_step_is_refused_where_it_would_be_alone(name, warm_up):
    with pytest.raises(ConfigError, match=r"dataset\.batch_size: expected at least 2 .* got 1"):
        Trainee(name, context_for(name, f"trainer.sup_only_epoch={warm_up}", batch=1))
