"""What the rest of the network asks of an encoder."""

from collections.abc import Callable
from typing import Protocol

from mindspore import Tensor, nn

# Makes the normalisation layer of a channel count; ``eps`` by name where it is not 1e-5.
Norm = Callable[..., nn.Cell]


class Encoder(Protocol):
    """A Cell: B x 3 x H x W -> four maps, the first at stride 4, the last at the output stride (8, 16 or 32).

    ``out_planes``: channels of the four maps.
    """

    out_planes: tuple[int, int, int, int]

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four maps."""

    def low_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the first map for an input of this size."""
