"""State of a method that lives in main memory as numpy: too large, or too irregular in use, for a device tensor."""

import numpy as np
from mindspore import Tensor


class HostArray:
    """A named numpy array that a checkpoint saves and restores like a ``Parameter``. ``array`` is the live array."""

    def __init__(self, name: str, array: np.ndarray):
        if array.dtype not in (np.float32, np.int32):
            raise ValueError(f"{name}: a checkpoint holds float32 and int32, got {array.dtype}")
        self.name, self.array = name, array

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
        self.array[...] = value.asnumpy()
