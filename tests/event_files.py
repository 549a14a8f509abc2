"""Reads TensorBoard event files: for tests of what writes them."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX.proto.event_pb2 import Event


def read_events(folder: Path) -> list[Event]:
    """All events below a folder, files in the order of their names."""
    events = []
    for path in sorted(folder.glob("events.out.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            events.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return events


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value), in the order of writing."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in read_events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def pictures(folder: Path) -> dict[tuple[str, int], np.ndarray]:
    """(tag, step) -> uint8 H x W x 3."""
    return {
        (value.tag, event.step): np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
        for event in read_events(folder)
        for value in event.summary.value
        if value.HasField("image")
    }
