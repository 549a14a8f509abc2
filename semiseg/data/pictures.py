"""Predictions as pictures: indexed, coloured, laid over the image. H, W: height and width in pixels."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from semiseg.common.files import replace_file
from semiseg.data.specs import DatasetSpec


class Painter:
    """Draws class indices in the colours of a data set."""

    def __init__(self, spec: DatasetSpec):
        self.palette = spec.full_palette()
        # What is not tinted in an overlay: pixels without a class, and a class that only means "nothing".
        self._tinted = np.zeros(256, bool)
        self._tinted[: spec.num_classes] = [name.lower() != "background" for name in spec.classes]

    def color(self, classes: np.ndarray) -> np.ndarray:
        """uint8 H x W class indices -> uint8 H x W x 3 RGB."""
        return self.palette[classes]

    def indexed_png(self, classes: np.ndarray) -> bytes:
        """A PNG whose pixels are the class indices and whose palette shows them in colour."""
        picture = Image.fromarray(classes)
        picture.putpalette(self.palette.ravel().tolist())
        content = io.BytesIO()
        picture.save(content, "PNG")
        return content.getvalue()

    def overlay(self, image: np.ndarray, classes: np.ndarray, strength: float = 0.55) -> np.ndarray:
        """The image (uint8 H x W x 3 RGB) tinted by class, a white line between classes; background stays as it is."""
        tint = self._tinted[classes][..., None]
        mixed = cv2.addWeighted(image, 1 - strength, self.color(classes), strength, 0)
        result = np.where(tint, mixed, image)
        shown = np.where(tint[..., 0], classes, 255)
        result[_borders(shown, max(1, round(max(classes.shape) / 1200)))] = 255
        return result


def _borders(shown: np.ndarray, width: int) -> np.ndarray:
    """bool H x W: pixels whose right or lower neighbour looks different, ``width`` px wide."""
    edge = np.zeros(shown.shape, np.uint8)
    edge[:, :-1] |= shown[:, :-1] != shown[:, 1:]
    edge[:-1] |= shown[:-1] != shown[1:]
    return (cv2.dilate(edge, np.ones((width, width), np.uint8)) if width > 1 else edge).astype(bool)


def png(picture: np.ndarray) -> bytes:
    """uint8 H x W x 3 RGB as PNG."""
    return _encode(".png", picture)


def jpeg(picture: np.ndarray, quality: int = 90) -> bytes:
    """uint8 H x W x 3 RGB as JPEG."""
    return _encode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(kind: str, picture: np.ndarray, options: list[int] | None = None) -> bytes:
    return cv2.imencode(kind, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options or [])[1].tobytes()


class PredictionWriter:
    """Writes each prediction as an indexed PNG (DIR/index) and in colours (DIR/color)."""

    def __init__(self, folder: Path, spec: DatasetSpec):
        self._folder, self._painter = folder, Painter(spec)

    def __call__(self, name: str, prediction: np.ndarray) -> None:
        """``prediction``: uint8 H x W; ``name`` may hold folders."""
        replace_file(self._folder / "index" / f"{name}.png", self._painter.indexed_png(prediction))
        replace_file(self._folder / "color" / f"{name}.png", png(self._painter.color(prediction)))
