"""The teacher: an exponential moving average (EMA) of the student, its BatchNorm statistics, the labels it gives."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, float32, jit, ops

from semiseg.common.errors import ConfigError
from semiseg.common.platform import assign
from semiseg.methods.base import Evaluated, Method
from semiseg.methods.context import RunContext
from semiseg.methods.pseudo_labels import PseudoLabels, blanked, labels_and_scores
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize
from semiseg.models.layers import average_statistics

# Over all parameters at once: a loop would be unrolled beyond the depth that a compiled ResNet-101 may have.
_each = ops.HyperMap()
_average = ops.MultitypeFuncGraph("average")


@_average.register("Tensor", "Tensor", "Tensor")
def _averaged(decay: Tensor, teacher: Parameter, student: Parameter) -> Tensor:
    return assign(teacher, student + decay * (teacher - student))


def ema_decay(iteration: int, limit: float) -> float:
    """min(1 - 1 / (iteration + 1), limit): the first update (iteration 0) copies the student."""
    return min(1 - 1 / (iteration + 1), limit)


class ExponentialMovingAverage:
    """teacher <- decay * teacher + (1 - decay) * student, for weights and (by default) BatchNorm statistics alike.

    The prototypes are not averaged: both networks hold the same ones, kept by the method.
    """

    def __init__(
        self, student: SegmentationNetwork, teacher: SegmentationNetwork, statistics: bool = True, compiled: bool = True
    ):
        self._pairs: list[tuple[Parameter, Parameter]] = [
            (old, new)
            for (name, old), new in zip(teacher.parameters_and_names(), student.get_parameters(), strict=True)
            if not name.startswith("proto_net.")
        ]
        averaged = [pair for pair in self._pairs if statistics or pair[1].requires_grad]
        self._teacher, self._student = (ParameterTuple(side) for side in zip(*averaged, strict=True))
        self._update = jit(self._all_averaged) if compiled else self._all_averaged

    def update(self, decay: float) -> None:
        """One averaging step."""
        self._update(Tensor(decay, float32))

    def copy(self) -> None:
        """Makes the teacher equal to the student, statistics included."""
        for teacher, student in self._pairs:
            assign(teacher, student.value())

    def copy_statistics(self) -> None:
        """Makes the teacher's BatchNorm statistics those of the student."""
        for teacher, student in self._pairs:
            if not student.requires_grad:
                assign(teacher, student.value())

    def _all_averaged(self, decay: Tensor) -> tuple:
        return _each(ops.partial(_average, decay), self._teacher, self._student)


class Teacher:
    """The teacher network and all that changes it.

    ``trainer.teacher_bn`` decides where its BatchNorm statistics come from: ``ema`` averages the student's; with
    ``forward`` they are those of the teacher's own forward passes in training mode, which a method makes inside
    ``running``. ``labels_images``: it does more than to be scored.
    """

    def __init__(self, student: SegmentationNetwork, context: RunContext, labels_images: bool):
        self.network = context.new_network()
        for name, parameter in self.network.parameters_and_names():
            parameter.name = f"teacher.{name}"  # one graph may hold both networks
            parameter.requires_grad = False
        self.network.set_train(False)
        trainer = context.trainer
        self.by_forward = trainer.teacher_bn == "forward"
        if self.by_forward and not labels_images:
            raise ConfigError("trainer.teacher_bn: forward needs a method with a teacher that labels; take ema")
        self.restarts = labels_images and trainer.teacher_start == "semi_phase"
        self._context = context
        self._ema = ExponentialMovingAverage(student, self.network, not self.by_forward, trainer.jit)
        self._ema.copy()

    def enter_semi_phase(self) -> None:
        """Where ``teacher_start`` says so the teacher begins here, as a copy of the student."""
        if self.restarts:
            self._ema.copy()
        elif self.by_forward:
            self._ema.copy_statistics()  # none were taken yet: the teacher's own forwards begin with this step

    @contextlib.contextmanager
    def running(self, training: bool) -> Iterator[SegmentationNetwork]:
        """The network, inside in training mode if ``training``: BatchNorm by the batch, and its statistics follow."""
        self.network.set_train(training)
        yield self.network
        self.network.set_train(False)

    def update(self, step: int) -> None:
        """The average takes in the student as it is after ``step``."""
        start = self._context.first_semi_step if self.restarts else 0
        if step >= start:
            self._ema.update(ema_decay(step - start, self._context.net.ema_decay))

    def share_statistics(self) -> None:
        """Brings statistics of own forward passes to their mean over the devices."""
        if self.by_forward:
            average_statistics(self.network, self._context.group, self._context.net.sync_bn)


class TeacherLabels:
    """What the teacher says of images; ``training``: with BatchNorm in training mode, where teacher_bn is forward;
    ``soft``: with the probability of each class.
    """

    def __init__(self, teacher: Teacher, context: RunContext, training: bool = False, soft: bool = False):
        self._teacher, self._rule, self._soft = teacher, context.trainer.unsupervised.rule, soft
        self._training = training and teacher.by_forward
        self._label = jit(self._label_pixels) if context.trainer.jit else self._label_pixels

    def __call__(self, images: np.ndarray | Tensor, inside: np.ndarray | None = None) -> PseudoLabels:
        """Images (B x 3 x H x W) with the teacher's label and score of each pixel.

        ``inside``: bool B x H x W; pixels where it is False have no label.
        """
        image = images if isinstance(images, Tensor) else Tensor(images)
        with self._teacher.running(self._training):
            label, score, *probability = self._label(image)
        return PseudoLabels(image, blanked(label, inside), score, probability=probability[0] if self._soft else None)

    def _label_pixels(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = resize(self._teacher.network.logits(image), image.shape[2:])
        labels = labels_and_scores(logits, self._rule)
        return (*labels, ops.softmax(logits, 1)) if self._soft else labels


class WithTeacher(Method):
    """A method whose student has a teacher, which is what is scored."""

    teacher_labels_images = False  # else it is the average of the student's weights and no more

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.teacher = Teacher(self.student, context, self.teacher_labels_images)

    @property
    def networks(self) -> dict[str, SegmentationNetwork]:
        return self.optimized | {"teacher": self.teacher.network}

    def after_update(self, step: int, parts: Sequence[NamedTuple], sums: tuple) -> dict[str, Tensor]:
        self.teacher.update(step)
        return super().after_update(step, parts, sums)

    def evaluated(self, step: int) -> Evaluated:
        return Evaluated(self.teacher.network, "teacher")
