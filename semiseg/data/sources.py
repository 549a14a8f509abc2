"""Training images by index, augmented: for methods that choose some images themselves, beside the streams."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from semiseg.data.dataset import SegmentationDataset
from semiseg.data.transforms import TrainTransform
from semiseg.rng import generator


class ImageSource:
    """Any sample of a data set at any time; what augmentation draws depends on the seed, purpose and keys alone."""

    def __init__(self, dataset: SegmentationDataset, transform: TrainTransform, seed: int, purpose: str):
        self._dataset, self._transform, self._seed, self._purpose = dataset, transform, seed, purpose

    def __len__(self) -> int:
        return len(self._dataset)

    def places(self, ids: Sequence[str]) -> list[int]:
        """The indices of samples."""
        return [self._place_of[sample] for sample in ids]

    def read(self, index: int, *keys: int) -> tuple[np.ndarray, np.ndarray | None]:
        """(float32 3 x H x W, int32 H x W or None where the data set is read without masks).

        Raises: DataError if a file is missing or damaged.
        """
        image, mask = self._dataset.read(index)
        return self._transform(image, mask, generator(self._seed, self._purpose, *keys))

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {sample: index for index, sample in enumerate(self._dataset.ids)}
