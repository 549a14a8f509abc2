"""The contract between a method and the training loop, and what every method shares.

A step of the loop is: ``prepare`` (draws, pseudo-labels; no gradient) -> ``objective`` (traced by value_and_grad) ->
optimizer -> ``after_update`` (prototypes, teacher). Everything that lives between two steps is in ``state``; the
checkpoint saves exactly that, so a method never has to think of resuming.

A step may be made in parts: micro-batches on one device (``trainer.accumulate``), and as many on each other device. A
method sees one part at a time in ``prepare``, ``objective`` and ``counts``; what reaches the optimizer and
``after_update`` is of the whole batch, put together by ``engine.step``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mindspore import Parameter, Tensor, ops

from semiseg.common.distributed import ALONE, Group
from semiseg.common.errors import ConfigError
from semiseg.common.host_array import HostArray
from semiseg.config.keys import CriterionConfig, NetConfig, TrainerConfig
from semiseg.losses import cross_entropy, ohem_cross_entropy
from semiseg.methods.sampling import Rows, dropout_masks
from semiseg.methods.teacher import ExponentialMovingAverage, ema_decay
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize


class TrainBatch(Protocol):
    """What a stream yields: images float32 B x 3 x H x W, labels int32 B x H x W (None for unlabelled images)."""

    ids: Sequence[str]
    images: np.ndarray
    labels: np.ndarray | None


class ImageSource(Protocol):
    """Training images by index, augmented; ``keys`` and the run's seed decide what augmentation draws."""

    def __len__(self) -> int: ...

    def places(self, ids: Sequence[str]) -> list[int]:
        """The indices of the images that a batch names."""

    def read(self, index: int, *keys: int) -> tuple[np.ndarray, np.ndarray | None]:
        """(float32 3 x H x W, int32 H x W or None)."""


# (image H x W x 3 uint8, mask H x W uint8) of every labelled image, once, in order; for initialisation inside a run.
LabeledImages = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Settings:
    """What a method may know of the run."""

    trainer: TrainerConfig
    criterion: CriterionConfig
    net: NetConfig
    batch: int  # labelled images of a part (one micro-batch on this device), and as many unlabelled
    crop: tuple[int, int]  # height and width of a training image
    steps_per_epoch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    group: Group = ALONE  # the devices that train together

    @property
    def parts(self) -> int:
        """Into how many parts a step is divided, over devices and micro-batches."""
        return self.group.world * self.trainer.accumulate

    def rows(self, part: int) -> Rows:
        """Which images of the whole batch this device's micro-batch ``part`` holds."""
        first = (part * self.group.world + self.group.rank) * self.batch
        return Rows(first, self.batch, self.parts * self.batch)

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


class Method:
    """Base of every method: student, teacher by EMA, supervised objective."""

    uses_unlabeled = False

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        self.student, self.teacher, self.settings = student, teacher, settings
        for name, parameter in teacher.parameters_and_names():
            parameter.name = f"teacher.{name}"  # one graph may hold both networks
            parameter.requires_grad = False
        student.set_train(True)
        teacher.set_train(False)
        trainer = settings.trainer
        self._ema = ExponentialMovingAverage(student, teacher, trainer.teacher_bn == "ema", trainer.jit)
        if settings.trainer.teacher_bn == "forward" and not self.uses_unlabeled:
            raise ConfigError("trainer.teacher_bn: forward needs a method with a teacher; this one has ema only")
        together = settings.group.world if settings.net.sync_bn else 1
        if settings.batch * together == 1 and not self.semi_phase(0):
            raise ConfigError(
                "dataset.batch_size: expected at least 2 in steps of labelled images alone (BatchNorm has no variance "
                "over the one value that image pooling gives), got 1; take 2, or trainer.sup_only_epoch=0 where the "
                "method takes unlabelled images"
            )
        self._ema.copy()

    def semi_phase(self, step: int) -> bool:
        """Whether unlabelled images take part at this step."""
        return self.uses_unlabeled and step >= self.settings.first_semi_step

    def attach(self, unlabeled: ImageSource, pasted: ImageSource) -> None:
        """Gives methods that choose images themselves the unlabelled ones, and the labelled ones to paste from.

        Called once, before the first step and before ``state`` is asked for.
        """

    def enter_step(self, step: int, labeled_images: LabeledImages) -> list[str]:
        """Called before a step is prepared; for work at the change of phase. Returns lines for the log."""
        return []

    def prepare(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None, part: int = 0) -> tuple:
        """The inputs of ``objective(step)``: tensors, without gradient. ``part``: which micro-batch this is."""
        return Tensor(labeled.images), Tensor(labeled.labels), self._dropout(step, part)

    def objective(self, step: int) -> tuple[Callable, dict[str, float]]:
        """The function that is differentiated at this step, and the names of its terms with their weights in the loss.

        It takes what ``prepare`` gives and returns (terms, changes): scalars that are means over this part, the loss
        being their weighted sum (weight 0: only reported), and nested tuples of sums over this part for
        ``after_update``.
        """
        return self.supervised_objective, {"sup": 1.0}

    def counts(self, step: int, inputs: tuple) -> dict[str, Tensor]:
        """How many pixels each term is a mean over, so that parts make up exactly the mean over the whole batch.

        Terms that are not named count each part alike: those of fixed size, and those whose pixels the method chooses
        within a part (OHEM, rule entropy), which are averaged over the devices as the published code does.
        """
        return {} if self.settings.criterion.type == "ohem" else {"sup": self._labelled(inputs[1])}

    def supervised_objective(self, image_l: Tensor, label_l: Tensor, masks: tuple) -> tuple[tuple, tuple]:
        """(terms, changes) of labelled images alone."""
        pred, _, aux = self.student.forward(image_l, masks)
        return (self.supervised_loss(pred, aux, label_l),), ()

    def supervised_loss(self, pred: Tensor, aux: Tensor | None, label: Tensor) -> Tensor:
        """The criterion on the logits at label size, plus the weighted auxiliary head."""
        size = label.shape[1:]
        loss = self._criterion(resize(pred, size), label)
        if aux is not None:
            loss = loss + self.settings.net.aux_loss.loss_weight * self._criterion(resize(aux, size), label)
        return loss

    def _criterion(self, logits: Tensor, label: Tensor) -> Tensor:
        if self.settings.criterion.type == "ohem":
            kwargs = self.settings.criterion.kwargs
            return ohem_cross_entropy(logits, label, kwargs.thresh, kwargs.min_kept)
        return cross_entropy(logits, label)

    def after_update(self, step: int, parts: Sequence[tuple], changes: tuple) -> None:
        """What follows the optimizer: here the teacher.

        Args:
            parts: the inputs of each micro-batch of this device. changes: summed over all parts of the step.
        """
        start = self.settings.first_semi_step if self.settings.trainer.teacher_start == "semi_phase" else 0
        if self.uses_unlabeled and step < start:
            return
        iteration = step - start if self.uses_unlabeled else step
        self._ema.update(ema_decay(iteration, self.settings.net.ema_decay))

    def eval_network(self, step: int) -> SegmentationNetwork:
        """The network that is scored and saved as best after ``step`` steps."""
        return self.teacher

    def proto_ready(self, step: int) -> bool:
        """Whether the prototype head, where there is one, means anything after ``step`` steps."""
        return True

    def pseudo_labels(self, step: int, logits: Tensor) -> tuple[Tensor, Tensor] | None:
        """What teacher logits (B x C x H x W) would be taken for at ``step``: labels int32 and whether they would be
        used, 0 or 1, both B x H x W; None without pseudo-labels. For measuring and drawing alone.
        """
        return None

    def monitor(self) -> dict[str, np.ndarray]:
        """Arrays of the step just done for metrics.jsonl; asked at log points alone. ``proto_counts``: pixels of each
        prototype (C*K).
        """
        return {}

    def state(self) -> dict[str, Parameter | HostArray]:
        """Everything that lives between steps, by name."""
        state = {f"student.{name}": parameter for name, parameter in self.student.parameters_and_names()}
        return state | {f"teacher.{name}": parameter for name, parameter in self.teacher.parameters_and_names()}

    def own_state(self) -> set[str]:
        """The names in ``state`` that every device has for itself; everything else is the same on all."""
        return set()

    def _labelled(self, label: Tensor) -> Tensor:
        """How many of the labels are classes."""
        return ops.logical_and(label >= 0, label < self.settings.net.num_classes).astype("float32").sum()

    def _dropout(self, step: int, part: int, kinds: int = 1) -> tuple[Tensor, ...]:
        settings = self.settings
        planes, probability = self.student.dropout_planes, settings.net.decoder.kwargs.dropout
        return dropout_masks(settings.trainer.seed, step, settings.rows(part), planes, probability, kinds)
