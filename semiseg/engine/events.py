"""The numbers and pictures of a run by tag, for whatever records them, and as TensorBoard events."""

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

from semiseg.common.run_files import RunFiles

_GROUPS = {
    "lr": "train/lr",
    "mask_ratio": "pseudo-labels/mask ratio",
    "loss": "loss/total",
    "skipped": "data/skipped images",
    "loss_scale": "train/loss scale",
    "overflows": "train/skipped steps",
}


class Recorder:
    """Where the numbers and pictures of a run go beside metrics.jsonl: TensorBoard, or a tracker.

    ``scalars``, ``picture`` and ``close`` differ; what is recorded under which tag is the same everywhere.
    """

    def __init__(self, classes: Sequence[str]):
        self._classes = classes

    def numbers(self, record: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl: losses, learning rate, shares; scores with IoU by class; use of prototypes."""
        self.scalars(tagged(record, self._classes), record["step"])

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A single number."""
        self.scalars({tag: value}, step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by tag."""
        raise NotImplementedError

    def picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        """uint8 H x W x 3 RGB."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what is waiting. May be called twice."""
        raise NotImplementedError


class Events(Recorder):
    """Writes <folder>/events. On a continued run what was written after ``start_step`` is hidden, as the steps will be
    done again.

    It writes in the calling thread: tensorboardX's SummaryWriter hands everything to a thread, which a full disk ends
    without a word, and then waits for it for ever.

    Raises:
        OSError: here and in every method that writes.
    """

    def __init__(self, folder: Path, start_step: int, classes: Sequence[str]):
        super().__init__(classes)
        events = RunFiles(folder).events
        events.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(events / "events"), f".{os.getpid()}")
        self._add(start_step + 1, session_log=SessionLog(status=SessionLog.START))
        self._closed = False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """As Recorder's."""
        for tag, value in values.items():
            self._add(step, summary=summary.scalar(tag, value))
        self._writer.flush()

    def picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        """As Recorder's."""
        self._add(step, summary=summary.image(tag, picture, dataformats="HWC"))

    def close(self) -> None:
        """As Recorder's."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):  # what could not be written has been told
                self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))


def tagged(record: Mapping[str, Any], classes: Sequence[str]) -> dict[str, float]:
    """Tag -> number, of a line of metrics.jsonl."""
    if "eval" in record:  # what else stands there says which evaluation it is
        return _scores(record["eval"], classes)
    values = {_tag(name): value for name, value in record.items() if name not in ("step", "proto_counts")}
    return values | _prototypes(np.asarray(record.get("proto_counts", ())), classes)


def _scores(scores: Mapping[str, Any], classes: Sequence[str]) -> dict[str, float]:
    values = {f"score/{name}": value for name, value in scores.items() if name != "iou"}
    by_class = zip(classes, scores["iou"], strict=True) if "iou" in scores else ()
    return values | {f"iou/{label}": iou for label, iou in by_class}


def _prototypes(counts: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """For each class that got pixels: the share of its most used prototype (1/K: all alike; 1: one does all)."""
    if not counts.size:
        return {}
    rows = zip(classes, counts.reshape(len(classes), -1), strict=True)
    return {f"prototypes/{label}": row.max() / row.sum() for label, row in rows if row.sum()}


def _tag(name: str) -> str:
    if name.startswith("pseudo_"):
        return f"pseudo-labels/{name.removeprefix('pseudo_')}"
    return _GROUPS.get(name, f"loss/{name}")
