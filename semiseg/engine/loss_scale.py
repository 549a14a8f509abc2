"""Dynamic loss scaling for mixed precision, and how a step that overflowed is undone.

Gradients that are smaller than float16 knows (6e-8) would become 0. So the loss is multiplied by a scale before the
gradient and the gradient divided by it after. A scale that is too large makes the gradient infinite: that step is
skipped and the scale halved; after ``GROW_AFTER`` good steps in a row it is doubled. All scales are powers of two:
multiplying and dividing by them loses no bit.
Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.
"""

import numpy as np
from mindspore import Parameter, Tensor, jit, ops

from semiseg.common.host_array import HostArray
from semiseg.common.platform import assign
from semiseg.methods import Method
from semiseg.models.layers import STATISTICS

START = 2.0**16
LARGEST = 2.0**24
SMALLEST = 1.0
GROW_AFTER = 2000  # good steps

_each = ops.HyperMap()  # a loop over a ResNet-101's statistics would be unrolled
_copied = ops.MultitypeFuncGraph("copied")


@_copied.register("Tensor", "Tensor")
def _copied_one(target: Parameter, value: Tensor) -> Tensor:
    return assign(target, value)


class LossScale:
    """The scale, the good steps since it last changed, and how many steps were skipped: state of the run.

    ``begin`` comes first in a step, ``succeed`` or ``skip`` last.
    """

    def __init__(self, method: Method):
        self._scale = HostArray("amp.scale", np.array([START], np.float32))
        self._good = HostArray("amp.good_steps", np.zeros(1, np.int32))
        self._skipped = HostArray("amp.skipped_steps", np.zeros(1, np.int32))
        self._undo = Undo(method)

    @property
    def value(self) -> float:
        """What the loss of the next step is multiplied by."""
        return float(self._scale.array[0])

    @property
    def skipped(self) -> int:
        """Steps skipped so far."""
        return int(self._skipped.array[0])

    @property
    def may_fall(self) -> bool:
        """Whether a step that is not finite may be so because of the scale alone."""
        return self.value > SMALLEST

    def begin(self) -> float:
        """Remembers what the step may have to put back; returns the scale."""
        self._undo.keep()
        return self.value

    def succeed(self) -> None:
        """Takes in a good step."""
        self._good.array[0] += 1
        if self._good.array[0] >= GROW_AFTER:
            self._scale.array[0] = min(2 * self.value, LARGEST)
            self._good.array[0] = 0

    def skip(self) -> None:
        """Puts everything back as it was at ``begin``, and halves the scale."""
        self._undo.restore()
        self._scale.array[0] = max(self.value / 2, SMALLEST)
        self._good.array[0] = 0
        self._skipped.array[0] += 1

    def state(self) -> dict[str, HostArray]:
        """By name, for the checkpoint."""
        return {item.name: item for item in (self._scale, self._good, self._skipped)}


class Undo:
    """Puts back what a step changes before it is known whether it counts.

    Forward passes move BatchNorm's running statistics, and a method's ``inputs`` may write to its banks and remember
    images. All else that the networks hold, and the momenta, change from the update on.
    """

    def __init__(self, method: Method):
        changing = {name: value for name, value in method.state().items() if name not in _fixed(method)}
        self._arrays = [value for value in changing.values() if isinstance(value, HostArray)]
        live = {name: value for name, value in changing.items() if not isinstance(value, HostArray)}
        self._live = tuple(live.values())
        self._kept = tuple(
            Parameter(ops.zeros_like(value), f"kept.{name}", requires_grad=False) for name, value in live.items()
        )
        compiled = jit if method.context.trainer.jit else lambda function: function
        self._save, self._load = compiled(self._live_to_kept), compiled(self._kept_to_live)

    def keep(self) -> None:
        """Remembers everything as it is."""
        self._save()
        for array in self._arrays:
            array.keep()

    def restore(self) -> None:
        """Puts everything back as it was at ``keep``."""
        self._load()
        for array in self._arrays:
            array.restore()

    def _live_to_kept(self) -> tuple:
        return _each(_copied, self._kept, self._live)

    def _kept_to_live(self) -> tuple:
        return _each(_copied, self._live, self._kept)


def _fixed(method: Method) -> set[str]:
    """Names in the method's state of what its networks hold, without the statistics that forward passes move."""
    return {
        f"{role}.{name}"
        for role, network in method.networks.items()
        for name, _ in network.parameters_and_names()
        if not name.endswith(STATISTICS)
    }
