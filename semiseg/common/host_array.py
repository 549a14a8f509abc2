"""State of a method that lives in main memory as numpy: too large, or too irregular in use, for a device tensor."""

import numpy as np
from mindspore import Tensor

from semiseg.common.platform import numpy_of


class HostArray:
    """A named numpy array that a checkpoint saves and restores like a ``Parameter``. ``array`` is the live array.

    ``per_device``: every device has its own; what is not so marked is the same on all.
    """

    def __init__(self, name: str, array: np.ndarray, per_device: bool = False):
        if array.dtype not in (np.float32, np.int32):
            raise ValueError(f"{name}: a checkpoint holds float32 and int32, got {array.dtype}")
        self.name, self.array, self.per_device = name, array, per_device
        self._kept: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def asnumpy(self) -> np.ndarray:
        """The live array itself, not a copy."""
        return self.array

    def set_data(self, value: Tensor) -> None:
        """Takes over the values of a tensor of the same shape."""
        self.array[...] = numpy_of(value)

    def keep(self) -> None:
        """Remembers the values for ``restore``, in place of those of an earlier call."""
        self._kept = self.array.copy()

    def restore(self) -> None:
        """Puts the values of the last ``keep`` back."""
        self.array[...] = self._kept
