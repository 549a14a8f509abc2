"""Which images are worth labelling next: those that a network is least sure of.

Two scores, each a mean over an image's pixels, so that its size does not matter. Of C classes, p is the softmax of the
linear head's logits:

- ``entropy``: -sum_c p_c log p_c, in nats, 0 (sure) to log C (Shannon, "A Mathematical Theory of Communication", 1948;
  to choose samples by it is uncertainty sampling: Settles, "Active Learning Literature Survey", 2009, section 3.1).
- ``disagreement``: the share of pixels that the linear and the prototype head give to different classes, 0 to 1: query
  by committee, of two members with a vote each (Seung, Opper, Sompolinsky, "Query by Committee", 1992; Settles, 3.2).

Shapes: H x W the image's own size; a strip is C x h x W logits, or 2C x h x W of both heads, one after the other.
"""

import csv
import heapq
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np
from mindspore import Tensor, ops
from scipy.special import log_softmax

from semiseg.common.files import replace_file
from semiseg.data.pictures import Painter, jpeg, side_by_side
from semiseg.data.specs import DatasetSpec
from semiseg.inference.compiled import Network
from semiseg.inference.images import Item
from semiseg.inference.predictor import to_long_side
from semiseg.models.deeplabv3plus import Output
from semiseg.models.interpolate import resize

SCORES = ("entropy", "disagreement")
_TILE = 640  # pixels, the long side of a picture in a row of pictures


class BothHeads:
    """A network whose logits are log-probabilities of both heads, linear first: B x 3 x H x W -> B x 2C x H x W.

    Windows, scales and mirror images are averaged over both alike, as logits or as probabilities: the softmax of all 2C
    is half of each head's own, whichever head's logits are larger.
    """

    def __init__(self, network: Network):
        self._network = network

    def logits(self, x: Tensor) -> Tensor:
        """Of both heads, at the input's size."""
        out = self._network(x)
        return ops.concat([ops.log_softmax(head, 1) for head in (resize(out.pred, x.shape[2:]), out.proto)], 1)

    def __call__(self, x: Tensor) -> Output:
        """``logits`` where ``pred`` is expected."""
        return Output(self.logits(x), None, None, None)


class Scores(NamedTuple):
    """Of one image; ``disagreement`` is None without a prototype head."""

    entropy: float
    disagreement: float | None


class Maps(NamedTuple):
    """What scores are made of, H x W: classes of the linear head, entropy, classes of the prototype head or None."""

    classes: np.ndarray
    entropy: np.ndarray
    proto: np.ndarray | None


class Ranked(NamedTuple):
    """An image with its scores."""

    item: Item
    scores: Scores


def pixel_entropy(logits: np.ndarray) -> np.ndarray:
    """C x h x W -> h x W, in nats."""
    log_p = log_softmax(logits, axis=0)
    return -(np.exp(log_p) * log_p).sum(0)


def strip_maps(strips: Iterable[np.ndarray], num_classes: int) -> Iterator[Maps]:
    """The maps of each strip."""
    for strip in strips:
        linear, proto = strip[:num_classes], strip[num_classes:]
        other = proto.argmax(0).astype(np.uint8) if len(proto) else None
        yield Maps(linear.argmax(0).astype(np.uint8), pixel_entropy(linear), other)


def image_scores(strips: Iterable[np.ndarray], num_classes: int) -> Scores:
    """The scores of an image from its strips, of which one is held at a time."""
    pixels, entropy, differing = 0, 0.0, None
    for maps in strip_maps(strips, num_classes):
        pixels += maps.classes.size
        entropy += float(maps.entropy.sum(dtype=np.float64))
        if maps.proto is not None:
            differing = (differing or 0) + int((maps.classes != maps.proto).sum())
    return Scores(entropy / pixels, None if differing is None else differing / pixels)


def most_uncertain(scored: Iterable[Ranked], count: int, by: str) -> list[Ranked]:
    """The ``count`` images with the highest score ``by`` (one of ``SCORES``), highest first, of equals the earlier one.

    No more than these are held.
    """
    return heapq.nlargest(count, scored, key=lambda ranked: getattr(ranked.scores, by))


def picture_of(image: np.ndarray, strips: Iterable[np.ndarray], painter: Painter, num_classes: int) -> np.ndarray:
    """Side by side: the image (uint8 H x W x 3 RGB), the linear head's prediction, the prototype head's where there is
    one, and the entropy, dark to bright from 0 to log C.
    """
    small = to_long_side(image, min(_TILE, max(image.shape[:2])))
    size = small.shape[1::-1]
    parts = [part for part in zip(*strip_maps(strips, num_classes), strict=True) if part[0] is not None]
    classes, entropy, *proto = (np.concatenate(part) for part in parts)
    predictions = (cv2.resize(each, size, interpolation=cv2.INTER_NEAREST) for each in (classes, *proto))
    gray = (255 * np.clip(entropy / math.log(num_classes), 0, 1)).astype(np.uint8)
    heat = cv2.applyColorMap(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), cv2.COLORMAP_INFERNO)
    tiles = [small, *(painter.overlay(small, each) for each in predictions), cv2.cvtColor(heat, cv2.COLOR_BGR2RGB)]
    return side_by_side(tiles)


class RankingWriter:
    """Writes DIR/uncertain.csv, and a picture of each of its images to DIR/uncertain.

    Raises: UserError wherever a file cannot be written.
    """

    def __init__(self, out: Path, spec: DatasetSpec):
        self._out, self._painter, self._num_classes = out, Painter(spec), spec.num_classes

    def table(self, ranking: Sequence[Ranked]) -> None:
        """A line an image, the least sure one first."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(("rank", "image", *SCORES, "picture", "path"))
        for rank, (item, scores) in enumerate(ranking, 1):
            cells = ("" if score is None else f"{score:.6f}" for score in scores)
            lines.writerow((rank, item.name, *cells, self._picture(rank, item).name, item.path))
        replace_file(self._out / "uncertain.csv", text.getvalue())

    def picture(self, rank: int, item: Item, image: np.ndarray, strips: Iterable[np.ndarray]) -> None:
        """Of an image (uint8 H x W x 3 RGB)."""
        row = picture_of(image, strips, self._painter, self._num_classes)
        replace_file(self._out / "uncertain" / self._picture(rank, item).name, jpeg(row))

    def _picture(self, rank: int, item: Item) -> PurePosixPath:
        return PurePosixPath(f"{rank:03}_{PurePosixPath(item.name).name}.jpg")


def ranking_lines(ranking: Sequence[Ranked]) -> list[str]:
    """What is printed of a ranking."""
    lines = []
    for rank, (item, scores) in enumerate(ranking, 1):
        heads = "" if scores.disagreement is None else f", the heads differ on {100 * scores.disagreement:.1f}%"
        lines.append(f"{rank:>3}  {item.name}: entropy {scores.entropy:.3f}{heads}")
    return lines
