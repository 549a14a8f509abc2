"""Training images by index, augmented: for methods that choose some images themselves, beside the streams."""

from collections.abc import Sequence

from semiseg.common.rng import generator
from semiseg.data.dataset import SegmentationDataset, first_readable, from_index
from semiseg.data.transforms import Crop, TrainTransform


class ImageSource:
    """Any sample of a data set at any time; what augmentation draws depends on the seed, purpose and keys alone.

    With ``skip`` a sample that cannot be read is replaced by the next one of the data set, and ``taken_skips`` tells.
    """

    def __init__(
        self, dataset: SegmentationDataset, transform: TrainTransform, seed: int, purpose: str, skip: bool = False
    ):
        self._dataset, self._transform, self._seed, self._purpose = dataset, transform, seed, purpose
        self._skip = skip
        self._skips: list[str] = []

    def __len__(self) -> int:
        return len(self._dataset)

    def indices_of(self, ids: Sequence[str]) -> list[int]:
        """Where the data set has these samples."""
        return self._dataset.ids.positions(ids)

    def read(self, index: int, *keys: int) -> Crop:
        """Sample ``index`` as training sees it; without a label where the data set is read without masks.

        Raises: DataError if a file is missing or damaged.
        """
        candidates = from_index(range(len(self)), index) if self._skip else [index]
        sample = first_readable(self._dataset, candidates)
        self._skips += sample.skipped
        return self._transform(sample.image, sample.mask, generator(self._seed, self._purpose, *keys))

    def taken_skips(self) -> list[str]:
        """One message, naming the file, for each sample replaced since the last call."""
        taken, self._skips = self._skips, []
        return taken
