"""One optimisation step of any method: prepare, differentiate, update. Compiled or not by one flag.

A step may come in parts: ``trainer.accumulate`` micro-batches on each device. Each part's terms are means over its own
pixels; with the share that a part holds of all pixels of a term they add up to the mean over the whole batch, and
gradients alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from semiseg.common.errors import UserError
from semiseg.engine.optim import SGD, poly
from semiseg.methods import Method
from semiseg.methods.base import TrainBatch
from semiseg.models import SegmentationNetwork

_assign = ops.Assign()


class NonFiniteLossError(UserError):
    """The loss or its gradient is NaN or infinite; no weight was updated."""


@dataclass(frozen=True)
class StepResult:
    """The loss, its named terms and the encoder's learning rate of one step."""

    loss: float
    terms: dict[str, float]
    lr: float


class _Images(NamedTuple):
    """A part of a batch, as ``TrainBatch``."""

    ids: Sequence[str]
    images: np.ndarray
    labels: np.ndarray | None


class TrainStep:
    """Runs a method's step n; the result depends on n, the batches and the method's state only.

    The batches hold all micro-batches of this device, one after the other.
    """

    def __init__(self, method: Method, optimizer: SGD):
        self._method, self._optimizer = method, optimizer
        self._group = method.settings.group
        self._gradients: dict[str, Callable] = {}

    def __call__(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None) -> StepResult:
        """One update.

        Raises:
            NonFiniteLossError: before anything is changed, naming the step, the terms and the images.
        """
        method, settings = self._method, self._method.settings
        accumulate = settings.trainer.accumulate
        batches = zip(_divided(labeled, accumulate), _divided(unlabeled, accumulate), strict=True)
        parts = [method.prepare(step, *pair, part) for part, pair in enumerate(batches)]
        objective, weights = method.objective(step)
        gradient = self._gradient(objective, tuple(weights.values()))
        values, sums = np.zeros(1 + len(weights)), None
        for inputs, shares in zip(parts, self._shares(step, parts, tuple(weights)), strict=True):
            (loss, (terms, changes)), gradients = gradient(Tensor(shares), *inputs)
            values += [float(loss), *(float(term) * share for term, share in zip(terms, shares, strict=True))]
            sums = (gradients, changes) if sums is None else _added(sums, (gradients, changes))
        gradients, changes = _over_devices(self._group.tensors, sums)
        total = self._group.total(values)
        named = dict(zip(weights, total[1:].tolist(), strict=True))
        if not (np.isfinite(total).all() and self._optimizer.all_finite(gradients)):
            self._refuse(step, named, bool(np.isfinite(values).all()), (labeled, unlabeled))
        lr = self._optimizer(gradients, poly(step, settings.steps, settings.trainer.lr_scheduler.kwargs.power))
        self._average_statistics(method.student)
        method.after_update(step, parts, changes)
        if settings.trainer.teacher_bn == "forward":
            self._average_statistics(method.teacher)
        return StepResult(float(total[0]), named, lr)

    def _gradient(self, objective: Callable, weights: tuple[float, ...]) -> Callable:
        name = objective.__name__
        if name not in self._gradients:
            loss = weighted(objective, weights)
            function = ms.value_and_grad(loss, None, self._optimizer.weights, has_aux=True)
            self._gradients[name] = ms.jit(function) if self._method.settings.trainer.jit else function
        return self._gradients[name]

    def _shares(self, step: int, parts: list[tuple], names: tuple[str, ...]) -> np.ndarray:
        """accumulate x terms, float32: what each part of this device counts in the mean over all parts."""
        if self._method.settings.parts == 1:
            return np.ones((1, len(names)), np.float32)
        found = [self._method.counts(step, inputs) for inputs in parts]
        counts = np.array([[float(of.get(name, 1)) for name in names] for of in found])
        return (counts / np.maximum(self._group.total(counts.sum(0)), 1)).astype(np.float32)

    def _average_statistics(self, network: SegmentationNetwork) -> None:
        """Without net.sync_bn every device's BatchNorm has its own statistics: all go on with their mean."""
        if self._group.world == 1 or self._method.settings.net.sync_bn:
            return
        own = [p for p in network.get_parameters() if p.name.endswith(("moving_mean", "moving_variance"))]
        for parameter, total in zip(own, self._group.tensors(tuple(p.value() for p in own)), strict=True):
            _assign(parameter, total / self._group.world)

    def _refuse(self, step: int, terms: dict[str, float], finite_here: bool, batches: tuple) -> None:
        bad = [name for name, value in terms.items() if not np.isfinite(value)]
        ids = ", ".join(str(item) for batch in batches if batch is not None for item in batch.ids)
        seen = [text for text in self._group.texts("" if finite_here else ids) if text]
        images = ", ".join(seen or self._group.texts(ids))  # a gradient alone: it may come from any of them
        shown = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        raise NonFiniteLossError(
            f"step {step}: {' and '.join(bad) or 'the gradient of the loss'} not finite ({shown}); no weight was "
            "changed and last.ckpt stands. Lower trainer.optimizer.kwargs.lr, or look at these images: " + images
        )


def weighted(objective: Callable, weights: tuple[float, ...]) -> Callable:
    """The loss of a part as value_and_grad takes it: (shares, *inputs) -> (loss, (terms, changes)).

    loss = sum of weight * share * term; a term of weight 0 is only reported.
    """

    def loss_of(shares, *inputs):
        terms, changes = objective(*inputs)
        loss = Tensor(0.0, ms.float32)
        for index in range(len(weights)):
            if weights[index] != 0:
                loss = loss + weights[index] * shares[index] * terms[index]
        return loss, (terms, changes)

    return loss_of


def _divided(batch: TrainBatch | None, parts: int) -> Iterator[TrainBatch | None]:
    """The micro-batches of a device's batch."""
    if batch is None or parts == 1:
        yield from [batch] * parts
        return
    size = len(batch.images) // parts
    for start in range(0, parts * size, size):
        rows = slice(start, start + size)
        labels = None if batch.labels is None else batch.labels[rows]
        yield _Images(batch.ids[rows], batch.images[rows], labels)


def _added(first: Any, second: Any) -> Any:
    """The sum of two nested tuples of tensors."""
    if isinstance(first, tuple):
        return tuple(_added(a, b) for a, b in zip(first, second, strict=True))
    return first + second


def _over_devices(total: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]], tree: Any) -> Any:
    """``tree`` (nested tuples of tensors) with each tensor summed over the devices."""
    flat: list[Tensor] = []

    def take(node: Any) -> None:
        if isinstance(node, tuple):
            for item in node:
                take(item)
        else:
            flat.append(node)

    take(tree)
    summed = iter(total(tuple(flat)))

    def put(node: Any) -> Any:
        return tuple(put(item) for item in node) if isinstance(node, tuple) else next(summed)

    return put(tree)
