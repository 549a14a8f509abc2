"""AEL's adaptive copy-paste: pixels of badly learnt classes of another labelled image, laid over a labelled image."""

import numpy as np

from semiseg.common.rng import generator
from semiseg.data.loaders import Batch
from semiseg.methods.ael.banks import ConfidenceBank
from semiseg.methods.context import RunContext, StepBatch


class CopyPaste:
    """Pixels of drawn classes of another labelled image replace those of a labelled image."""

    def __init__(self, context: RunContext, confidence: ConfidenceBank):
        self._cfg, self._seed = context.trainer.adaptive.copy_paste, context.trainer.seed
        self._confidence = confidence
        self._images = context.images.source("labeled", "pasted image", self._cfg.rand_resize)

    def __call__(self, step: int, batch: StepBatch) -> Batch:
        """The labelled images with what was pasted; the batch itself stays as it is."""
        probabilities = self._confidence.pasting_probabilities(self._cfg.leave_out)
        images, labels = batch.labeled.images.copy(), batch.labeled.labels.copy()
        inside = None if batch.labeled.inside is None else batch.labeled.inside.copy()
        for i in range(len(images)):
            place = batch.slice.first + i
            rng = generator(self._seed, "copy-paste", step, place)
            happens, other = rng.random() < self._cfg.prob, int(rng.integers(len(self._images)))
            if happens:
                crop = self._images.read(other, step, place)
                pasted = np.isin(crop.label, self._classes(step, place, probabilities))
                if crop.inside is not None:
                    pasted &= crop.inside
                    inside[i] |= pasted
                images[i][:, pasted], labels[i][pasted] = crop.image[:, pasted], crop.label[pasted]
        return batch.labeled._replace(images=images, labels=labels, inside=inside)

    def _classes(self, step: int, place: int, probabilities: np.ndarray) -> np.ndarray:
        """What is pasted on the image at ``place`` of the whole batch, and on its neighbour: a device of the published
        code draws once a step, for its two images.
        """
        rng = generator(self._seed, "copy-paste classes", step, place // 2)
        return rng.choice(len(probabilities), self._cfg.number, p=probabilities)
