"""What a step costs the host: python benchmarks/host.py [--methods NAME ...] [--json FILE].

A device that has nothing to do waits for the thread that drives it. Here networks, gradients, optimizer, averages and
what moves rows of representations cost nothing: they give arrays made beforehand, in the shapes of the published VOC
configuration (2 + 2 images of 513 px, 21 classes). What is timed is that thread's processor time
(``time.thread_time``) for everything else in a step: draws, masks, choices of pixels, copies to and from the device,
handing over operators. Reading images is not part of it.
"""

import clone  # noqa: F401  # isort: skip  (it makes what follows importable)

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import semiseg  # noqa: F401

# isort: split
import inputs
import numpy as np
import ours
from mindspore import Tensor, ops

from semiseg.config import loading
from semiseg.data import build as data_build
from semiseg.data.loaders import Batch
from semiseg.data.transforms import Crop
from semiseg.engine.device import set_device
from semiseg.engine.step import TrainStep
from semiseg.methods import METHODS, Method
from semiseg.methods.pseudo_labels import entropy_of, labels_and_scores
from semiseg.models.interpolate import resize

SIDE, IMAGES = 513, 2
WARM_UP, STEPS = 3, 7
# A small encoder, of which nothing is computed; what the methods see of the network has its published size.
NET = ("net.encoder.type=resnet18", "net.encoder.kwargs.width=4")


class Source:
    """Ten training images that are in memory."""

    def __init__(self, labelled: bool):
        self._batch = inputs.batch(7, 2, SIDE, labelled)

    def __len__(self) -> int:
        return 10

    def indices_of(self, ids: Sequence[str]) -> list[int]:
        return list(range(len(ids)))

    def read(self, index: int, *keys: int) -> Crop:
        labels = self._batch.labels
        return Crop(self._batch.images[index % 2], None if labels is None else labels[index % 2], None)


class Images:
    """The part of ``TrainImages`` that methods ask for in a step."""

    def source(self, kind: str, purpose: str, rand_resize: Any = None) -> Source:
        return Source(kind == "labeled")


class Answers(NamedTuple):
    """What a half-trained teacher says of 2 + 2 images."""

    label: Tensor  # B x H x W int32, of unlabelled images
    confidence: Tensor  # B x H x W
    probability: Tensor  # M x C, of all images at the decoder's size
    representation: Tensor  # M x D
    entropy: Tensor  # B x H x W, of unlabelled images


def answers(size: tuple[int, int], classes: int, planes: int) -> Answers:
    """Regions of several sizes with soft borders; made once."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 6, (2 * IMAGES, classes, 9, 9)).astype(np.float32)
    noise = rng.normal(0, 1, (2 * IMAGES, classes, *size)).astype(np.float32)
    logits = resize(Tensor(coarse), size) + Tensor(noise)
    large = resize(logits[IMAGES:], (SIDE, SIDE))
    rows = ops.softmax(logits, 1).transpose(0, 2, 3, 1).reshape(-1, classes)
    representation = rng.normal(0, 1, (len(rows), planes)).astype(np.float32)
    made = Answers(*labels_and_scores(large, "confidence"), rows, Tensor(representation), entropy_of(large))
    return Answers(*(Tensor(value.asnumpy()) + 0 for value in made))  # on the device, and nothing left to compute


class IdleOptimizer:
    """In place of ``SGD``."""

    weights = ()

    def __init__(self):
        self._total = Tensor(np.float32(1)) + 0

    def __call__(self, gradients: tuple, factor: float, loss_scale: float | None = None) -> float:
        return factor

    def rate(self, factor: float) -> float:
        return factor

    def total(self, gradients: tuple) -> Tensor:
        return self._total


class IdleStep(TrainStep):
    """A step whose losses and gradients are there already."""

    def _gradient(self, objective: Any) -> Any:
        fields = sums_of(self._method, objective)
        report = Tensor(np.ones(1 + len(objective.weights), np.float32)) + 0
        return lambda weights, inputs: ((report[0], (report, fields)), (report,))


def sums_of(method: Method, objective: Any) -> tuple:
    """Of the shapes that the method's objective gives."""
    classes = Tensor(np.ones(method.context.net.num_classes, np.float32))
    confidences = (classes, classes)
    if "proto_sup" not in objective.weights:
        return confidences if objective.sums else ()
    prototypes = method.student.proto_net.proto_list
    return prototypes.value(), Tensor(np.ones(len(prototypes), np.float32)), ()


def idle(method: Method) -> Method:
    """The method with a teacher whose answers are there already."""
    context = method.context
    size, planes = method.student.feature_size(SIDE, SIDE), context.net.decoder.kwargs.inner_planes
    given = answers(size, context.net.num_classes, planes)
    if hasattr(method, "teacher"):
        method.teacher._ema._update = lambda decay: None
    if hasattr(method, "teacher_labels"):
        method.teacher_labels._label = lambda image: (given.label, given.confidence)
        method.mixer._mix = lambda mask, arrays, others: arrays
        method.refresh_statistics = lambda image_l, image_u: None
    if hasattr(method, "_view"):
        positive = Tensor(np.ones((context.net.num_classes, planes), np.float32))
        method._view = lambda image_l, image_u: (given.probability, given.representation, given.entropy)
        method._mean_directions = lambda rows, members: positive
        method._bank._write = lambda rows, source, target: (Tensor(source), Tensor(target))
    if hasattr(method, "_update"):
        method._update = lambda sums, counts: sums
    return method


def seconds(name: str) -> list[float]:
    """Of each step after the first ones, in which the memory bank fills."""
    folder = ours.PASCAL / name
    overrides = ["trainer.sup_only_epoch=0", "trainer.unsupervised.aug_prob=1"]
    config = data_build.complete(loading.load(folder, [*NET, *overrides]))[0]
    context = ours.context_of(config, IMAGES, SIDE)
    method = idle(METHODS[name](replace(context, images=Images())))
    step = IdleStep(method, IdleOptimizer())
    made = (inputs.batch(0, IMAGES, SIDE, labelled) for labelled in (True, False))
    batches = [Batch(0, one.ids, one.images, one.labels) for one in made]
    taken = []
    for number in range(WARM_UP + STEPS):
        before = time.thread_time()
        step(number, *batches)
        taken.append(time.thread_time() - before)
    return taken[WARM_UP:]


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Host seconds a step at VOC's size, for each method.")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    set_device("cpu")
    print("| method | host seconds a step | from - to |\n|---|---|---|")
    medians = {}
    for name in args.methods:
        taken = seconds(name)
        medians[name] = statistics.median(taken)
        print(f"| {name} | {medians[name]:.3f} | {min(taken):.3f} - {max(taken):.3f} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(medians, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
