"""The numbers and pictures of a run as TensorBoard events."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

_GROUPS = {"lr": "train/lr", "kept": "pseudo-labels/used", "loss": "loss/total"}


class Events:
    """Writes <folder>/events. On a continued run what was written after ``start_step`` is hidden, as the steps will be
    done again.
    """

    def __init__(self, folder: Path, start_step: int, classes: Sequence[str]):
        self._writer = SummaryWriter(str(folder / "events"), purge_step=start_step + 1)
        self._classes = classes

    def numbers(self, record: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl: losses, learning rate, shares; scores with IoU by class; use of prototypes."""
        step = record["step"]
        for name, value in record.items():
            if name == "eval":
                self._scores(value, step)
            elif name == "proto_counts":
                self._prototypes(np.asarray(value), step)
            elif name != "step":
                self._writer.add_scalar(_tag(name), value, step)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A single number."""
        self._writer.add_scalar(tag, value, step)

    def picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        """uint8 H x W x 3 RGB."""
        self._writer.add_image(tag, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what is waiting. May be called twice."""
        self._writer.close()

    def _scores(self, scores: Mapping[str, Any], step: int) -> None:
        for name, value in scores.items():
            if name == "iou":
                for label, iou in zip(self._classes, value, strict=True):
                    self._writer.add_scalar(f"iou/{label}", iou, step)
            else:
                self._writer.add_scalar(f"score/{name}", value, step)

    def _prototypes(self, counts: np.ndarray, step: int) -> None:
        """For each class that got pixels: the share of its most used prototype (1/K: all alike; 1: one does all)."""
        for label, row in zip(self._classes, counts.reshape(len(self._classes), -1), strict=True):
            if row.sum():
                self._writer.add_scalar(f"prototypes/{label}", row.max() / row.sum(), step)


def _tag(name: str) -> str:
    if name.startswith("pseudo_"):
        return f"pseudo-labels/{name.removeprefix('pseudo_')}"
    return _GROUPS.get(name, f"loss/{name}")
