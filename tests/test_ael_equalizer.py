"""AEL's samplers in every method that can use them."""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import NEEDS, Trainee, context_of, same_arrays


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("ael", ["trainer.adaptive.cutmix=null"]),
        ("ael", ["trainer.adaptive.copy_paste=null", "trainer.adaptive.sample=false", "trainer.adaptive.gamma=0"]),
        ("ael", ["trainer.teacher_bn=forward"]),
        ("u2pl", ["trainer.adaptive={cutmix: {}, copy_paste: {}}"]),
        ("mean_teacher", ["net.proto_head=null", "trainer.adaptive={cutmix: {}, copy_paste: {}}"]),
        ("ours", ["trainer.adaptive={cutmix: {}, copy_paste: {}}"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_every_combination_trains_and_resumes(name, overrides):
    context = context_of(*NEEDS.get(name, []), "trainer.sup_only_epoch=0", *overrides)
    trainee, other = Trainee(name, context, seed=1), Trainee(name, context, seed=2)
    first = trainee.run(0, 2)
    assert all(np.isfinite(list(result.terms.values())).all() for result in first)
    saved = trainee.arrays()
    assert saved["adaptive.confidence"].any()
    assert ("adaptive.images" in saved) == ("trainer.adaptive.cutmix=null" not in overrides)
    for key, item in other.state.items():
        item.set_data(Tensor(saved[key]))
    trainee.run(2, 3)
    other.run(2, 3)
    assert same_arrays(other.arrays(), trainee.arrays())
    assert all(np.isfinite(array).all() for array in trainee.arrays().values())
