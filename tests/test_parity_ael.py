"""AEL's parts against the PyTorch twin on the same draws."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from mindspore import Tensor, value_and_grad
from reference import ael as twin
from tiny import NEEDS, Trainee, context_of

from semiseg.common.rng import generator
from semiseg.data.loaders import Batch
from semiseg.data.transforms import Crop
from semiseg.losses import class_confidences, pair_confidences
from semiseg.methods.ael.banks import ConfidenceBank
from semiseg.methods.ael.copy_paste import CopyPaste
from semiseg.methods.ael.method import pixel_probabilities
from semiseg.methods.context import StepBatch
from semiseg.methods.pseudo_labels import confidence_of
from semiseg.methods.sampling import BatchSlice

pytestmark = pytest.mark.parity
B, C, SIZE = 2, 3, (9, 11)
CONFIDENCES = ([0, 0, 0], [0.9, 0.2, 0.55], [1, 1, 1], [0.4, 0.4, 0.399])


def arrays(seed):
    """(student logits, teacher logits, label with ignored pixels, uniform draws)."""
    rng = np.random.default_rng(seed)
    student, teacher = (rng.normal(0, 2, (B, C, *SIZE)).astype(np.float32) for _ in range(2))
    return student, teacher, rng.choice([0, 1, 2, 255], (B, *SIZE)), rng.random((B, *SIZE)).astype(np.float32)


def bank_of(confidence, momentum=0.9):
    bank = ConfidenceBank(C, momentum)
    bank.state()["adaptive.confidence"].array[:] = confidence
    return bank


@pytest.mark.parametrize(
    ("rule", "confidences"), [("keep", class_confidences), ("decay", pair_confidences)], ids=["keep", "decay"]
)
@pytest.mark.parametrize("absent", [(), (1,), (0, 1, 2)])
def test_confidences_follow_the_student_on_labelled_pixels(absent, rule, confidences):
    bank, expected = bank_of([0.2, 0.5, 0.1]), torch.tensor([0.2, 0.5, 0.1])
    for step in range(3):
        logits, _, label, _ = arrays(step)
        label[np.isin(label, absent)] = 255
        probability = torch.from_numpy(logits).softmax(1).numpy()
        bank.update(*(x.asnumpy() for x in confidences(Tensor(probability), Tensor(label.astype(np.int32)))))
        expected = twin.update_confidence(expected, torch.from_numpy(logits), torch.from_numpy(label), 0.9, rule)
    np.testing.assert_allclose(bank.values, expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_classes_are_drawn_with_the_same_probabilities(confidence):
    bank, values = bank_of(confidence), torch.tensor(confidence, dtype=torch.float64)
    np.testing.assert_allclose(bank.mixing_probabilities(), twin.cutmix_probabilities(values), rtol=1e-6)
    for left in ((), (0,), (0, 2)):
        np.testing.assert_allclose(bank.pasting_probabilities(left), twin.paste_probabilities(values, left), rtol=1e-6)


@pytest.mark.parametrize("gamma2", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_the_same_pixels_are_kept(confidence, gamma2):
    logits, _, _, draw = arrays(1)
    probabilities = pixel_probabilities(Tensor(logits), Tensor(bank_of(confidence).sampling_probabilities(gamma2)))
    values = torch.tensor(confidence, dtype=torch.float32)
    expected = twin.sampling_map(torch.from_numpy(logits), values, torch.from_numpy(draw), gamma2)
    np.testing.assert_array_equal(draw < probabilities.asnumpy(), expected.numpy() == 1)


@pytest.mark.parametrize(
    "options",
    [{}, {"threshold": 0.7}, {"threshold": 1.0}, {"gamma": 0.0}, {"gamma2": None}, {"gamma": 0.5, "gamma2": 2.0}],
    ids=str,
)
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_loss_and_gradient_of_the_consistency(options, confidence):
    parts = {"threshold": options.get("threshold", 0.0), "gamma": options.get("gamma", 2.0)}
    gamma2 = options.get("gamma2", 1.0)
    parts |= {"sample": "false"} if gamma2 is None else {"gamma2": gamma2}
    written = ", ".join(f"{key}: {value}" for key, value in parts.items())
    method = Trainee("ael", context_of(*NEEDS["ael"], f"trainer.adaptive={{{written}}}")).method
    student, teacher, _, draw = arrays(3)
    kept = bank_of(confidence).sampling_probabilities(gamma2 or 0)
    label = Tensor(teacher.argmax(1).astype(np.int32))

    def loss(logits):
        return method._followed(logits, label, confidence_of(Tensor(teacher)), Tensor(draw), Tensor(kept))[0]

    value, gradient = value_and_grad(loss)(Tensor(student))
    x = torch.from_numpy(student).double().requires_grad_()
    values = torch.tensor(confidence, dtype=torch.float32)
    draws, taught = torch.from_numpy(draw), torch.from_numpy(teacher).double()
    expected = twin.consistency(x, taught, values, draws, parts["threshold"], parts["gamma"], gamma2)
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(gradient.asnumpy(), x.grad.numpy(), rtol=1e-4, atol=1e-7)


class TwoImages:
    """Two labelled images, as TrainImages and as its source."""

    def source(self, kind, purpose, rand_resize):
        return self

    def __len__(self):
        return 2

    def read(self, index, *keys):
        rng = np.random.default_rng(index)
        image = rng.normal(0, 1, (3, *SIZE)).astype(np.float32)
        return Crop(image, rng.choice([0, 1, 2, 255], SIZE).astype(np.int32), None)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_same_pixels_are_pasted(classes):
    adaptive = f"trainer.adaptive={{copy_paste: {{number: {classes}, prob: 0.6, leave_out: [0]}}}}"
    context = replace(context_of("trainer.seed=3", adaptive), images=TwoImages())
    bank = bank_of([0.1, 0.2, 0.9])
    paste = CopyPaste(context, bank)
    rng = np.random.default_rng(8)
    images = rng.normal(0, 1, (B, 3, *SIZE)).astype(np.float32)
    labels = rng.choice([0, 1, 2, 255], (B, *SIZE)).astype(np.int32)
    batch = StepBatch(Batch(0, [], images, labels), None, BatchSlice(0, B, B))
    count = 0
    for step in range(6):
        pasted = paste(step, batch)
        drawn = generator(3, "copy-paste classes", step).choice(3, classes, p=bank.pasting_probabilities((0,)))
        assert 0 not in drawn
        for i in range(B):
            draws = generator(3, "copy-paste", step, i)
            happens, other = draws.random() < 0.6, int(draws.integers(2))
            expected = images[i], labels[i]
            if happens:
                tensors = (torch.from_numpy(x) for x in (images[i], labels[i], *TwoImages().read(other)[:2]))
                expected = twin.paste(*tensors, drawn.tolist())
                count += 1
            np.testing.assert_array_equal(pasted.images[i], np.asarray(expected[0]))
            np.testing.assert_array_equal(pasted.labels[i], np.asarray(expected[1]))
    assert 0 < count < 12
