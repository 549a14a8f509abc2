"""BatchNorm over the images of all devices: the statistics that one device with the whole batch would take.

MindSpore's own SyncBatchNorm cannot train on CPU. This one is written over AllReduce, whose gradient is AllReduce
again, so that mean and variance carry their gradients across devices. Shapes: B images, C channels, H x W pixels.
"""

from mindspore import Tensor, nn, ops


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d in training over ``world`` devices that hold equally many pixels; the same parameters and names.

    In evaluation it is nn.BatchNorm2d. The running variance is unbiased, as there.
    """

    def __init__(self, planes: int, world: int, momentum: float = 0.9):
        super().__init__(planes, momentum=momentum)
        self._world, self._rate = world, 1 - momentum
        self._sum = ops.AllReduce()

    def construct(self, x: Tensor) -> Tensor:
        """B x C x H x W -> the same, normalised."""
        if not self.training:
            return super().construct(x)
        count = x.size // x.shape[1] * self._world
        mean = self._sum(x.sum((0, 2, 3))) / count
        centred = x - mean.reshape(1, -1, 1, 1)  # two passes: E[x^2] - E[x]^2 would cancel
        variance = self._sum((centred * centred).sum((0, 2, 3))) / count
        self._follow(ops.stop_gradient(mean), ops.stop_gradient(variance) * (count / max(count - 1, 1)))
        scale = self.gamma / ops.sqrt(variance + self.eps)
        return centred * scale.reshape(1, -1, 1, 1) + self.beta.reshape(1, -1, 1, 1)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        ops.assign(self.moving_mean, self.moving_mean + self._rate * (mean - self.moving_mean))
        ops.assign(self.moving_variance, self.moving_variance + self._rate * (variance - self.moving_variance))
