"""AEL's two samplers as parts that any semi-supervised method can use: adaptive CutMix and adaptive copy-paste.

Shapes: B images of each kind, H x W crop, C classes.
"""

from collections.abc import Sequence

import numpy as np
from mindspore import Tensor

from semiseg.common.distributed import ALONE, Group
from semiseg.common.host_array import HostArray
from semiseg.common.rng import generator
from semiseg.config.keys import CopyPasteConfig, TrainerConfig
from semiseg.methods.ael.equalization import ConfidenceBank, ImageBank
from semiseg.methods.base import ImageSource
from semiseg.methods.mixing import box_masks, component_box, cutmix_boxes
from semiseg.methods.pseudo import PseudoLabeler, PseudoLabels
from semiseg.methods.sampling import Rows, whole
from semiseg.models import SegmentationNetwork


class AdaptiveLabeler(PseudoLabeler):
    """Pseudo-labels mixed by adaptive CutMix.

    For each image a class is drawn, the less confident the more often, then an image of the bank that holds it. The box
    of one of its connected components there (or else a random box of half the area) replaces the same place of the
    current image. The mixing is one-way: what the box covers of the current image appears nowhere.
    """

    def __init__(
        self,
        teacher: SegmentationNetwork,
        trainer: TrainerConfig,
        crop: tuple[int, int],
        confidence: ConfidenceBank,
        train_mode: bool = False,
        group: Group = ALONE,
    ):
        super().__init__(teacher, trainer, 2, crop, train_mode)  # 2: the previous step's image is never the partner
        self._group = group
        self._confidence, self._areas = confidence, trainer.adaptive.cutmix
        self._source: ImageSource | None = None
        self._bank: ImageBank | None = None

    def attach(self, source: ImageSource, num_classes: int) -> None:
        """The unlabelled images that partners are drawn from. Called once, before the first step."""
        self._source, self._bank = source, ImageBank(num_classes, len(source))

    def __call__(
        self, step: int, images: np.ndarray, ids: Sequence[str] = (), rows: Rows | None = None
    ) -> PseudoLabels:
        first = (rows or whole(images)).first
        current = self.labels_of(images)
        places = self._source.places(ids)
        drawn = [self._draw(step, first + i) for i in range(len(places))]
        classes, partners = zip(*drawn, strict=True)
        read = [self._source.read(place, step, first + i)[0] for i, place in enumerate(partners)]
        other = self.labels_of(np.stack(read))
        predictions = other.label.asnumpy()
        holding = [prediction == c for prediction, c in zip(predictions, classes, strict=True)]
        boxes = np.stack([self._box(step, first + i, pixels) for i, pixels in enumerate(holding)])
        self._remember(np.array([places, partners]), np.stack([current.label.asnumpy(), predictions]))
        if generator(self._seed, "mix", step).random() >= self._cfg.aug_prob:
            return current
        return self.mix(Tensor(box_masks(boxes, *predictions.shape[1:])), current, other)

    def state(self) -> dict[str, HostArray]:
        return self._bank.state() if self._bank else {}

    def own_state(self) -> set[str]:
        return set()

    def _remember(self, places: np.ndarray, predictions: np.ndarray) -> None:
        """Marks the images (2 x B: current ones, partners) by their predictions (2 x B x H x W), those of all devices
        in the order of the whole batch, so that the bank is the same everywhere.
        """
        shown = np.stack([[self._bank.shown(p, self._areas.area_thresh2) for p in kind] for kind in predictions])
        rows = np.concatenate([places[..., None], shown], 2).astype(np.int32)  # 2 x B x (1 + C)
        for row in self._group.gather(rows).swapaxes(0, 1).reshape(-1, rows.shape[2]):
            self._bank.mark(row[0], row[1:])

    def _draw(self, step: int, image: int) -> tuple[int, int]:
        return self._bank.draw(self._confidence.mixing_shares(), generator(self._seed, "adaptive cutmix", step, image))

    def _box(self, step: int, image: int, pixels: np.ndarray) -> np.ndarray:
        rng = generator(self._seed, "adaptive box", step, image)
        found = component_box(pixels, self._areas.area_thresh * pixels.size, rng)
        return cutmix_boxes(1, *pixels.shape, rng)[0] if found is None else found


class CopyPaste:
    """Adaptive copy-paste: pixels of drawn classes of another labelled image replace those of a labelled image."""

    def __init__(self, cfg: CopyPasteConfig, confidence: ConfidenceBank, seed: int):
        self._cfg, self._confidence, self._seed = cfg, confidence, seed
        self._source: ImageSource | None = None

    def attach(self, source: ImageSource) -> None:
        """The labelled images that are pasted from. Called once, before the first step."""
        self._source = source

    def __call__(
        self, step: int, images: np.ndarray, labels: np.ndarray, rows: Rows | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B x 3 x H x W images, B x H x W labels) with what was pasted; the arguments stay as they are.

        ``rows``: their places in the step's whole batch, if they are not all of it.
        """
        rng = generator(self._seed, "copy-paste classes", step)
        shares = self._confidence.pasting_shares(self._cfg.leave_out)
        classes = np.unique(rng.choice(len(shares), self._cfg.number, p=shares))
        images, labels, first = images.copy(), labels.copy(), (rows or whole(images)).first
        for i in range(len(images)):
            place = first + i
            rng = generator(self._seed, "copy-paste", step, place)
            happens, other = rng.random() < self._cfg.prob, int(rng.integers(len(self._source)))
            if happens:
                image, label = self._source.read(other, step, place)
                pasted = np.isin(label, classes)
                images[i][:, pasted], labels[i][pasted] = image[:, pasted], label[pasted]
        return images, labels
