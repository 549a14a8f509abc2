"""What the tests of the core share: a tiny network, settings, random batches, a small folder of images."""

import semiseg  # noqa: F401, I001  (before mindspore: it sets what MindSpore reads at its own import)

import dataclasses
import os
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from PIL import Image

from semiseg.config import schema
from semiseg.config.keys import Config, NetConfig
from semiseg.config.loading import from_tree
from semiseg.data.loaders import Batch
from semiseg.data.transforms import Crop
from semiseg.common.distributed import ALONE, Group
from semiseg.engine.optim import SGD
from semiseg.engine.step import TrainStep
from semiseg.methods import Method, RunContext, get_method
from semiseg.methods.context import StepBatch
from semiseg.methods.sampling import BatchSlice
from semiseg.models import SegmentationNetwork, build_model

os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")  # as device.set_device does on CPU; not every test calls it
ms.set_device("CPU")  # here, because MindSpore takes no device after the first operation
ROOT = Path(__file__).resolve().parents[1]
CROP = (33, 37)
CLASSES = 3

# Overrides that make any configuration small enough for a step in a fraction of a second.
TINY_NET = (
    "net.encoder.type=resnet18",
    "net.encoder.kwargs.width=4",
    "net.decoder.kwargs={inner_planes: 8, dilations: [1, 2, 3]}",
)

# What a method asks for beyond the base of all, tiny too.
NEEDS = {
    "ours": [],
    "ael": [
        "net.proto_head=null",
        "trainer.adaptive={momentum: 0.9, cutmix: {}, copy_paste: {number: 1}}",
    ],
    "fixmatch": ["net.proto_head=null", "dataset.train.strong={}"],
    "unimatch": ["net.proto_head=null", "dataset.train.strong={}"],
    "u2pl": [
        "net={proto_head: null, decoder: {kwargs: {rep_head: true}}}",
        "trainer.unsupervised.rule=entropy",
        "trainer.contrastive={num_queries: 8, num_negatives: 5, bank_size: 40, low_rank: 1, high_rank: 3}",
    ],
}


class Source:
    """As semiseg.data.sources.ImageSource, of random images; six of them, named as ``batch_of`` names them."""

    def __init__(self, kind: str):
        self._kind = kind

    def __len__(self) -> int:
        return 6

    def indices_of(self, ids: list[str]) -> list[int]:
        return [int(name.split()[-1]) for name in ids]

    def read(self, index: int, *keys: int) -> Crop:
        batch = batch_of(100 + index, self._kind, 1)
        return Crop(batch.images[0], None if batch.labels is None else batch.labels[0], None, batch.strong[0])


def config_of(*overrides: str) -> Config:
    """The defaults with overrides, without a file; net.num_classes is taken at its word."""
    config = from_tree(schema.annotate({}, schema.COMMAND_LINE), overrides)
    stated = config.stated.get("net.num_classes")
    net = config.net.model_copy(update={"num_classes": stated and stated.value})
    return config.model_copy(update={"net": net})


class Images:
    """As ``TrainImages``, of random images."""

    def labeled(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return labeled_images()

    def source(self, kind: str, purpose: str, rand_resize: tuple[float, float] | None = None) -> Source:
        return Source(kind)


def context_of(*overrides: str, batch: int = 2, steps_per_epoch: int = 1, group: Group = ALONE) -> RunContext:
    """A run with the tiny network, not compiled, three classes, a prototype head of two a class."""
    config = config_of(
        *TINY_NET,
        f"net.num_classes={CLASSES}",
        "net.proto_head={num_micro_proto: 2, select_granularity: 8, init_samples: 60}",
        "trainer={epochs: 4, sup_only_epoch: 1, jit: false, seed: 5}",
        "trainer.optimizer={kwargs: {lr: 0.05}, decoder_lr_times: 2}",
        "trainer.unsupervised={confid_thresh: 0.34, aug_prob: 0.7}",
        *overrides,
    )
    return RunContext(
        trainer=config.trainer,
        criterion=config.criterion,
        net=config.net,
        batch_size=batch,
        crop=CROP,
        steps_per_epoch=steps_per_epoch,
        mean=config.dataset.mean,
        std=config.dataset.std,
        new_network=lambda: network_of(config.net, world=group.world),
        images=Images(),
        strong=config.dataset.train.strong is not None,
        group=group,
    )


def context_for(name: str, *overrides: str, **options: Any) -> RunContext:
    """``context_of`` with what the method needs, and without what it refuses."""
    return context_of(*NEEDS.get(name, ["net.proto_head=null"]), *overrides, **options)


def with_prototypes(network: SegmentationNetwork) -> SegmentationNetwork:
    """With other prototypes than those that training starts with, where it has any."""
    if network.proto_net:
        prototypes = network.proto_net.proto_list
        prototypes.set_data(ms.Tensor(1 + prototypes.asnumpy()))
    return network


def network_of(net: NetConfig, seed: int = 0, world: int = 1) -> SegmentationNetwork:
    """A network whose BatchNorm scales and statistics are not 0 and 1, so that a forgotten one shows."""
    ms.set_seed(seed)
    network = build_model(net, world)
    rng = np.random.default_rng(seed)
    for name, parameter in network.parameters_and_names():
        if name.endswith(("gamma", "moving_variance")):
            parameter.set_data(ms.Tensor(rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
        elif name.endswith(("beta", "moving_mean")):
            parameter.set_data(ms.Tensor(rng.normal(0, 0.3, parameter.shape).astype(np.float32)))
    return network


def batch_of(step: int, kind: str, size: int = 2, crop: tuple[int, int] = CROP) -> Batch:
    """Random images with two strong views; labels in blocks, with ignored pixels; none for kind ``unlabeled``."""
    rng = np.random.default_rng([step, kind == "labeled"])
    images = rng.normal(0, 1, (size, 3, *crop)).astype(np.float32)
    labels = np.kron(rng.integers(0, CLASSES, (size, 4, 4)), np.ones((1, 10, 10), int))[:, : crop[0], : crop[1]]
    labels = labels.astype(np.int32)
    labels[:, :2] = 255
    strong = (images[:, None] + rng.normal(0, 0.5, (size, 2, 3, *crop))).astype(np.float32)
    ids = [f"{kind} {i}" for i in range(size)]
    again = Batch(step, ids, *(np.ascontiguousarray(x[..., ::-1]) for x in (images, labels)), strong=strong[..., ::-1])
    return Batch(step, ids, images, labels if kind == "labeled" else None, strong=strong, again=again)


def step_batch(step: int, size: int = 2) -> StepBatch:
    """Random images of both kinds, all of a step."""
    return StepBatch(batch_of(step, "labeled", size), batch_of(step, "unlabeled", size), BatchSlice(0, size, size))


def image(height: int = 37, width: int = 45, batch: int = 1) -> ms.Tensor:
    """Noise as a network takes it, batch x 3 x height x width."""
    return ms.Tensor(np.random.default_rng(0).normal(size=(batch, 3, height, width)).astype(np.float32))


def labeled_images() -> list[tuple[np.ndarray, np.ndarray]]:
    """Three labelled images as uint8, two of one size and one of another; class 2 occurs in the last alone."""
    rng = np.random.default_rng(9)
    found = []
    for size, classes in (((40, 36), (0, 1)), ((40, 36), (0,)), ((34, 50), (0, 1, 2))):
        mask = rng.choice(classes, size).astype(np.uint8)
        mask[:3] = 255
        found.append((rng.integers(0, 256, (*size, 3), dtype=np.uint8), mask))
    return found


class Trainee:
    """A method with its optimizer; ``run(first, last)`` makes the steps first..last-1."""

    def __init__(self, name: str, context: RunContext, seed: int = 0):
        new = dataclasses.replace(context, new_network=lambda: network_of(context.net, seed, context.group.world))
        self.method: Method = get_method(name, context.net.proto_head is not None)(new)
        self.optimizer = SGD(self.method.optimized, context.trainer)
        self.step = TrainStep(self.method, self.optimizer)
        self.state = self.method.state() | self.optimizer.state() | self.step.state()

    def run(self, first: int, last: int) -> list:
        results = []
        for step in range(first, last):
            self.method.enter_step(step)
            size = self.method.context.batch_size
            results.append(self.step(step, batch_of(step, "labeled", size), batch_of(step, "unlabeled", size)))
        return results

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: parameter.asnumpy().copy() for name, parameter in self.state.items()}


def same_arrays(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    """The same names with bit-identical values."""
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def write_voc(
    root: Path, parts: dict[str, int], size: tuple[int, int], classes: int, split: str, seed: int = 0
) -> None:
    """A VOC-layout folder of blocky random images (JPEG) and masks (PNG), with the lists of one split.

    ``parts``: labeled, unlabeled, val -> number of images. Unlabelled images get no mask.
    """
    rng = np.random.default_rng(seed)
    lists = {"labeled": root / f"splits/{split}/labeled.txt", "unlabeled": root / f"splits/{split}/unlabeled.txt"}
    for folder in ("JPEGImages", "SegmentationClassAug", f"splits/{split}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    colours = rng.integers(0, 256, (classes, 3))
    for part, count in parts.items():
        names = [f"{part}_{index:03}" for index in range(count)]
        for name in names:
            cells = rng.integers(0, classes, (4, 5))
            mask = np.kron(cells, np.ones((-(-size[0] // 4), -(-size[1] // 5)), int))[: size[0], : size[1]]
            image = np.clip(colours[mask] + rng.normal(0, 20, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / f"JPEGImages/{name}.jpg", quality=90)
            if part != "unlabeled":
                mask = mask.astype(np.uint8)
                mask[0] = 255
                Image.fromarray(mask).save(root / f"SegmentationClassAug/{name}.png")
        lists.get(part, root / f"splits/{part}.txt").write_text("".join(f"{name}\n" for name in names))
