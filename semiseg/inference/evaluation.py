"""Scoring a network on a set of images: whole-set counts of both heads, percent, tables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from mindspore import Tensor
from tqdm import tqdm

from semiseg.common.distributed import ALONE, Group
from semiseg.common.platform import numpy_of
from semiseg.common.text import has_terminal, shortened
from semiseg.config.keys import EvaluationConfig, ExpectedConfig
from semiseg.data.transforms import pad
from semiseg.inference.compiled import Network
from semiseg.inference.logits import image_logits
from semiseg.metrics import ConfusionMatrix

# (id, prediction H x W uint8 of the linear head)
OnImage = Callable[[str, np.ndarray], None]
# (id, the linear head's logits C x H x W, averaged over scales and mirror images; mask and image as they were scored)
OnLogits = Callable[[str, np.ndarray, np.ndarray, np.ndarray], None]


class Center(NamedTuple):
    """The middle of images, ``size`` high and wide. What it holds beside a smaller image is labelled ``pad_label``."""

    size: tuple[int, int]
    pad_label: int

    def crop(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both (3 x H x W, H x W) as mode center takes them."""
        return center_crop(image, self.size, 0), center_crop(mask, self.size, self.pad_label)


class Loader(Protocol):
    """Yields (id, float32 3 x H x W normalised, H x W mask)."""

    num_classes: int
    ignore_label: int
    center: Center

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterable[tuple[str, np.ndarray, np.ndarray]]: ...


@dataclass(frozen=True)
class Evaluation:
    """Whole-set counts of the linear head and, where it was scored, of the prototype head."""

    linear: ConfusionMatrix
    proto: ConfusionMatrix | None
    # Of each image that this device scored: int64 3 x C, pixels of each class that are right, labelled, predicted.
    images: dict[str, np.ndarray] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Percent: ``miou``, ``iou`` of each class (both of the linear head), ``proto_miou`` where there is one."""
        scores = self.linear.compute()
        percent = {"miou": 100 * scores.miou, "iou": (100 * scores.iou).tolist()}
        return percent | ({"proto_miou": 100 * self.proto.compute().miou} if self.proto else {})


def evaluate(
    network: Network,
    loader: Loader,
    mode: EvaluationConfig,
    on_image: OnImage | None = None,
    group: Group = ALONE,
    on_logits: OnLogits | None = None,
) -> Evaluation:
    """Scores ``network`` (in evaluation mode) on every image of ``loader`` as ``mode`` says.

    Mode center scores ``loader.center`` alone. Each device of a group has a loader with its share of
    the images; all get the counts of the whole set.
    """
    linear = ConfusionMatrix(loader.num_classes, loader.ignore_label)
    proto = ConfusionMatrix(loader.num_classes, loader.ignore_label)
    images: dict[str, np.ndarray] = {}
    scored_proto = False
    quiet = not has_terminal()
    for name, image, mask in tqdm(loader, desc="evaluate", unit="image", leave=False, disable=quiet):
        if mode.mode == "center":
            image, mask = loader.center.crop(image, mask)
        logits = image_logits(network, Tensor(np.ascontiguousarray(image[None])), mode)
        linear_logits = numpy_of(logits.linear)[0]
        prediction = linear_logits.argmax(0).astype(np.uint8)
        before = linear.counts.copy()
        linear.update(prediction, mask)
        added = linear.counts - before
        images[name] = np.stack([np.diag(added), added.sum(1), added.sum(0)])
        if logits.proto is not None:
            scored_proto = True
            proto.update(numpy_of(logits.proto)[0].argmax(0).astype(np.uint8), mask)
        if on_image:
            on_image(name, prediction)
        if on_logits:
            on_logits(name, linear_logits, mask, image)
    for matrix in (linear, proto):
        matrix.counts = group.total(matrix.counts)
    return Evaluation(linear, proto if group.any(scored_proto) else None, images)


def center_crop(array: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
    """The centre of ... x H x W; where the image is smaller it is padded with ``fill``, as training crops are."""
    array = pad(array, size, fill)
    top, left = ((m - n) // 2 for n, m in zip(size, array.shape[-2:], strict=True))
    return array[..., top : top + size[0], left : left + size[1]]


def report(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """The JSON of the command line: percent, IoU per class name."""
    scores = evaluation.linear.compute()
    percent: dict[str, Any] = {
        "miou": 100 * scores.miou,
        "iou": dict(zip(classes, (100 * scores.iou).tolist(), strict=True)),
        "pixel_accuracy": 100 * scores.pixel_accuracy,
        "label_pixels": dict(zip(classes, evaluation.linear.counts.sum(1).tolist(), strict=True)),
        "proto_miou": None,
        "proto_iou": None,
    }
    if evaluation.proto:
        scores = evaluation.proto.compute()
        percent["proto_miou"] = 100 * scores.miou
        percent["proto_iou"] = dict(zip(classes, (100 * scores.iou).tolist(), strict=True))
    return percent


def table(scores: dict[str, Any]) -> list[str]:
    """Lines with per-class IoU and both means, of what ``report`` gives."""
    width = max(map(len, scores["iou"]))
    proto = scores.get("proto_iou")
    lines = [f"{'class':<{width}}  linear" + ("   proto" if proto else "")]
    for name, iou in scores["iou"].items():
        lines.append(f"{name:<{width}}  {iou:6.2f}" + (f"  {proto[name]:6.2f}" if proto else ""))
    absent = [name for name, pixels in scores["label_pixels"].items() if not pixels]
    if absent:
        lines.append(f"in no mask that was scored, 0 in the mean: {shortened(absent, 8)}")
    return [*lines, f"{'mIoU':<{width}}  {scores['miou']:6.2f}" + (f"  {scores['proto_miou']:6.2f}" if proto else "")]


def compare(scores: dict[str, Any], expected: ExpectedConfig) -> list[str]:
    """Lines that set the measured scores beside the published ones."""
    lines = []
    for key, name in (("miou", "linear head"), ("proto_miou", "prototype head")):
        published, measured = getattr(expected, key), scores[key]
        if published is not None and measured is not None:
            verdict = "as published" if abs(measured - published) <= expected.tolerance else "differs"
            difference = measured - published
            lines.append(f"{name}: measured {measured:.2f}, published {published:.2f}, {difference:+.2f} ({verdict})")
    return lines
