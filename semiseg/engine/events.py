"""The numbers and pictures of a run as TensorBoard events."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

_GROUPS = {
    "lr": "train/lr",
    "mask_ratio": "pseudo-labels/mask ratio",
    "loss": "loss/total",
    "skipped": "data/skipped images",
    "loss_scale": "train/loss scale",
    "overflows": "train/skipped steps",
}


class Events:
    """Writes <folder>/events. On a continued run what was written after ``start_step`` is hidden, as the steps will be
    done again.

    It writes in the calling thread: tensorboardX's SummaryWriter hands everything to a thread, which a full disk ends
    without a word, and then waits for it for ever.

    Raises:
        OSError: here and in every method that writes.
    """

    def __init__(self, folder: Path, start_step: int, classes: Sequence[str]):
        (folder / "events").mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events/events"), f".{os.getpid()}")
        self._add(start_step + 1, session_log=SessionLog(status=SessionLog.START))
        self._classes, self._closed = classes, False

    def numbers(self, record: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl: losses, learning rate, shares; scores with IoU by class; use of prototypes."""
        step = record["step"]
        if "eval" in record:  # what else stands there says which evaluation it is
            self._scores(record["eval"], step)
        else:
            for name, value in record.items():
                if name == "proto_counts":
                    self._prototypes(np.asarray(value), step)
                elif name != "step":
                    self.scalar(_tag(name), value, step)
        self._writer.flush()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A single number."""
        self._add(step, summary=summary.scalar(tag, value))

    def picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        """uint8 H x W x 3 RGB."""
        self._add(step, summary=summary.image(tag, picture, dataformats="HWC"))

    def close(self) -> None:
        """Writes what is waiting. May be called twice."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):  # what could not be written has been told
                self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))

    def _scores(self, scores: Mapping[str, Any], step: int) -> None:
        for name, value in scores.items():
            if name == "iou":
                for label, iou in zip(self._classes, value, strict=True):
                    self.scalar(f"iou/{label}", iou, step)
            else:
                self.scalar(f"score/{name}", value, step)

    def _prototypes(self, counts: np.ndarray, step: int) -> None:
        """For each class that got pixels: the share of its most used prototype (1/K: all alike; 1: one does all)."""
        for label, row in zip(self._classes, counts.reshape(len(self._classes), -1), strict=True):
            if row.sum():
                self.scalar(f"prototypes/{label}", row.max() / row.sum(), step)


def _tag(name: str) -> str:
    if name.startswith("pseudo_"):
        return f"pseudo-labels/{name.removeprefix('pseudo_')}"
    return _GROUPS.get(name, f"loss/{name}")
