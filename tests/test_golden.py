"""Our numbers against results of the PyTorch twin kept in tests/golden (see tests/reference/make_golden.py)."""

from pathlib import Path

import golden_inputs as given
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, mutable

from semiseg import losses
from semiseg.config.keys import (
    AuxLossConfig,
    CriterionConfig,
    CriterionKwargs,
    DecoderConfig,
    DecoderKwargs,
    EncoderConfig,
    EncoderKwargs,
    NetConfig,
    OptimizerConfig,
    ProtoHeadConfig,
    SgdKwargs,
    TrainerConfig,
    UnsupervisedConfig,
)
from semiseg.engine.optim import SGD, poly
from semiseg.engine.step import weighted_loss
from semiseg.interop.torch_names import BATCH_NORM
from semiseg.methods import RunContext
from semiseg.methods.prototype import PrototypeConsistency, PrototypeInputs
from semiseg.methods.pseudo_labels import entropy_of, reliable_pixels
from semiseg.methods.teacher import ema_decay
from semiseg.models import build_model
from semiseg.models.interpolate import points

GOLDEN = Path(__file__).parent / "golden"
NET = NetConfig(
    num_classes=given.CLASSES,
    encoder=EncoderConfig(type="resnet18", kwargs=EncoderKwargs(width=given.WIDTH)),
    decoder=DecoderConfig(kwargs=DecoderKwargs(inner_planes=given.PLANES)),
    aux_loss=AuxLossConfig(),
    proto_head=ProtoHeadConfig(num_micro_proto=given.K, proto_update_momentum=given.PROTO_MOMENTUM),
)
TO_TORCH = {ours: theirs for theirs, ours in BATCH_NORM.items()}


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def torch_name(name):
    stem, _, leaf = name.rpartition(".")
    return f"{stem}.{TO_TORCH.get(leaf, leaf)}"


def network(salt="student"):
    built = build_model(NET)
    for name, parameter in built.parameters_and_names():
        parameter.set_data(Tensor(given.weight(torch_name(name), parameter.shape, salt)))
    return built


@pytest.fixture(scope="module")
def student():
    return network()


@pytest.mark.parametrize("side", [64, 65, 320, 321, 513])
def test_evaluation_outputs(student, side):
    expected = golden("evaluation")
    out = student(Tensor(given.between(f"image {(side, side)}", (1, 3, side, side), -2, 2)))
    for name, value in out._asdict().items():
        key = f"{name} {side}"
        found, wanted = given.summary(key, value.asnumpy()), expected[key]
        # A weighted sum of n numbers with errors of 1e-5 of the largest moves by about the root of n times that.
        allowed = 1e-5 * float(expected[f"max {key}"]) * np.sqrt(value.size)
        assert np.abs(found - wanted).max() < allowed, key
        if f"whole {key}" in expected:
            whole = expected[f"whole {key}"]
            assert np.abs(value.asnumpy() - whole).max() < 1e-5 * np.abs(whole).max(), key


def context():
    return RunContext(
        trainer=TrainerConfig(
            jit=False,
            sup_only_epoch=0,
            optimizer=OptimizerConfig(
                kwargs=SgdKwargs(**{key: given.RATES[key] for key in ("lr", "momentum", "weight_decay")}),
                decoder_lr_times=given.RATES["times"],
            ),
        ),
        criterion=CriterionConfig(type="ohem", kwargs=CriterionKwargs(**given.OHEM)),
        net=NET,
        batch_size=given.BATCH,
        crop=given.SIZE,
        steps_per_epoch=1,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        new_network=network,
        images=None,
    )


def test_a_training_step():
    expected = golden("step")
    method = PrototypeConsistency(context())
    student, teacher = method.student, method.teacher.network
    for (_, parameter), (name, _) in zip(teacher.parameters_and_names(), student.parameters_and_names(), strict=True):
        parameter.set_data(Tensor(given.weight(torch_name(name), parameter.shape, "teacher")))
    before = {name: p.asnumpy().copy() for name, p in student.parameters_and_names()}
    optimizer = SGD(method.optimized, method.context.trainer)
    inputs = step_inputs(student)
    objective = method.objective(given.STEP)
    function = ms.value_and_grad(weighted_loss(objective), None, optimizer.weights, has_aux=True)
    whole = Tensor(np.ones(len(objective.weights), np.float32))
    (_, (report, sums)), gradients = function(whole, inputs._asdict())
    optimizer(gradients, 1.0)
    method.after_update(given.STEP, [inputs], objective.sums(*sums))

    renamed = {"sup": "sup", "unsup": "unsup", "proto_sup": "sup_proto", "proto_unsup": "unsup_proto"}
    for name, value in zip(objective.weights, report[1:], strict=True):
        if name in renamed:
            assert float(value) == pytest.approx(float(expected[f"term {renamed[name]}"]), rel=2e-6), name
    found = {f"gradient {w.name}": g.asnumpy() for w, g in zip(optimizer.weights, gradients, strict=True)}
    for part, cell in (("student", student), ("teacher", teacher)):
        for name, parameter in cell.parameters_and_names():
            found[f"{part} {name}"] = parameter.asnumpy() - before[name]
    assert {f"{key.split()[0]} {torch_name(key.split()[1])}" for key in found} == {
        key for key in expected if not key.startswith("term")
    }
    largest = {kind: max(expected[k][-1] for k in expected if k.startswith(kind)) for kind in ("gradient", "student")}
    for key, value in found.items():
        kind, name = key.split()
        theirs = torch_name(name)
        wanted = expected[f"{kind} {theirs}"]
        # float32 sums over a batch lose up to some 1e-5; a bias before a BatchNorm has a gradient of exactly 0.
        least = 1e-3 * largest["gradient" if kind == "gradient" else "student"]
        allowed = 3e-4 * max(wanted[-1], least)
        assert np.abs(given.summary(theirs, value) - wanted).max() < allowed, key


def step_inputs(student):
    values = given.step_inputs()
    where = points(values["rows"], values["cols"], given.SIZE, student.feature_size(*given.SIZE))
    masks = tuple(Tensor(values[f"dropout{i}"][:, :, None, None] / np.float32(0.9)) for i in range(4))
    tensors = [Tensor(values[name]) for name in ("image_l", "label_l", "image_u", "label_u", "kept_u")]
    return PrototypeInputs(*tensors, (), mutable(masks), *where)


def target(kind):
    labels = given.integers("labels", (2, 7, 9), given.CLASSES)
    labels[0, :2] = 255
    if kind != "usual":
        labels[:] = 255
    if kind == "single":
        labels[1, 3, 4] = 2
    return Tensor(labels, ms.int32)


def loss_cases():
    pseudo = Tensor(given.integers("pseudo", (2, 7, 9), given.CLASSES))
    confident = Tensor((given.between("confidence", (2, 7, 9), 0, 1) >= 0.6).astype(np.float32))
    teacher = Tensor(given.between("teacher logits", (2, given.CLASSES, 7, 9), -4, 4))
    certain = reliable_pixels(entropy_of(teacher), pseudo, UnsupervisedConfig(rule="entropy"), 80.0)
    cases = {
        "unsup all": lambda x: losses.confident_cross_entropy(x, pseudo, confident, True),
        "unsup confident": lambda x: losses.confident_cross_entropy(x, pseudo, confident, False),
        "unsup entropy": lambda x: losses.certain_cross_entropy(x, pseudo, certain),
    }
    for kind, labels in {kind: target(kind) for kind in ("usual", "ignored", "single")}.items():
        cases[f"ce {kind}"] = lambda x, t=labels: losses.cross_entropy(x, t)
        cases[f"ohem {kind}"] = lambda x, t=labels: losses.ohem_cross_entropy(x, t, 0.2, 80)
    return cases


@pytest.mark.parametrize("name", loss_cases())
def test_a_loss_and_its_gradient(name):
    expected = golden("rules")
    logits = Tensor(given.between("logits", (2, given.CLASSES, 7, 9), -4, 4))
    value, gradient = ms.value_and_grad(loss_cases()[name])(logits)
    wanted = expected[f"gradient {name}"]
    assert float(value) == pytest.approx(float(expected[f"loss {name}"]), rel=2e-6, abs=0)
    np.testing.assert_array_equal(gradient.asnumpy() != 0, wanted != 0)
    assert np.abs(gradient.asnumpy() - wanted).max() <= 2e-6 * np.abs(wanted).max()


def test_schedules():
    expected = golden("rules")
    steps = [0, 1, 2, 50, 98, 99, 100, 5000]
    np.testing.assert_allclose([ema_decay(s, 0.99) for s in steps], expected["ema decay"], rtol=1e-12)
    np.testing.assert_allclose([poly(s, 5001, 0.9) for s in steps], expected["poly"], rtol=1e-12)
