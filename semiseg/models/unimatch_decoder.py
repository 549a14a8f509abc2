"""The lighter DeepLabv3+ decoder of UniMatch (https://arxiv.org/abs/2208.09910): DeepLabv3+ as its paper has it.

Beside U2PL's: 48 low-level channels, a 1x1 projection of the pyramid, a one-layer classifier, no biases before
BatchNorm and no dropout. Names of cells are UniMatch's. Shapes: B batch, h x w the low-level map, P inner planes.
"""

from mindspore import Tensor, nn, ops

from semiseg.config.keys import DecoderKwargs
from semiseg.models.deeplabv3plus import conv_norm, pooling_branch
from semiseg.models.encoder import Norm
from semiseg.models.interpolate import resize
from semiseg.models.layers import Conv3x3
from semiseg.models.precision import Conv2d, as_float32, as_like

_LOW_PLANES = 48


class _Pooling(nn.Cell):
    """``pooling_branch``, and back to the map's size."""

    def __init__(self, in_planes: int, kwargs: DecoderKwargs, norm: Norm):
        super().__init__()
        self.gap = pooling_branch(in_planes, kwargs.inner_planes, norm, kwargs.pool_norm)

    def construct(self, x: Tensor) -> Tensor:
        return resize(self.gap(x), x.shape[2:])


class ProjectedASPP(nn.Cell):
    """Atrous spatial pyramid pooling whose branches are brought back to P channels: b0 is 1x1, the last one pools."""

    def __init__(self, in_planes: int, kwargs: DecoderKwargs, norm: Norm):
        super().__init__()
        planes = kwargs.inner_planes
        convolutions = [conv_norm(in_planes, planes, dilation, norm) for dilation in (0, *kwargs.dilations)]
        branches = [*convolutions, _Pooling(in_planes, kwargs, norm)]
        for index, branch in enumerate(branches):
            setattr(self, f"b{index}", branch)
        self.branches = [getattr(self, f"b{index}") for index in range(len(branches))]
        self.project = conv_norm(len(branches) * planes, planes, 0, norm)

    def construct(self, x: Tensor) -> Tensor:
        parts = ()
        for branch in self.branches[:-1]:
            parts = (*parts, branch(x))
        parts = (*parts, as_like(self.branches[-1](as_float32(x)), parts[0]))  # a float16 sum over a map could overflow
        return self.project(ops.concat(parts, 1))


class UniMatchDecoder(nn.Cell):
    """``dec_unimatch``: encoder maps -> (B x C x h x w logits, B x P x h x w feature)."""

    dropout_planes = ()
    rep_planes = 0  # no representation head

    def __init__(self, low_planes: int, high_planes: int, num_classes: int, kwargs: DecoderKwargs, norm: Norm):
        super().__init__()
        planes = kwargs.inner_planes
        self.head = ProjectedASPP(high_planes, kwargs, norm)
        self.reduce = conv_norm(low_planes, _LOW_PLANES, 0, norm)
        self.fuse = nn.SequentialCell(
            *(Conv3x3(planes + _LOW_PLANES, planes), norm(planes), nn.ReLU()),
            *(Conv3x3(planes, planes), norm(planes), nn.ReLU()),
        )
        self.classifier = Conv2d(planes, num_classes, 1, bias=True)
        self.out_planes = planes

    def construct(self, low: Tensor, high: Tensor, masks: tuple | None = None) -> tuple[Tensor, Tensor]:
        feature = self.feature(low, high)
        return as_float32(self.classifier(feature)), as_float32(feature)

    def feature(self, low: Tensor, high: Tensor, masks: tuple | None = None) -> Tensor:
        """What the classifier reads: encoder maps -> B x P x h x w."""
        return self.fuse(ops.concat((self.reduce(low), resize(self.head(high), low.shape[2:])), 1))
