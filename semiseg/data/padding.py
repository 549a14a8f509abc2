"""How much of the training crops is padding: large crops of small images teach slowly, and nobody sees why."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from semiseg.common.files import open_file
from semiseg.config.keys import TrainDataConfig
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.transforms import draw_scale

_LOOKED_AT = 100  # images of each list; their headers alone are read
_SCALES = 50  # below 1, and as many above
_MUCH = 1 / 3


def sample_of(ids: Sequence[str]) -> list[str]:
    """Some ids, spread over the list: enough to know the sizes of its images."""
    return [ids[index] for index in np.linspace(0, len(ids) - 1, min(len(ids), _LOOKED_AT)).astype(int)]


def padding_note(parts: Iterable[SegmentationDataset], train: TrainDataConfig) -> list[str]:
    """A line with the share of padding if it is more than a third of the pixels of a training crop."""
    sizes = [size for part in parts for size in image_sizes(part)]
    share = padding_share(sizes, train.crop.size, train.rand_resize) if sizes else 0.0
    if share <= _MUCH:
        return []
    height, width = np.median(np.array(sizes), axis=0).astype(int)
    scale = f" at scale {train.rand_resize[0]:g} to {train.rand_resize[1]:g}" if train.rand_resize else ""
    return [
        f"{share:.0%} of the pixels of training crops are padding: dataset.train.crop.size is {train.crop.size[0]} x "
        f"{train.crop.size[1]} (height x width), the images are {height} x {width} (median){scale}; a smaller crop is "
        "faster and learns as much"
    ]


def padding_share(
    sizes: Iterable[tuple[int, int]], crop: tuple[int, int], rand_resize: tuple[float, float] | None
) -> float:
    """The mean share of padding in crops of images of these sizes (height, width), over the scales that are drawn."""
    middles = (np.arange(_SCALES) + 0.5) / _SCALES
    scales = [draw_scale(coin, along, rand_resize) for coin in (0, 0.5) for along in middles] if rand_resize else [1]
    sides = np.array(list(sizes))[:, None] * np.array(scales)[None, :, None]
    covered = np.minimum(1, sides / np.array(crop)).prod(axis=2)
    return float(1 - covered.mean())


def image_sizes(part: SegmentationDataset) -> list[tuple[int, int]]:
    """(height, width) of all images, as their headers have them. Files that cannot be read are left out: it is said
    elsewhere.
    """
    sizes = []
    for index in range(len(part)):
        try:
            with open_file(part.image_path(index)) as file, Image.open(file) as image:
                sizes.append(image.size[::-1])
        except Exception:  # whatever a damaged header makes Pillow raise
            continue
    return sizes
