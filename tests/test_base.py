"""What methods are made of: refusals, and a second network that is trained."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor, ops
from tiny import CLASSES, Trainee, context_for, context_of, same_arrays

from semiseg.common.errors import ConfigError
from semiseg.losses import cross_entropy, ohem_cross_entropy
from semiseg.methods import METHODS
from semiseg.methods.base import Method, Objective
from semiseg.models.interpolate import resize


@pytest.mark.parametrize("name", ["suponly", "mean_teacher"])
def test_a_prototype_head_is_refused_where_it_would_stay_untrained(name):
    with pytest.raises(ConfigError, match=rf"net\.proto_head: method {name} does not train"):
        Trainee(name, context_of())


def test_one_image_a_step_trains_without_batchnorm_behind_image_pooling():
    context = context_for("suponly", "net.decoder.kwargs.pool_norm=false", batch=1)
    (result,) = Trainee("suponly", context).run(0, 1)
    assert np.isfinite(result.loss)


def test_a_supervised_loss_is_its_only_term():
    (result,) = Trainee("suponly", context_for("suponly")).run(0, 1)
    assert list(result.terms) == ["sup"]
    assert result.loss == pytest.approx(result.terms["sup"], rel=1e-6)
    assert result.measured == {}


def test_pixels_with_a_label_are_counted_and_ohem_has_no_count():
    label = Tensor(np.array([[[0, 1, 1], [2, 3, 255], [-1, 0, 2]]], np.int32))
    counts = {}
    for kind in ("CELoss", "ohem"):
        method = METHODS["suponly"](context_for("suponly", f"criterion.type={kind}"))
        counts[kind] = {
            name: float(count) for name, count in method.supervised_counts(SimpleNamespace(label_l=label)).items()
        }
    assert counts == {"CELoss": {"sup": 6}, "ohem": {}}


@pytest.mark.parametrize("kind", ["CELoss", "ohem"])
def test_the_supervised_loss_is_the_configured_criterion_of_both_heads_at_label_size(kind):
    criterion = f"criterion={{type: {kind}, kwargs: {{thresh: 0.3, min_kept: 50}}}}"
    method = METHODS["suponly"](context_for("suponly", criterion, "net.aux_loss={loss_weight: 0.25}"))
    rng = np.random.default_rng(0)
    pred, aux = (Tensor(rng.normal(0, 2, (2, CLASSES, 9, 10)).astype(np.float32)) for _ in range(2))
    label = Tensor(rng.integers(0, CLASSES + 1, (2, 33, 37)).astype(np.int32))

    def loss(logits):
        large = resize(logits, (33, 37))
        return float(cross_entropy(large, label) if kind == "CELoss" else ohem_cross_entropy(large, label, 0.3, 50))

    assert loss(pred) != loss(aux)
    assert float(method.supervised_loss(pred, None, label)) == pytest.approx(loss(pred), rel=1e-6)
    assert float(method.supervised_loss(pred, aux, label)) == pytest.approx(loss(pred) + 0.25 * loss(aux), rel=1e-6)


# Two students


class CrossInputs(NamedTuple):
    """Both kinds of images, and each student's own dropout."""

    image_l: Tensor
    label_l: Tensor
    image_u: Tensor
    dropout: tuple[Tensor, ...]
    second_dropout: tuple[Tensor, ...]


class CrossPseudoSupervision(Method):
    """Each of two students follows the labels that the other one gives."""

    uses_unlabeled = True

    def __init__(self, context):
        super().__init__(context)
        self.second = context.new_network().set_train(True)
        for name, parameter in self.second.parameters_and_names():
            parameter.name = f"second.{name}"

    @property
    def optimized(self):
        return {"student": self.student, "second": self.second}

    def semi_inputs(self, step, batch):
        images = Tensor(batch.labeled.images), Tensor(batch.labeled.labels), Tensor(batch.unlabeled.images)
        return CrossInputs(*images, self.dropout(step, batch, kinds=2), self.dropout(step + 1000, batch, kinds=2))

    def semi_objective(self):
        return Objective(self.cross_function, {"sup": 1.0, "second_sup": 1.0, "cross": 0.5}, lambda inputs: {})

    def cross_function(self, inputs):
        images, label = ops.concat((inputs["image_l"], inputs["image_u"]), 0), inputs["label_l"]
        count, size = label.shape[0], label.shape[1:]
        first = self.student.forward(images, inputs["dropout"])[0]
        second = self.second.forward(images, inputs["second_dropout"])[0]
        sup, second_sup = (self.supervised_loss(pred[:count], None, label) for pred in (first, second))
        first, second = resize(first[count:], size), resize(second[count:], size)
        labels = (ops.argmax(logits, 1).astype("int32") for logits in (second, first))
        return (sup, second_sup, sum(map(cross_entropy, (first, second), labels))), ()


@pytest.fixture
def cross(monkeypatch):
    """Makes Trainees of the method with two students, from the first step on with unlabelled images."""
    monkeypatch.setitem(METHODS, "cross", CrossPseudoSupervision)
    return lambda seed: Trainee("cross", context_for("cross", "trainer.sup_only_epoch=0"), seed)


def test_two_trained_networks_both_move_and_no_two_numbers_share_a_name(cross):
    trainee = cross(0)
    before = trainee.arrays()
    (result,) = trainee.run(0, 1)
    assert list(result.terms) == ["sup", "second_sup", "cross"]
    assert result.terms["sup"] != result.terms["second_sup"]  # equal weights, but other dropout
    after = trainee.arrays()
    roles = {"student.": "optimizer.", "second.": "optimizer.second."}
    for role, momenta in roles.items():
        trained = [n for n, p in trainee.method.networks[role[:-1]].parameters_and_names() if p.requires_grad]
        assert [n for n in trained if np.array_equal(before[role + n], after[role + n])] == []
        assert [n for n in trained if not after[momenta + n].any()] == []
    one, other = ({n.removeprefix(role): a for n, a in after.items() if n.startswith(role)} for role in roles)
    assert one.keys() == other.keys()
    assert not same_arrays(one, other)
    assert len(after) == len(set(trainee.state)) == sum(map(len, (one, other))) + len(trainee.optimizer.momenta)


def test_two_trained_networks_resume_bit_for_bit(cross):
    trainee, restored = cross(1), cross(2)
    trainee.run(0, 2)
    saved = trainee.arrays()
    for name, parameter in restored.state.items():
        parameter.set_data(Tensor(saved[name]))
    assert restored.run(2, 3) == trainee.run(2, 3)
    assert same_arrays(restored.arrays(), trainee.arrays())
    assert not same_arrays(restored.arrays(), saved)
