"""SGD with momentum and weight decay on two groups of parameters, and the learning-rate schedule."""

from collections.abc import Mapping

from mindspore import Parameter, Tensor, float32, jit, mutable, ops

from semiseg.config.keys import TrainerConfig
from semiseg.models import SegmentationNetwork


def poly(step: int, steps: int, power: float) -> float:
    """(1 - step / steps) ** power: the factor on the base rate at a step, from 1 down to 0 after the last."""
    return (1 - step / steps) ** power


class SGD:
    """v <- momentum * v + (g + weight_decay * p); p <- p - lr * v, as torch.optim.SGD, for every parameter alike.

    Encoders' parameters take the base rate, all others ``decoder_lr_times`` of it. The momenta are Parameters named
    after what they belong to, so that a checkpoint can hold them. The rate comes with each call: it is a function of
    the step, not state.

    Args:
        networks: by role; the first one's momenta are named without it.
    """

    def __init__(self, networks: Mapping[str, SegmentationNetwork], trainer: TrainerConfig):
        named = [
            (f"{role}." if index else "", name, parameter)
            for index, (role, network) in enumerate(networks.items())
            for name, parameter in network.parameters_and_names()
            if parameter.requires_grad
        ]
        self.weights = tuple(parameter for _, _, parameter in named)
        self.momenta = tuple(
            Parameter(ops.zeros_like(p), f"optimizer.{role}{name}", requires_grad=False) for role, name, p in named
        )
        self._in_encoder = tuple(name.startswith("encoder.") for _, name, _ in named)
        self._kwargs, self._times = trainer.optimizer.kwargs, trainer.optimizer.decoder_lr_times
        self._apply_momentum = ops.ApplyMomentum()
        self._step = jit(self._apply) if trainer.jit else self._apply
        self._sum = jit(self._summed) if trainer.jit else self._summed

    def __call__(self, gradients: tuple[Tensor, ...], factor: float, loss_scale: float | None = None) -> float:
        """One update with ``factor`` times the configured rates; gradients in the order of ``weights``.

        ``loss_scale``: the gradients are those of a loss multiplied by it. Returns the encoder's rate.
        """
        rate = self.rate(factor)
        rates = (Tensor(rate, float32), Tensor(rate * self._times, float32))
        unscale = () if loss_scale is None else (Tensor(1 / loss_scale, float32),)
        self._step(mutable(gradients), *rates, *unscale)
        return rate

    def rate(self, factor: float) -> float:
        """The encoder's rate at ``factor`` times the configured one."""
        return self._kwargs.lr * factor

    def total(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """The sum of all numbers in the gradients: finite unless one of them is NaN or infinite, or it overflows.

        The loss alone does not tell: on CPU the ReLU of NaN is 0.
        """
        return self._sum(mutable(gradients))

    def state(self) -> dict[str, Parameter]:
        """The momenta, by name."""
        return {parameter.name: parameter for parameter in self.momenta}

    def _summed(self, gradients: tuple) -> Tensor:
        total = gradients[0].sum()
        for i in range(1, len(self.weights)):
            total = total + gradients[i].sum()
        return total

    def _apply(
        self, gradients: tuple, encoder_rate: Tensor, other_rate: Tensor, unscale: Tensor | None = None
    ) -> Tensor:
        updated = encoder_rate
        decay, momentum = self._kwargs.weight_decay, self._kwargs.momentum
        for i in range(len(self.weights)):
            weight = self.weights[i]
            rate = encoder_rate if self._in_encoder[i] else other_rate
            gradient = gradients[i] if unscale is None else gradients[i] * unscale
            updated = self._apply_momentum(weight, self.momenta[i], rate, gradient + decay * weight, momentum)
        return updated  # a graph that returns nothing gets a node that runs on the host
