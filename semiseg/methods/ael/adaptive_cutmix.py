"""AEL's adaptive CutMix: what is pasted is a badly learnt class, from an unlabelled image that holds it.

Shapes: B images of each kind, H x W crop, C classes.
"""

import cv2
import numpy as np
from mindspore import Tensor

from semiseg.common.host_array import HostArray
from semiseg.common.platform import numpy_of
from semiseg.common.rng import generator
from semiseg.methods.ael.banks import ConfidenceBank, ImageBank
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.mixing import Mixer, box_masks
from semiseg.methods.pseudo_labels import PseudoLabels
from semiseg.methods.teacher import TeacherLabels


class AdaptiveCutMix(Mixer):
    """For each image a class is drawn, the less confident the more often, then an image of the bank that holds it.

    The box of one of its connected components there (or else a random box of half the area) replaces the same place of
    the current image. The mixing is one-way: what the box covers of the current image appears nowhere. Which classes
    the current images and their partners show is noted in the bank after every step, mixed or not.
    """

    def __init__(self, context: RunContext, teacher_labels: TeacherLabels, confidence: ConfidenceBank):
        super().__init__(context)
        self._areas, self._group = context.trainer.adaptive.cutmix, context.group
        self._teacher_labels, self._confidence = teacher_labels, confidence
        self._images = context.images.source("unlabeled", "adaptive image")
        self._bank = ImageBank(context.net.num_classes, len(self._images))
        self._seen: tuple[int, list[np.ndarray]] = (-1, [])  # a step, and what its micro-batches show so far

    def replacement(self, step: int, pseudo: PseudoLabels, batch: StepBatch) -> tuple[np.ndarray, PseudoLabels]:
        first = batch.slice.first
        indices = self._images.indices_of(batch.unlabeled.ids)
        drawn = [self._draw(step, first + i) for i in range(len(indices))]
        classes, partners = zip(*drawn, strict=True)
        crops = [self._images.read(index, step, first + i) for i, index in enumerate(partners)]
        inside = None if crops[0].inside is None else np.stack([crop.inside for crop in crops])
        other = self._teacher_labels(np.stack([crop.image for crop in crops]), inside)
        predictions = numpy_of(other.label)
        of_class = [prediction == c for prediction, c in zip(predictions, classes, strict=True)]
        boxes = np.stack([self._box(step, first + i, pixels) for i, pixels in enumerate(of_class)])
        self._see(step, np.array([indices, partners]), np.stack([numpy_of(pseudo.label), predictions]))
        if pseudo.strong is not None:
            other = other._replace(strong=Tensor(np.stack([crop.strong[0] for crop in crops])))
        return box_masks(boxes, *predictions.shape[1:]), other

    def after_update(self, step: int) -> None:
        """Marks all images of the step, so that no micro-batch draws from what another one has shown."""
        seen, rows = self._seen
        self._seen = (-1, [])
        if seen == step:
            for row in np.concatenate(rows, 1).reshape(-1, rows[0].shape[2]):
                self._bank.mark(row[0], row[1:])

    def state(self) -> dict[str, HostArray]:
        return self._bank.state()

    def _draw(self, step: int, place: int) -> tuple[int, int]:
        """(class, index of the partner) for the image at ``place`` of the whole batch."""
        rng = generator(self._seed, "adaptive cutmix", step, place)
        return self._bank.draw(self._confidence.mixing_probabilities(), rng)

    def _box(self, step: int, place: int, pixels: np.ndarray) -> np.ndarray:
        rng = generator(self._seed, "adaptive box", step, place)
        box = component_box(pixels, self._areas.area_thresh * pixels.size, rng)
        return half_box(*pixels.shape, rng) if box is None else box

    def _see(self, step: int, indices: np.ndarray, predictions: np.ndarray) -> None:
        """Keeps what the images (2 x B: current ones, partners) show by their predictions (2 x B x H x W), those of all
        devices in the order of the whole batch, so that the bank is the same everywhere.
        """
        shown = np.stack([[self._bank.shown(p, self._areas.area_thresh2) for p in kind] for kind in predictions])
        rows = np.concatenate([indices[..., None], shown], 2).astype(np.int32)  # 2 x B x (1 + C)
        before = self._seen[1] if self._seen[0] == step else []  # a step that was left out is forgotten
        rows_of_all = self._group.gather(rows).swapaxes(0, 1).reshape(2, -1, rows.shape[2])
        self._seen = (step, [*before, rows_of_all])


def component_box(pixels: np.ndarray, min_area: float, rng: np.random.Generator) -> np.ndarray | None:
    """The bounding box (top, left, height, width) of a random connected component of more than ``min_area`` pixels.

    Args:
        pixels: bool H x W. Pixels that touch at a corner are connected.

    Returns:
        int32 of length 4, or None where no component is large enough or the class is everywhere: its box would replace
        the whole image. One number is drawn in any case.
    """
    along = rng.random()
    if np.all(pixels):
        return None
    count, _, statistics, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    large = [c for c in range(1, count) if statistics[c, cv2.CC_STAT_AREA] > min_area]
    if not large:
        return None
    chosen = statistics[large[int(along * len(large))]]
    keys = (cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH)
    return chosen[list(keys)].astype(np.int32)


def half_box(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random box (top, left, height, width) of half the area of a crop: int32 of length 4.

    Its height is 0.5 ** u of the crop's, u uniform: AEL's ``init_cutmix``. (U2PL's CutMix draws the width uniformly.)
    """
    tall = 0.5 ** rng.random()
    size = np.round([tall * height, 0.5 / tall * width])
    corner = np.round((np.array([height, width]) - size) * rng.random(2))
    return np.concatenate([corner, size]).astype(np.int32)
