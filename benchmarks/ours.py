"""The MindSpore side of the benchmarks; started by run.py."""

import worker  # isort: skip  (it notes when the process began)
import clone  # isort: skip  (it makes what follows importable)

from collections.abc import Callable
from pathlib import Path
from typing import Any

import semiseg  # noqa: F401

# isort: split
import inputs
import numpy as np

from semiseg.common.rng import generator
from semiseg.config import loading as config
from semiseg.config.keys import Config, StrongConfig
from semiseg.data import build as data_build
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.loaders import TrainStream
from semiseg.data.photometric import strong_view
from semiseg.data.specs import get_spec
from semiseg.data.transforms import TrainTransform
from semiseg.engine import build
from semiseg.engine.device import set_device
from semiseg.engine.optim import SGD
from semiseg.engine.step import TrainStep
from semiseg.evaluate import evaluate
from semiseg.inference.compiled import for_evaluation
from semiseg.methods import METHODS, RunContext
from semiseg.metrics import ConfusionMatrix
from semiseg.models import build_model

EXPERIMENTS = clone.ROOT / "experiments"
PASCAL, SYNTHETIC = EXPERIMENTS / "pascal" / "183", EXPERIMENTS / "synthetic" / "16"


def setting(method: str, side: int, batch: int, jit: bool = True, accumulate: int = 1) -> RunContext:
    """The published VOC configuration at another crop size, in the semi-supervised phase from the first step."""
    changes = {"jit": jit, "accumulate": accumulate, "sup_only_epoch": 0}
    overrides = [f"trainer.{key}={str(value).lower()}" for key, value in changes.items()]
    loaded = config.load(PASCAL / method, [f"dataset.train.crop.size=[{side}, {side}]", *overrides])
    return context_of(data_build.complete(loaded)[0], batch, side)


def context_of(config: Config, batch: int, side: int) -> RunContext:
    """A run of 1,000 steps an epoch that never asks for images."""
    return RunContext(
        trainer=config.trainer,
        criterion=config.criterion,
        net=config.net,
        batch_size=batch,
        crop=(side, side),
        steps_per_epoch=1000,
        mean=inputs.MEAN,
        std=inputs.STD,
        new_network=lambda: build_model(config.net),
        images=None,
    )


def step_of(method: str, p: dict[str, Any], batch: int) -> worker.Work:
    """A whole step of a method on ``batch`` labelled and as many unlabelled images."""
    return worker.Work(steps_of(method, setting(method, p["side"], batch, p.get("jit", True))))


def steps_of(method: str, context: RunContext) -> Callable[[], None]:
    """Each call is a step, always on the same images."""
    step = trainer_of(method, context)
    size = context.batch_size, context.crop[0]
    batches = [inputs.batch(0, *size, labelled, context.net.num_classes) for labelled in (True, False)]
    done = iter(range(1, 1000))
    return lambda: void(step(next(done), *batches))


def trainer_of(method: str, context: RunContext) -> TrainStep:
    """The step of a fresh network."""
    set_device("cpu")
    made = METHODS[method](context)
    if method == "suponly":  # the optimizer is the end: no teacher, here as on the other side
        made.after_update, made.teacher = (lambda *_: {}), None
    return TrainStep(made, SGD(made.optimized, context.trainer))


def void(_: object) -> None:
    """So that a result is not taken for seconds."""


def train_step(p: dict[str, Any]) -> worker.Work:
    """Student forward, loss, backward, SGD."""
    return step_of("suponly", p, p["batch"])


def semi_step(p: dict[str, Any]) -> worker.Work:
    """A whole step of ``ours``."""
    return step_of("ours", p, p["batch"])


def startup(p: dict[str, Any]) -> worker.Work:
    """From the start of the process to the end of the first step."""
    return worker.Work(lambda: finish(step_of("ours", p, 2)), warm_up=0, repeat=1)


def finish(work: worker.Work) -> float:
    """Seconds since the process began, after one step."""
    work.once()
    return worker.time.perf_counter() - worker.STARTED


def small_step(p: dict[str, Any]) -> worker.Work:
    """A step of ``ours`` with the small network of the synthetic experiments, of any size."""
    overrides = [
        f"dataset.train.crop.size=[{p['side']}, {p['side']}]",
        f"net.proto_head.num_micro_proto={p['per_class']}",
        "trainer.sup_only_epoch=0",
    ]
    loaded, _ = data_build.complete(config.load(SYNTHETIC / "ours", overrides))
    loaded = loaded.model_copy(update={"net": loaded.net.model_copy(update={"num_classes": p["classes"]})})
    return worker.Work(steps_of("ours", context_of(loaded, p["batch"], p["side"])), repeat=7)


def evaluation(p: dict[str, Any]) -> worker.Work:
    """Files to confusion matrix: whole image with both heads, or sliding window."""
    set_device("cpu")
    folder, window = Path(p["folder"]), f"[{inputs.WINDOW}, {inputs.WINDOW}]"
    overrides = [f"dataset.data_root={folder}", f"dataset.val.data_list={folder / 'val.txt'}"]
    overrides += [f"evaluation.mode={p['mode']}", f"evaluation.crop_size={window}"]
    loaded, spec = data_build.complete(config.load(PASCAL / "ours", overrides))
    network = for_evaluation(build_model(loaded.net), loaded.trainer.jit)
    images = build.EvalLoader(loaded, spec)
    # As the command does it; the size is compiled during the second pass.
    return worker.Work(lambda: void(evaluate(network, images, loaded.evaluation)), warm_up=2, repeat=2)


def data(p: dict[str, Any]) -> worker.Work:
    """Processor seconds an image of the labelled and the unlabelled stream."""
    folder, count = Path(p["folder"]), p["steps"]
    names = (folder / "val.txt").read_text(encoding="utf-8").split()
    transform = TrainTransform((inputs.EVAL_SIDE, inputs.EVAL_SIDE))

    def once() -> float:
        parts = [SegmentationDataset(get_spec("pascal"), folder, names, with_mask) for with_mask in (True, False)]
        before = worker.cpu_seconds()
        streams = [TrainStream(part, transform, 2, seed=0, purpose=str(i), workers=2) for i, part in enumerate(parts)]
        for _ in range(count):
            for stream in streams:
                next(stream)
        for stream in streams:
            stream.close()
        return (worker.cpu_seconds() - before) / (4 * count)

    return worker.Work(once, warm_up=1)


def strong(p: dict[str, Any]) -> worker.Work:
    """Processor seconds a strong view of an 8-bit crop."""
    cfg, crops = StrongConfig(), inputs.crops(p["images"], inputs.EVAL_SIDE)

    def once() -> float:
        before = worker.cpu_seconds()
        for index in range(p["views"]):
            strong_view(crops[index % len(crops)], cfg, generator(0, "benchmark", index))
        return (worker.cpu_seconds() - before) / p["views"]

    return worker.Work(once, warm_up=1)


def count(p: dict[str, Any]) -> worker.Work:
    """The confusion matrix of one image."""
    rng = np.random.default_rng(0)
    shape = (p["images"], inputs.EVAL_SIDE, inputs.EVAL_SIDE)
    pred, label = (rng.integers(0, inputs.CLASSES, shape, dtype=np.uint8) for _ in range(2))
    label[:, :30] = 255

    def once() -> None:
        matrix = ConfusionMatrix(inputs.CLASSES)
        for one, true in zip(pred, label, strict=True):
            matrix.update(one, true)
        matrix.compute()

    return worker.Work(once)


if __name__ == "__main__":
    works = (train_step, semi_step, startup, evaluation, data, strong, count, small_step)
    worker.main({f.__name__: f for f in works})
