"""Class indices as pictures: indexed, coloured, laid over the image. H, W: height and width in pixels."""

import io
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from semiseg.common.files import replace_file
from semiseg.data.specs import DatasetSpec


def index_png(classes: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """A PNG whose pixels are the class indices (uint8 H x W): gray, or shown in the colours of a palette (256 x 3)."""
    picture = Image.fromarray(classes)
    if palette is not None:
        picture.putpalette(palette.ravel().tolist())  # turns gray into indexed, the values stay
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def png(picture: np.ndarray) -> bytes:
    """uint8 H x W x 3 RGB as PNG."""
    return _encode(".png", picture)


def jpeg(picture: np.ndarray, quality: int = 90) -> bytes:
    """uint8 H x W x 3 RGB as JPEG."""
    return _encode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])


def side_by_side(tiles: Iterable[np.ndarray]) -> np.ndarray:
    """Pictures (uint8 H x W x 3) of one height in a row, each with a white border of 2 px."""
    return np.hstack([np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255) for tile in tiles])


def _encode(kind: str, picture: np.ndarray, options: list[int] | None = None) -> bytes:
    return cv2.imencode(kind, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options or [])[1].tobytes()


class Painter:
    """Draws class indices in the colours of a data set."""

    def __init__(self, spec: DatasetSpec):
        self.palette = spec.full_palette()
        # What is tinted in an overlay: not pixels without a class, nor a class that only means "nothing".
        self._tinted = np.zeros(256, bool)
        self._tinted[: spec.num_classes] = [name.lower() != "background" for name in spec.classes]

    def color(self, classes: np.ndarray) -> np.ndarray:
        """uint8 H x W class indices -> uint8 H x W x 3 RGB."""
        return self.palette[classes]

    def overlay(self, image: np.ndarray, classes: np.ndarray, strength: float = 0.55) -> np.ndarray:
        """The image (uint8 H x W x 3 RGB) tinted by class, a white line between classes; background stays as it is."""
        tinted = self._tinted[classes]
        mixed = cv2.addWeighted(image, 1 - strength, self.color(classes), strength, 0)
        result = np.where(tinted[..., None], mixed, image)
        line_width = max(1, round(max(classes.shape) / 1200))
        result[_borders(np.where(tinted, classes, 255), line_width)] = 255
        return result


def _borders(classes: np.ndarray, width: int) -> np.ndarray:
    """bool H x W: pixels whose right or lower neighbour is of another class, ``width`` px wide."""
    edge = np.zeros(classes.shape, np.uint8)
    edge[:, :-1] |= classes[:, :-1] != classes[:, 1:]
    edge[:-1] |= classes[:-1] != classes[1:]
    return (cv2.dilate(edge, np.ones((width, width), np.uint8)) if width > 1 else edge).astype(bool)


class PredictionWriter:
    """Writes each prediction as an indexed PNG (DIR/index) and in colours (DIR/color)."""

    def __init__(self, folder: Path, spec: DatasetSpec):
        self._folder, self._painter = folder, Painter(spec)

    def __call__(self, name: str, prediction: np.ndarray) -> None:
        """``prediction``: uint8 H x W; ``name`` may hold folders."""
        replace_file(self._folder / "index" / f"{name}.png", index_png(prediction, self._painter.palette))
        replace_file(self._folder / "color" / f"{name}.png", png(self._painter.color(prediction)))
