"""Two steps of each method as training makes them, on random images: at a small size, and at that of the experiments.

The configuration is that of ``experiments/pascal/183``; nothing is read but configuration.
"""

import time
from pathlib import Path
from typing import Any, get_args

import numpy as np

from semiseg.common.checkout import checkout
from semiseg.common.rng import generator
from semiseg.config import load
from semiseg.config.keys import TrainerConfig
from semiseg.data.build import complete
from semiseg.data.lists import Split
from semiseg.data.loaders import Batch
from semiseg.data.transforms import Crop
from semiseg.engine import build
from semiseg.engine.plan import Plan
from semiseg.engine.step import TrainStep
from semiseg.methods import METHODS

LEAVES = Path("experiments/pascal/183")
# A fresh network is sure of nothing: pseudo-labels and anchors would all be left out.
_ALWAYS = [
    *("trainer.sup_only_epoch=0", "net.encoder.pretrained=null", "trainer.unsupervised.confid_thresh=0.05"),
    "dataset.batch_size=2",
]
_ALWAYS_OF = {
    "u2pl": ["trainer.contrastive.current_class_threshold=0"],
    "ael": ["trainer.adaptive.threshold=0.05"],
}
_SMALL = [
    *("net.encoder.type=resnet18", "net.encoder.kwargs.width=4"),
    "net.decoder.kwargs={inner_planes: 8, dilations: [1, 2, 3]}",
    *("dataset.train.crop.size=[33, 33]", "trainer.jit=false"),
]
# Of sizes that fit: the prototypes' first pixels and grid, the pixels and the memory of the contrastive part.
_SMALL_OF = {
    "ours": ["net.proto_head={select_granularity: 8, init_samples: 60}"],
    "u2pl": ["trainer.contrastive={num_queries: 8, num_negatives: 5, bank_size: 40}"],
}
_LABELED_IMAGES = 4  # that prototypes begin from


def amp_values() -> tuple[str, ...]:
    """The values of trainer.amp."""
    return get_args(TrainerConfig.model_fields["amp"].annotation)


def run(method: str, size: str, amp: str = "off") -> dict[str, Any]:
    """The loss and its terms at two steps of a fresh run, and the seconds of each (the first one compiles).

    Raises: FileNotFoundError where there is no clone with the experiments; whatever the device raises.
    """
    plan = plan_of(method, size, amp)
    images = RandomImages(plan.config.dataset.train.crop.size, plan.spec.num_classes)
    context = build.run_context(plan, images)
    made = plan.method(context)
    step = TrainStep(made, build.optimizer(plan, made))
    losses, terms, seconds = [], {}, []
    for number in range(2):
        before = time.perf_counter()
        made.enter_step(number)
        result = step(number, *(images.batch(kind, number, context.batch_size) for kind in ("labeled", "unlabeled")))
        losses.append(float(result.loss))
        terms = dict(result.terms)
        seconds.append(time.perf_counter() - before)
    return {"losses": losses, "terms": terms, "seconds": seconds}


def plan_of(method: str, size: str, amp: str) -> Plan:
    """The run that a step is of, 1,000 steps an epoch; no list is read."""
    folder = checkout()
    if folder is None:
        raise FileNotFoundError("steps need a clone of SemiSeg (experiments/), and this is an installation without")
    overrides = [*_ALWAYS, *_ALWAYS_OF.get(method, [])]
    overrides += [*_SMALL, *_SMALL_OF.get(method, [])] if size == "small" else []
    overrides += [f"trainer.amp={amp}"] if amp != "off" else []
    config, spec = complete(load(folder / LEAVES / method, overrides))
    batch = config.dataset.batch_size
    return Plan(config, spec, Split((), (), ()), Path(), METHODS[method], 1000, batch, 1.0, ())


class RandomImages:
    """As ``TrainImages``: images of noise that are nowhere on a disk, labelled with blocks of every class."""

    def __init__(self, size: tuple[int, int], classes: int):
        self._size, self._classes = size, classes

    def labeled(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """uint8 H x W x 3 images with uint8 H x W masks."""
        rng = generator(0, "doctor.labeled")
        shape = (_LABELED_IMAGES, *self._size, 3)
        masks = (_blocks(self._size, self._classes, index) for index in range(_LABELED_IMAGES))
        return list(zip(rng.integers(0, 256, shape, dtype=np.uint8), masks, strict=True))

    def source(self, kind: str, purpose: str, rand_resize: tuple[float, float] | None = None) -> "_Source":
        """Images by index."""
        return _Source(kind, self._size, self._classes)

    def batch(self, kind: str, step: int, size: int) -> Batch:
        """Images of a step; unlabelled ones with two strong views, and once more in another augmentation."""
        ids = [f"{kind} {index}" for index in range(size)]
        if kind == "unlabeled":
            first, again = (Batch(step, ids, *self._with_views(step, purpose, size)) for purpose in ("step", "again"))
            return first._replace(again=again)
        crops = [self.source(kind, "step").read(index, step) for index in range(size)]
        return Batch(step, ids, np.stack([c.image for c in crops]), np.stack([c.label for c in crops]))

    def _with_views(self, step: int, purpose: str, size: int) -> tuple[np.ndarray, None, None, np.ndarray]:
        """The fields of a Batch from its images to its strong views."""
        key = 0 if purpose == "step" else 1
        crops = [self.source("unlabeled", purpose).read(index, step, key) for index in range(size)]
        return np.stack([crop.image for crop in crops]), None, None, np.stack([crop.strong for crop in crops])


class _Source:
    def __init__(self, kind: str, size: tuple[int, int], classes: int):
        self._kind, self._size, self._classes = kind, size, classes

    def __len__(self) -> int:
        return 8

    def indices_of(self, ids: list[str]) -> list[int]:
        return [int(name.split()[-1]) for name in ids]

    def read(self, index: int, *keys: int) -> Crop:
        image = generator(0, f"doctor.{self._kind}", index, *keys).normal(0, 1, (3, *self._size)).astype(np.float32)
        label = _blocks(self._size, self._classes, index).astype(np.int32) if self._kind == "labeled" else None
        noise = generator(0, f"doctor.{self._kind} views", index, *keys).normal(0, 0.3, (2, *image.shape))
        return Crop(image, label, None, (image + noise).astype(np.float32))

    def taken_skips(self) -> list[str]:
        return []


def _blocks(size: tuple[int, int], classes: int, index: int) -> np.ndarray:
    """uint8 H x W: diagonal stripes of blocks in all classes, the first row ignored."""
    rows, cols = np.ogrid[: size[0], : size[1]]
    label = ((rows // 6 + cols // 6 * 5 + index) % classes).astype(np.uint8)
    label[0] = 255
    return label
