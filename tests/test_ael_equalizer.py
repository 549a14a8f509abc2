"""AEL's samplers in every method that can use them."""

from dataclasses import replace

import numpy as np
import pytest
from mindspore import Tensor
from tiny import NEEDS, Trainee, context_for, context_of, same_arrays, step_batch

from semiseg.common.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("ael", ["trainer.adaptive.cutmix=null"]),
        ("ael", ["trainer.adaptive.copy_paste=null", "trainer.adaptive.sample=false", "trainer.adaptive.gamma=0"]),
        ("ael", ["trainer.teacher_bn=forward", "trainer.adaptive.absent=decay"]),
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


@pytest.mark.parametrize(("options", "kept"), [("{sample: true}", False), ("{sample: false}", True)])
def test_without_sampling_every_pixel_is_kept(options, kept):
    trainee = Trainee("ael", context_for("ael", "trainer.sup_only_epoch=0", f"trainer.adaptive={options}"))
    trainee.method.equalizer.confidence.update(np.array([2.0, 5.0, 9.0]), np.array([10, 10, 10]))
    probability = trainee.method.inputs(1, step_batch(1)).class_probability.asnumpy()
    assert (probability == 1).all() == kept


def test_confidences_by_pairs_want_an_even_number_of_images():
    context = replace(context_for("ael", "trainer.adaptive.absent=decay"), batch_size=3)
    with pytest.raises(ConfigError, match=r"absent: decay takes .* dataset\.batch_size is 3: make it even"):
        Trainee("ael", context)


def test_a_rare_class_counts_as_unlearnt_where_absent_classes_decay():
    label, rare = np.zeros((4, 5, 5), np.int32), 2
    label[0, 0, 0] = rare  # one pair of two shows it
    logits = np.zeros((4, 3, 5, 5), np.float32)
    logits[0, rare, 0, 0] = 20  # and it is certain there
    found = {}
    for rule in ("keep", "decay"):
        method = Trainee("ael", context_for("ael", "dataset.batch_size=4", f"trainer.adaptive.absent={rule}")).method
        sums, counts = method.equalizer.labelled_confidences(Tensor(logits), Tensor(label))
        found[rule] = float(sums[rare] / counts[rare])
    assert found == {"keep": pytest.approx(1, abs=1e-4), "decay": pytest.approx(0.5, abs=1e-4)}
