"""Layers that MindSpore has in a form that is too slow, too large or not there on every device.

``Conv3x3`` makes the sums of nn.Conv2d with less work and memory; ``StemPool`` and ``ImagePool`` are poolings in
operators that every device has; ``SyncBatchNorm2d`` is BatchNorm over the images of all devices. Shapes: B images, C
channels, H x W pixels.
"""

from collections.abc import Callable
from functools import partial

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.ops.operations.array_ops import Col2Im

from semiseg.common.distributed import Group
from semiseg.common.platform import assign, kept_mean, max_pool, permuted
from semiseg.models.precision import Conv2d, as_float32, as_like

_RATE = 1 - 0.9  # at which BatchNorm's running statistics follow, nn.BatchNorm2d's default
STATISTICS = ("moving_mean", "moving_variance")  # how the names of BatchNorm's running statistics end


class Conv3x3(Conv2d):
    """A 3x3 convolution without bias whose padding equals its dilation: B x in x H x W -> B x planes x H' x W'.

    Two things set it apart, both of which only change the order of the additions:

    - Weights that no pixel of the map ever meets, because the dilation is not less than its side, are left out: ASPP's
      rate of 24 on a map of 21 x 21 is a 1x1 convolution.
    - In training on CPU a convolution of many channels to few is made as one product with all nine weights, whose
      results are then moved and added. MindSpore's kernel lays out nine copies of the input instead, for each thread,
      and every layer of a compiled graph keeps that memory, forward and backward.
    """

    def __init__(self, in_planes: int, planes: int, stride: int = 1, dilation: int = 1):
        super().__init__(in_planes, planes, 3, stride, padding=dilation, dilation=dilation)
        self._rate = dilation
        self.equal_padding = False  # weights are left out in both directions or in none; ``inference.export`` wants it
        many_to_few = in_planes >= max(4 * planes, 1024)  # smaller ones keep little
        self._by_products = stride == 1 and many_to_few and ms.get_context("device_target") == "CPU"
        self._scatter = Col2Im([3, 3], [dilation, dilation], [dilation, dilation], [1, 1])

    def convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = self._rate >= height, self._rate >= width
        if self.equal_padding and rows != columns:
            rows = columns = False
        if rows or columns:
            return self._without(x, weight, int(rows), int(columns))
        if self.training and self._by_products:
            return self._summed_products(x, weight)
        return self.conv2d(x, weight)

    def _without(self, x: Tensor, weight: Tensor, rows: int, columns: int) -> Tensor:
        """With the middle row or the middle column of the weights alone, or both."""
        weight = weight[:, :, rows : 3 - rows, columns : 3 - columns]
        padding = (self._rate * (1 - rows), self._rate * (1 - columns))
        return ops.conv2d(x, weight, None, self.stride, "pad", padding, self._rate)

    def _summed_products(self, x: Tensor, weight: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        planes = weight.shape[0]
        # The sum scatters: what weight t has made at q goes to q + (t - 1) * rate. A convolution gathers, so backwards.
        weight = permuted(weight.reshape(planes, channels, 9), (0, 2, 1)).flip((1,))
        products = ops.conv2d(x, weight.reshape(9 * planes, channels, 1, 1))
        products = as_float32(products.reshape(batch, planes, 9, height * width))
        return as_like(self._scatter(products, Tensor((height, width), ms.int32)), x)


class StemPool(nn.Cell):
    """nn.MaxPool2d(3, 2, padding=1, ceil_mode) of a map that is nowhere negative, as ReLU leaves it: B x C x H x W.

    With its own padding that layer compiles to a three-dimensional pooling, which Ascend runs on its CPU cores. For odd
    sides, ``same`` padding is the same one; for an even side zeros are put around the map, and not by ops.pad, whose
    gradient is wrong in a compiled function.
    """

    def __init__(self, ceil_mode: bool):
        super().__init__()
        self.same = max_pool("same")
        self.valid = max_pool("valid")
        self._after_even = 2 if ceil_mode else 0  # zeros below or right of an even side

    def construct(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height % 2 and width % 2:
            return self.same(x)
        return self.valid(self._surrounded(self._surrounded(x, 2), 3))

    def _surrounded(self, x: Tensor, axis: int) -> Tensor:
        """With a row of zeros before the map and as many behind it as the last window needs."""
        outer, inner = x.shape[:axis], x.shape[axis + 1 :]
        after = 1 if x.shape[axis] % 2 else self._after_even
        parts = (ops.zeros((*outer, 1, *inner), x.dtype), x)
        if after > 0:
            parts = (*parts, ops.zeros((*outer, after, *inner), x.dtype))
        return ops.concat(parts, axis)


class ImagePool(nn.Cell):
    """The mean over the whole map: B x C x H x W -> B x C x 1 x 1. Ascend has no kernel of its own for
    nn.AdaptiveAvgPool2d((1, 1)).
    """

    def construct(self, x: Tensor) -> Tensor:
        return kept_mean(x, (2, 3))


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d in training over ``world`` devices that hold equally many pixels; the same parameters and names.

    In evaluation it is nn.BatchNorm2d. The running variance is unbiased, as there. MindSpore's own SyncBatchNorm cannot
    train on CPU. This one is written over AllReduce, whose gradient is AllReduce again, so that mean and variance carry
    their gradients across devices.
    """

    def __init__(self, planes: int, world: int, eps: float = 1e-5):
        super().__init__(planes, eps=eps)
        self._world, self._rate = world, _RATE
        self._sum = ops.AllReduce()

    def construct(self, x: Tensor) -> Tensor:
        """B x C x H x W -> the same, normalised."""
        if not self.training:
            return super().construct(x)
        given, x = x, as_float32(x)
        count = x.size // x.shape[1] * self._world
        mean = self._sum(x.sum((0, 2, 3))) / count
        centred = x - mean.reshape(1, -1, 1, 1)  # two passes: E[x^2] - E[x]^2 would cancel
        variance = self._sum((centred * centred).sum((0, 2, 3))) / count
        self._follow(ops.stop_gradient(mean), ops.stop_gradient(variance) * (count / max(count - 1, 1)))
        scale = self.gamma / ops.sqrt(variance + self.eps)
        return as_like(centred * scale.reshape(1, -1, 1, 1) + self.beta.reshape(1, -1, 1, 1), given)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assign(self.moving_mean, self.moving_mean + self._rate * (mean - self.moving_mean))
        assign(self.moving_variance, self.moving_variance + self._rate * (variance - self.moving_variance))


def synchronised_norm(world: int) -> Callable[..., nn.Cell]:
    """BatchNorm over ``world`` devices, made of a channel count: MindSpore's own where it is documented to train.

    That is Ascend alone; ours keeps three maps a layer where it keeps one.
    """
    if ms.get_context("device_target") == "Ascend":
        return nn.SyncBatchNorm
    return partial(SyncBatchNorm2d, world=world)


def frozen_norm(planes: int, **options: float) -> nn.Cell:
    """BatchNorm that normalises with its running statistics in training as well, and leaves them as they are."""
    return nn.BatchNorm2d(planes, use_batch_statistics=False, **options)


def average_statistics(network: nn.Cell, group: Group, synchronised: bool) -> None:
    """Brings BatchNorm's running statistics to their mean over the devices.

    Nothing is to be done for one device, and where ``synchronised`` layers (net.sync_bn) hold the same ones anyway.
    """
    if group.world == 1 or synchronised:
        return
    own = [p for p in network.get_parameters() if p.name.endswith(STATISTICS)]
    for parameter, total in zip(own, group.tensors(tuple(p.value() for p in own)), strict=True):
        assign(parameter, total / group.world)
