"""Prints the tables of docs/parity.md: how far MindSpore and PyTorch are apart, measured here and now.

``python benchmarks/parity.py [--quick]`` needs PyTorch (``bash tools/test.sh --parity`` installs it). Each difference
is the largest absolute one divided by the largest absolute value of the exact result, which is PyTorch in float64.
Sizes are pixels; --quick leaves out the full-width ResNet-101.
"""

import clone  # noqa: F401  # isort: skip  (it makes what follows importable)

import argparse
import platform
from collections.abc import Iterable

import semiseg  # noqa: F401  (sets what MindSpore reads at its own import)

# isort: split
import mindspore as ms
import numpy as np
import torch
from mindspore import Tensor
from parity_cases import (
    SMALL,
    difference,
    evaluation_outputs,
    gradient_of,
    our_step,
    step_case,
    step_differences,
    twin_gradient_of,
    twin_step,
)
from reference import losses as twin
from reference.network import NetworkSpec
from tqdm import tqdm

from semiseg import losses

FULL = NetworkSpec(depth=101, num_classes=21, aux=True, prototypes=4, zero_init_residual=False)
NAMES = {"pred": "linear logits", "rep": "feature", "aux": "auxiliary logits", "proto": "prototype logits"}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A markdown table; small numbers in scientific notation."""
    text = [[f"{cell:.1e}" if isinstance(cell, float) else str(cell) for cell in row] for row in [head, *rows]]
    lines = [f"| {' | '.join(row)} |" for row in text]
    lines.insert(1, "|" + "---|" * len(text[0]))
    return "\n".join(lines)


def evaluation_rows(quick: bool) -> list[list[object]]:
    """Largest differences over the outputs of one image each."""
    cases = [("ResNet-18, width 8", SMALL, side) for side in (64, 65, 320, 321, 513)]
    cases += [] if quick else [("ResNet-101, published width", FULL, side) for side in (64, 65, 129)]
    rows = []
    for network, spec, side in tqdm(cases, desc="evaluation", leave=False):
        for name, (ours, single, double) in evaluation_outputs(spec, (side, side)).items():
            pairs = (ours, single), (ours, double), (single, double)
            rows.append([network, side, NAMES[name], *(difference(a, b) for a, b in pairs)])
    return rows


def step_rows() -> list[list[object]]:
    """One training step of each method: the largest and the median difference of each kind of result."""
    rows = []
    for method in tqdm(("suponly", "ours"), desc="training step", leave=False):
        case = step_case(method)
        found = step_differences(our_step(case), twin_step(case, double=False), twin_step(case, double=True))
        found["BatchNorm statistics"] = {k: v for k, v in found["student"].items() if ".moving_" in k}
        found["prototypes"] = {k: v for k, v in found["student"].items() if k.startswith("proto_net")}
        kinds = {"loss": "loss", "term": "each loss term", "gradient": "gradients", "student": "updated student"}
        kinds |= {"BatchNorm statistics": "BatchNorm statistics", "prototypes": "prototypes", "teacher": "teacher"}
        for kind, name in kinds.items():
            if found[kind]:
                ours, theirs = np.array(list(found[kind].values())).T
                numbers = float(ours.max()), float(theirs.max()), float(np.median(ours)), float(np.median(theirs))
                rows.append([method, name, len(ours), *numbers])
    return rows


def loss_rows() -> list[list[object]]:
    """Each loss and its gradient on 2 x 21 x 65 x 65 logits."""
    rng = np.random.default_rng(0)
    logits, teacher = 3 * rng.normal(size=(2, 2, 21, 65, 65)).astype(np.float32)
    labels, pseudo = rng.integers(0, 21, (2, 2, 65, 65))
    labels[0, :9] = 255
    confidence = rng.random((2, 65, 65)).astype(np.float32)
    entropy = losses.entropy(ms.ops.softmax(Tensor(teacher), 1)).asnumpy()
    certain = Tensor((entropy < np.percentile(entropy, 80)).astype(np.float32))
    kept, target, guess = Tensor(confidence >= 0.8), Tensor(labels, ms.int32), Tensor(pseudo, ms.int32)
    to = torch.from_numpy
    cases = {
        "cross entropy": (lambda x: losses.cross_entropy(x, target), lambda x: twin.cross_entropy(x, to(labels))),
        "OHEM": (
            lambda x: losses.ohem_cross_entropy(x, target, 0.7, 5000),
            lambda x: twin.ohem_cross_entropy(x, to(labels), 0.7, 5000),
        ),
        "unsupervised, confidence": (
            lambda x: losses.confident_cross_entropy(x, guess, kept),
            lambda x: twin.unsupervised_confidence(x, to(pseudo), to(confidence), 0.8),
        ),
        "unsupervised, entropy": (
            lambda x: losses.certain_cross_entropy(x, guess, certain),
            lambda x: twin.unsupervised_entropy(x, to(pseudo), to(teacher), 80.0),
        ),
    }
    rows = []
    for name, (ours, theirs) in cases.items():
        (value, gradient), exact = gradient_of(ours, logits), twin_gradient_of(theirs, logits, double=True)
        single = twin_gradient_of(theirs, logits, double=False)
        for what, index, found in (("value", 0, value), ("gradient", 1, gradient)):
            scores = [difference(np.array(x), np.array(exact[index])) for x in (found, single[index])]
            rows.append([name, what, *scores])
    return rows


def compiled_rows() -> list[list[object]]:
    """The compiled step against the plain one, both ours."""
    compiled, plain = our_step(step_case("ours", jit=True)), our_step(step_case("ours"))
    found = step_differences(compiled, compiled, plain)
    return [[kind, float(max(value for value, _ in names.values()))] for kind, names in found.items()]


def main() -> None:
    """Prints everything as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks only")
    quick = parser.parse_args().quick
    versions = f"MindSpore {ms.__version__}, PyTorch {torch.__version__}, {platform.machine()} CPU, float32"
    print(f"Measured with {versions}.\n\n### Evaluation outputs\n")
    head = ["network", "side", "output", "ours - torch f32", "ours - torch f64", "torch f32 - torch f64"]
    print(table(head, evaluation_rows(quick)))
    print(
        "\n### One training step\n\nEach against torch float64; of all arrays of a kind the largest and the median.\n"
    )
    head = ["method", "result", "arrays", "ours, largest", "torch f32, largest", "ours, median", "torch f32, median"]
    print(table(head, step_rows()))
    print("\n### Losses\n")
    print(table(["loss", "of", "ours - torch f64", "torch f32 - torch f64"], loss_rows()))
    print("\n### Compiled and plain step\n")
    print(table(["result", "compiled - plain, largest"], compiled_rows()))


if __name__ == "__main__":
    main()
