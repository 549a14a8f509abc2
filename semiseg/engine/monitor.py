"""What a run measures and draws of itself beside its losses. Nothing here changes a weight or a random draw.

Shapes: B images, H x W crop, C classes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import Tensor

from semiseg.common.platform import numpy_of
from semiseg.data.loaders import Batch
from semiseg.data.pictures import Painter, side_by_side
from semiseg.data.specs import DatasetSpec
from semiseg.methods import Method
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize

# Unlabelled images with their masks for a step: for measuring alone, they never reach the method.
TruthOfStep = Callable[[int], Batch]


@dataclass(frozen=True)
class Sample:
    """An image to be drawn: float32 3 x H x W normalised, uint8 H x W x 3 RGB, mask H x W."""

    name: str
    image: np.ndarray
    rgb: np.ndarray
    mask: np.ndarray


class Monitor:
    """Asked by the loop at its log points and evaluations."""

    def __init__(
        self, method: Method, spec: DatasetSpec, samples: Sequence[Sample] = (), truth: TruthOfStep | None = None
    ):
        self._method, self._spec, self._painter = method, spec, Painter(spec)
        self._samples, self._truth = samples, truth

    def numbers(self, step: int) -> dict[str, float]:
        """For the log line after ``step`` steps, where masks are at hand: how often the pseudo-labels are right, of all
        pixels and of those that would count.
        """
        if self._truth is None or not self._method.semi_phase(step - 1):
            return {}
        batch = self._truth(step - 1)
        label, reliable = self._pseudo_labels(step, batch.images, batch.inside)
        counted, right = batch.labels != self._spec.ignore_label, label == batch.labels
        chosen = {"pseudo_accuracy": counted, "pseudo_accuracy_in_mask": counted & reliable}
        return {name: float(right[pixels].mean()) for name, pixels in chosen.items() if pixels.any()}

    def pictures(self, step: int) -> Iterator[tuple[str, np.ndarray]]:
        """(image's name, uint8 RGB) of every sample: image, truth, pseudo-label, what student and teacher see,
        side by side.

        Pixels whose pseudo-label would not count are left as they are. A method without pseudo-labels has no such
        column.
        """
        for sample in self._samples:
            views = [sample.mask]
            pseudo = self._pseudo_labels(step, sample.image[None])
            if pseudo is not None:
                label, reliable = pseudo
                views.append(np.where(reliable[0], label[0], self._spec.ignore_label).astype(np.uint8))
            for network in self._method.networks.values():
                views.append(numpy_of(_logits(network, sample.image[None]))[0].argmax(0).astype(np.uint8))
            tiles = [sample.rgb, *(self._painter.overlay(sample.rgb, view) for view in views)]
            yield sample.name, side_by_side(tiles)

    def _pseudo_labels(
        self, step: int, images: np.ndarray, inside: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """int32 labels and bool "would count", B x H x W, after ``step`` steps; None without pseudo-labels."""
        pseudo = self._method.pseudo_labels(step - 1, Tensor(images), inside)
        return None if pseudo is None else (numpy_of(pseudo[0]), numpy_of(pseudo[1]) > 0)


def _logits(network: SegmentationNetwork, images: np.ndarray) -> Tensor:
    """Of the network as evaluation uses it: B x 3 x H x W -> B x C x H x W."""
    training = network.training
    network.set_train(False)
    logits = resize(network.logits(Tensor(images)), images.shape[2:])
    network.set_train(training)
    return logits
