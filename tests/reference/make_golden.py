"""Writes tests/golden/*.npz from the PyTorch twin in float64: ``python tests/reference/make_golden.py``.

The files let tests/test_golden.py compare numbers where PyTorch is not installed. Inputs and weights come from formulas
(tests/golden_inputs.py); a file holds results alone, large ones as a few weighted sums.
"""

import copy
import sys
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import golden_inputs as given  # noqa: E402

from reference import losses, training  # noqa: E402
from reference.network import Network, NetworkSpec, inject_dropout  # noqa: E402
from reference.step import StepBatch, StepSpec, train_step  # noqa: E402

SPEC = NetworkSpec(
    depth=18,
    num_classes=given.CLASSES,
    width=given.WIDTH,
    inner_planes=given.PLANES,
    aux=True,
    prototypes=given.K,
)
DROPOUT = ("decoder.head.3", "decoder.classifier.3", "decoder.classifier.7", "auxor.aux.3")
SIZES = ((64, 64), (65, 65), (320, 320), (321, 321), (513, 513))


def twin(salt: str) -> Network:
    """The twin in float64 with the formula's weights."""
    network = Network(SPEC).double().eval()
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            value.copy_(torch.from_numpy(given.weight(name, tuple(value.shape), salt)))
    return network


def evaluation() -> dict[str, np.ndarray]:
    """Outputs at every size; at 65 x 65 the logits and prototype logits themselves."""
    network, results = twin("student"), {}
    for size in SIZES:
        image = torch.from_numpy(given.between(f"image {size}", (1, 3, *size), -2, 2)).double()
        with torch.no_grad():
            out = network(image)
        for name, value in out._asdict().items():
            key = f"{name} {size[0]}"
            results[key] = given.summary(key, value.numpy())
            results[f"max {key}"] = np.array(value.abs().max())
            if size == (65, 65) and name in ("pred", "aux"):
                results[f"whole {key}"] = value.numpy().astype(np.float32)
    return results


def step() -> dict[str, np.ndarray]:
    """One training step of the prototype method: terms, gradients, weights, statistics, prototypes, teacher."""
    student, teacher = twin("student"), twin("teacher")
    inputs = {name: torch.from_numpy(value) for name, value in given.step_inputs().items()}
    inject_dropout(student, {name: inputs[f"dropout{i}"] for i, name in enumerate(DROPOUT)})
    rates = given.RATES
    optimizer = training.make_optimizer(student, rates["lr"], rates["momentum"], rates["weight_decay"], rates["times"])
    batch = StepBatch(
        inputs["image_l"].double(),
        inputs["label_l"].long(),
        inputs["image_u"].double(),
        inputs["label_u"].long(),
        inputs["kept_u"].double(),
        torch.stack([inputs["rows"], inputs["cols"]], 1).long(),
    )
    spec = StepSpec(
        k=given.K,
        threshold=0.5,
        proto_momentum=given.PROTO_MOMENTUM,
        criterion=lambda logits, label: losses.ohem_cross_entropy(logits, label, **given.OHEM),
    )
    before = copy.deepcopy(student.state_dict())
    terms = train_step(student, teacher, optimizer, batch, spec, given.STEP)
    results = {f"term {name}": np.array(value) for name, value in terms.items()}
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            results[f"gradient {name}"] = given.summary(name, parameter.grad.numpy())
    for part, network in (("student", student), ("teacher", teacher)):
        for name, value in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                results[f"{part} {name}"] = given.summary(name, (value - before[name]).numpy())
    return results


def rules() -> dict[str, np.ndarray]:
    """Losses with their gradients, schedules, prototype update."""
    logits = given.between("logits", (2, given.CLASSES, 7, 9), -4, 4)
    labels = torch.from_numpy(given.integers("labels", (2, 7, 9), given.CLASSES)).long()
    labels[0, :2] = losses.IGNORE
    ignored, single = torch.full_like(labels, losses.IGNORE), torch.full_like(labels, losses.IGNORE)
    single[1, 3, 4] = 2
    teacher = torch.from_numpy(given.between("teacher logits", logits.shape, -4, 4)).double()
    pseudo = torch.from_numpy(given.integers("pseudo", (2, 7, 9), given.CLASSES)).long()
    confidence = torch.from_numpy(given.between("confidence", (2, 7, 9), 0, 1)).double()
    cases = {
        "unsup all": lambda x: losses.unsupervised_confidence(x, pseudo, confidence, 0.6, "pixels"),
        "unsup confident": lambda x: losses.unsupervised_confidence(x, pseudo, confidence, 0.6, "confident"),
        "unsup entropy": lambda x: losses.unsupervised_entropy(x, pseudo, teacher, 80.0),
    }
    for name, target in (("usual", labels), ("ignored", ignored), ("single", single)):
        cases[f"ce {name}"] = lambda x, t=target: losses.cross_entropy(x, t)
        cases[f"ohem {name}"] = lambda x, t=target: losses.ohem_cross_entropy(x, t, 0.2, 80)
    results = {}
    for name, function in cases.items():
        x = torch.from_numpy(logits).double().requires_grad_()
        value = function(x)
        value.backward()
        results[f"loss {name}"], results[f"gradient {name}"] = np.array(value.item()), x.grad.numpy()
    results["ohem threshold"] = np.array(losses.ohem_threshold(torch.from_numpy(logits).double(), labels, 0.2, 80))
    steps = [0, 1, 2, 50, 98, 99, 100, 5000]
    results["ema decay"] = np.array([training.ema_decay(s) for s in steps])
    results["poly"] = np.array([(1 - s / 5001) ** 0.9 for s in steps])
    results["kept percent"] = np.array([losses.drop_percent(80, epoch, 8) for epoch in range(8)])
    return results


def main() -> None:
    """Writes the three files."""
    folder = TESTS / "golden"
    folder.mkdir(exist_ok=True)
    for name, make in (("evaluation", evaluation), ("step", step), ("rules", rules)):
        results = make()
        np.savez_compressed(folder / f"{name}.npz", **results)
        print(f"{name}.npz: {len(results)} arrays, {(folder / f'{name}.npz').stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
