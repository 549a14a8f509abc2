"""Losses, rules and schedules against the PyTorch twin, gradients included."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import mindspore as ms  # noqa: E402
from mindspore import Tensor  # noqa: E402
from parity_cases import SMALL, config_of, difference, gradient_of, twin_gradient_of, twin_of  # noqa: E402
from reference import losses as twin  # noqa: E402
from reference import training  # noqa: E402
from tiny import Trainee, context_for  # noqa: E402

from semiseg import losses  # noqa: E402
from semiseg.common.rng import generator  # noqa: E402
from semiseg.config.keys import OptimizerConfig, SgdKwargs, TrainerConfig, UnsupervisedConfig  # noqa: E402
from semiseg.engine.optim import SGD, poly  # noqa: E402
from semiseg.methods.context import StepBatch  # noqa: E402
from semiseg.methods.mixing import CutMix, box_masks, cutmix_boxes  # noqa: E402
from semiseg.methods.pseudo_labels import PseudoLabels, entropy_of, reliable_pixels  # noqa: E402
from semiseg.methods.sampling import BatchSlice  # noqa: E402
from semiseg.methods.teacher import ExponentialMovingAverage, ema_decay  # noqa: E402
from semiseg.models import build_model  # noqa: E402
from semiseg.models.interpolate import at_points, points, resize  # noqa: E402
from semiseg.models.prototypes import PrototypeHead, ema_prototypes, prototype_sums  # noqa: E402

pytestmark = pytest.mark.parity
CLASSES = 4


def logits_of(seed=0, shape=(2, CLASSES, 9, 11)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 3


def labels_of(kind, shape=(2, 9, 11)):
    """Label maps: usual ones, with every pixel ignored, with one pixel labelled, without an ignored one."""
    labels = np.random.default_rng(1).integers(0, CLASSES, shape)
    if kind == "usual":
        labels[0, :3] = 255
    elif kind == "ignored":
        labels[:] = 255
    elif kind == "single":
        labels[:] = 255
        labels[1, 4, 5] = 2
    return labels


def assert_same(ours, reference, logits):
    """Value and gradient: within a small multiple of torch float32's own distance from float64."""
    value, gradient = gradient_of(ours, logits)
    single_value, single = twin_gradient_of(reference, logits, double=False)
    exact_value, exact = twin_gradient_of(reference, logits, double=True)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    allowed = 8 * max(abs(single_value - exact_value), 1.2e-7 * abs(exact_value))
    assert abs(value - exact_value) <= allowed
    assert difference(gradient, exact) <= 8 * max(difference(single, exact), 1.2e-7)
    np.testing.assert_array_equal(gradient != 0, single != 0)  # the same pixels count
    return exact_value, exact


@pytest.mark.parametrize("kind", ["usual", "ignored", "single", "full"])
def test_cross_entropy(kind):
    labels = labels_of(kind)
    ms_labels, torch_labels = Tensor(labels, ms.int32), torch.from_numpy(labels)
    value, gradient = assert_same(
        lambda x: losses.cross_entropy(x, ms_labels), lambda x: twin.cross_entropy(x, torch_labels), logits_of()
    )
    assert (value == 0) == (kind == "ignored") == (not gradient.any())


@pytest.mark.parametrize("kind", ["usual", "ignored", "single", "full"])
@pytest.mark.parametrize(
    ("thresh", "min_kept"), [(0.7, 10), (0.1, 60), (0.3, 0), (0.7, 100_000), (1.0, 1), (0.05, 180)]
)
def test_ohem_keeps_the_same_pixels(kind, thresh, min_kept):
    labels = labels_of(kind)
    ms_labels, torch_labels = Tensor(labels, ms.int32), torch.from_numpy(labels)
    _, gradient = assert_same(
        lambda x: losses.ohem_cross_entropy(x, ms_labels, thresh, min_kept),
        lambda x: twin.ohem_cross_entropy(x, torch_labels, thresh, min_kept),
        logits_of(),
    )
    kept = int(gradient.any(1).sum())
    valid = int((labels != 255).sum())
    if kind == "full" and min_kept < 100_000:
        bound = twin.ohem_threshold(torch.from_numpy(logits_of()), torch_labels, thresh, min_kept)
        assert bound >= thresh
        assert min_kept <= kept <= valid
        assert kept < valid or thresh == 1.0


@pytest.mark.parametrize("over_all", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.97, 1.1])
def test_unsupervised_by_confidence(over_all, threshold):
    labels = labels_of("full")
    confidence = np.random.default_rng(2).random(labels.shape).astype(np.float32)
    ms_labels, kept = Tensor(labels, ms.int32), Tensor((confidence >= threshold).astype(np.float32))
    torch_labels, torch_confidence = torch.from_numpy(labels), torch.from_numpy(confidence)
    normalise = "pixels" if over_all else "confident"
    value, _ = assert_same(
        lambda x: losses.confident_cross_entropy(x, ms_labels, kept, over_all),
        lambda x: twin.unsupervised_confidence(x, torch_labels, torch_confidence, threshold, normalise),
        logits_of(),
    )
    assert (value == 0) == (threshold > 1)


@pytest.mark.parametrize("percent", [20.0, 80.0, 93.5, 100.0])
def test_unsupervised_by_entropy(percent):
    teacher, labels = logits_of(3), labels_of("full")
    ms_labels, torch_labels = Tensor(labels, ms.int32), torch.from_numpy(labels)
    kept = reliable_pixels(entropy_of(Tensor(teacher)), ms_labels, UnsupervisedConfig(rule="entropy"), percent)
    assert_same(
        lambda x: losses.certain_cross_entropy(x, ms_labels, kept),
        lambda x: twin.unsupervised_entropy(x, torch_labels, torch.from_numpy(teacher), percent),
        logits_of(),
    )
    assert abs(float(kept.mean()) - percent / 100) < 0.02


@pytest.mark.parametrize("kind", ["usual", "ignored", "single"])
def test_prototype_cross_entropy(kind):
    k, dim = 3, 6
    rng = np.random.default_rng(4)
    features, rows = rng.normal(size=(80, dim)), rng.normal(size=(CLASSES * k, dim)).astype(np.float32)
    labels = rng.integers(0, CLASSES, 80)
    labels[{"usual": slice(0, 20), "ignored": slice(None), "single": slice(1, None)}[kind]] = 255
    head = PrototypeHead(CLASSES, k, dim, 0.1)
    head.proto_list.set_data(Tensor(rows))
    ms_labels, torch_labels = Tensor(labels, ms.int32), torch.from_numpy(labels)
    assert_same(
        lambda x: losses.cross_entropy(head(x), ms_labels),
        lambda x: twin.prototype_cross_entropy(x, torch.from_numpy(rows).to(x), k, torch_labels),
        features,
    )


@pytest.mark.parametrize("some", [True, False])
def test_prototype_update(some):
    k, dim = 2, 5
    rng = np.random.default_rng(5)
    features = rng.normal(size=(60, dim)).astype(np.float32)
    rows = rng.normal(size=(CLASSES * k, dim)).astype(np.float32)
    labels = rng.choice([0, 1, 3, 255], 60) if some else np.full(60, 255)
    head = PrototypeHead(CLASSES, k, dim, 0.1)
    head.proto_list.set_data(Tensor(rows))
    sums, counts = prototype_sums(head, Tensor(features), Tensor(labels, ms.int32), Tensor(labels != 255))
    actual = ema_prototypes(head.proto_list, sums, counts, 0.9).asnumpy()
    exact = training.update_prototypes(
        torch.from_numpy(rows).double(), k, torch.from_numpy(features).double(), torch.from_numpy(labels), 0.9
    ).numpy()
    assert difference(actual, exact) < 1e-6
    np.testing.assert_array_equal(actual[4:6], rows[4:6])  # class 2 has no pixel
    assert (actual != rows).any() == some


def test_teacher_average_and_its_decay():
    for step in (0, 1, 2, 50, 98, 99, 10_000):
        assert ema_decay(step, 0.99) == training.ema_decay(step, 0.99)
    spec = SMALL
    student_twin, teacher_twin = twin_of(spec, 1), twin_of(spec, 2)
    from parity_cases import arrays_of, load

    student, teacher = (load(build_model(config_of(spec)), arrays_of(x)) for x in (student_twin, teacher_twin))
    kept = teacher.proto_net.proto_list.asnumpy()
    ExponentialMovingAverage(student, teacher, compiled=False).update(ema_decay(7, 0.99))
    training.update_teacher(teacher_twin.double(), student_twin.double(), 7, 0.99)
    expected = arrays_of(teacher_twin)
    for name, parameter in teacher.parameters_and_names():
        if name == "proto_net.proto_list":  # the method writes the same prototypes into both networks
            np.testing.assert_array_equal(parameter.asnumpy(), kept)
        else:
            assert difference(parameter.asnumpy(), expected[name]) < 2e-7, name


def test_sgd_and_poly_schedule_over_several_steps():
    spec = SMALL
    reference = twin_of(spec, 3).double()
    from parity_cases import arrays_of, load

    network = load(build_model(config_of(spec)), arrays_of(reference))
    kwargs = SgdKwargs(lr=0.02, momentum=0.9, weight_decay=0.01)
    ours = SGD(
        {"student": network}, TrainerConfig(jit=False, optimizer=OptimizerConfig(kwargs=kwargs, decoder_lr_times=10.0))
    )
    theirs = training.make_optimizer(reference, 0.02, 0.9, 0.01, 10.0)
    schedule = training.poly_schedule(theirs, total=5, power=0.9)
    rng = np.random.default_rng(6)
    named = dict(reference.named_parameters())
    renamed = {".gamma": ".weight", ".beta": ".bias"}
    for step in range(5):
        gradients = []
        for weight in ours.weights:
            gradient = rng.normal(size=weight.shape).astype(np.float32)
            stem, dot, leaf = weight.name.rpartition(".")
            named[stem + renamed.get(dot + leaf, dot + leaf)].grad = torch.from_numpy(gradient).double()
            gradients.append(Tensor(gradient))
        rate = ours(tuple(gradients), poly(step, 5, 0.9))
        assert rate == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        theirs.step()
        schedule.step()
    expected = arrays_of(reference)
    for weight in ours.weights:
        assert difference(weight.asnumpy(), expected[weight.name]) < 1e-6, weight.name
    assert poly(5, 5, 0.9) == 0


def test_share_of_pixels_kept_rises_alike():
    unsupervised = "trainer.unsupervised={rule: entropy, drop_percent: 80}"
    context = context_for("mean_teacher", "trainer.epochs=8", unsupervised, steps_per_epoch=3)
    method = Trainee("mean_teacher", context).method
    for step in range(24):
        assert method.entropy_percent(step) == pytest.approx(twin.drop_percent(80, step // 3, 8))


def test_cutmix_pastes_the_same_pixels():
    rng = np.random.default_rng(7)
    image, label = rng.normal(size=(3, 2, 17, 23)).astype(np.float32), rng.integers(0, 9, (3, 17, 23))
    score = rng.random((3, 17, 23)).astype(np.float32)
    mixer = CutMix(context_for("mean_teacher", "trainer={seed: 8, unsupervised: {aug_prob: 1}}", batch=3))
    pseudo = PseudoLabels(Tensor(image), Tensor(label, ms.int32), Tensor(score))
    mixed = mixer(4, pseudo, StepBatch(None, None, BatchSlice(0, 3, 3)))
    boxes = cutmix_boxes(3, 17, 23, generator(8, "cutmix", 4))
    inside = training.box_masks(torch.from_numpy(boxes), (17, 23))
    np.testing.assert_array_equal(box_masks(boxes, 17, 23), inside)
    for ours, values in zip(mixed[:3], (image, label, score), strict=True):
        np.testing.assert_array_equal(ours.asnumpy(), training.cutmix(torch.from_numpy(values), inside))


@pytest.mark.parametrize(("source", "target"), [((9, 12), (33, 47)), ((17, 17), (64, 64)), ((5, 9), (65, 40))])
def test_interpolation_at_points_and_of_whole_maps(source, target):
    rng = np.random.default_rng(9)
    feature = rng.normal(size=(2, 3, *source)).astype(np.float32)
    rows, cols = rng.integers(target[0], size=50), rng.integers(target[1], size=50)
    where = points(rows, cols, target, source)
    spots = torch.from_numpy(np.stack([rows, cols], 1))
    exact = training.sample_features(torch.from_numpy(feature).double(), spots, target).numpy()
    assert difference(at_points(Tensor(feature), where.index, where.weight).asnumpy(), exact) < 4e-6
    whole = twin.upsample(torch.from_numpy(feature).double(), target).numpy()
    assert difference(resize(Tensor(feature), target).asnumpy(), whole) < 4e-6
