"""The teacher as an exponential moving average of the student."""

from mindspore import Parameter, ParameterTuple, Tensor, float32, jit, ops

from semiseg.models import SegmentationNetwork

_assign = ops.Assign()
# Over all parameters at once: a loop would be unrolled beyond the depth that a compiled ResNet-101 may have.
_each = ops.HyperMap()
_average = ops.MultitypeFuncGraph("average")


@_average.register("Tensor", "Tensor", "Tensor")
def _averaged(decay: Tensor, teacher: Parameter, student: Parameter) -> Tensor:
    return _assign(teacher, student + decay * (teacher - student))


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
            _assign(teacher, student.value())

    def copy_statistics(self) -> None:
        """Makes the teacher's BatchNorm statistics those of the student."""
        for teacher, student in self._pairs:
            if not student.requires_grad:
                _assign(teacher, student.value())

    def _all_averaged(self, decay: Tensor) -> tuple:
        return _each(ops.partial(_average, decay), self._teacher, self._student)
