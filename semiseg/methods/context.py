"""What a method is given: the run that it is part of, and a batch at each step."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from semiseg.common.distributed import ALONE, Group
from semiseg.config.keys import CriterionConfig, NetConfig, TrainerConfig
from semiseg.data.loaders import Batch
from semiseg.data.sources import ImageSource
from semiseg.methods.sampling import BatchSlice
from semiseg.models import SegmentationNetwork


class StepBatch(NamedTuple):
    """The images of a step, or a micro-batch of them: as many labelled as unlabelled ones."""

    labeled: Batch
    unlabeled: Batch | None  # None where the method learns from labelled images alone
    slice: BatchSlice  # which images of the step's whole batch these are


class TrainImages(Protocol):
    """The training images beside the streams, for methods that choose images themselves."""

    def labeled(self) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """(image H x W x 3 uint8, mask H x W uint8) of every labelled image, once, in order."""

    def source(
        self, kind: Literal["labeled", "unlabeled"], purpose: str, rand_resize: tuple[float, float] | None = None
    ) -> ImageSource:
        """Images by index, augmented as in training; ``purpose`` keys the draws, ``rand_resize`` is the range of the
        random scale where it is not training's.
        """


@dataclass(frozen=True)
class RunContext:
    """What a method may know of the run, and what it can ask for."""

    trainer: TrainerConfig
    criterion: CriterionConfig
    net: NetConfig
    batch_size: int  # labelled images of a micro-batch on this device, and as many unlabelled
    crop: tuple[int, int]  # height and width of a training image
    steps_per_epoch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    new_network: Callable[[], SegmentationNetwork]  # with the run's initial weights, the same at every call
    images: TrainImages
    mask_padding: bool = False  # pixels outside an image are none: no pseudo-label, no loss, no count
    strong: bool = False  # unlabelled images come with strong views
    group: Group = ALONE  # the devices that train together

    @property
    def parts(self) -> int:
        """Into how many micro-batches a step is divided, over all devices."""
        return self.group.world * self.trainer.accumulate

    def batch_slice(self, part: int) -> BatchSlice:
        """Which images of the whole batch this device's micro-batch ``part`` holds."""
        first = (part * self.group.world + self.group.rank) * self.batch_size
        return BatchSlice(first, self.batch_size, self.parts * self.batch_size)

    @property
    def first_semi_step(self) -> int:
        """The step at which unlabelled images come in."""
        return self.trainer.sup_only_epoch * self.steps_per_epoch

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return self.trainer.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """The epoch that a step belongs to, from 0."""
        return step // self.steps_per_epoch
