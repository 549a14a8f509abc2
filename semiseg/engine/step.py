"""One optimisation step of any method: inputs, gradients, update. Compiled or not by one flag.

A step may come in parts: ``trainer.accumulate`` micro-batches on each device. Each part's terms are means over its own
pixels; with the weight that a part has among all pixels of a term they add up to the mean over the whole batch, and
gradients alike.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from semiseg.common.errors import UserError
from semiseg.common.host_array import HostArray
from semiseg.common.platform import numpy_of
from semiseg.common.tensors import joined
from semiseg.data.loaders import Batch
from semiseg.engine.loss_scale import LossScale
from semiseg.engine.micro_batches import MicroBatches
from semiseg.engine.optim import SGD, poly
from semiseg.methods import Method
from semiseg.methods.base import Objective
from semiseg.methods.context import StepBatch
from semiseg.models.layers import average_statistics
from semiseg.models.precision import set_precision
from semiseg.models.recompute import recompute_blocks


class NonFiniteLossError(UserError):
    """The loss or its gradient is NaN or infinite; no weight was updated."""


@dataclass(frozen=True)
class StepResult:
    """The loss and its named terms over the whole batch, the encoder's learning rate, how many images the student saw
    on this device, and the arrays that the method wants logged. With mixed precision: the loss scale of the next step,
    whether this one overflowed and changed nothing, and how many have so far.
    """

    loss: float
    terms: dict[str, float]
    lr: float
    images: int = 0
    measured: Mapping[str, Tensor] = field(default_factory=dict, compare=False)
    loss_scale: float | None = None
    overflow: bool = False
    overflows: int = 0


class TrainStep:
    """Runs a method's step n; the result depends on n, the batches and the method's state only."""

    def __init__(self, method: Method, optimizer: SGD):
        self._method, self._optimizer, self._context = method, optimizer, method.context
        self._group = method.context.group
        self._gradients: dict[str, Callable] = {}
        for network in method.networks.values():  # before anything is compiled
            set_precision(network, method.context.trainer.amp)
        if method.context.trainer.recompute:
            for network in method.optimized.values():
                recompute_blocks(network)
        self._scale = LossScale(method) if method.context.trainer.amp != "off" else None

    def state(self) -> dict[str, HostArray]:
        """What lives between steps beside the method's and the optimizer's: the loss scale of mixed precision."""
        return self._scale.state() if self._scale else {}

    @property
    def overflows(self) -> int:
        """Steps that mixed precision has left out so far."""
        return self._scale.skipped if self._scale else 0

    def __call__(self, step: int, labeled: Batch, unlabeled: Batch | None) -> StepResult:
        """One update. The batches hold all micro-batches of this device, one after the other.

        Raises:
            NonFiniteLossError: before anything is changed, naming the step, the terms and the images. With mixed
                precision the step is skipped instead, as long as the scale of the loss can fall.
        """
        method, context = self._method, self._context
        scale = self._scale.begin() if self._scale else None
        objective = method.objective(step)
        parts, weights = self._inputs(step, objective, self._micro_batches(labeled, unlabeled))
        gradient = self._gradient(objective)
        names, images = tuple(objective.weights), 0
        reports, added = [], None
        for inputs, part_weights in zip(parts, weights, strict=True):
            scaled = part_weights if scale is None else part_weights * np.float32(scale)
            (_, (report, sums)), gradients = gradient(Tensor(scaled), ms.mutable(inputs._asdict()))
            reports.append(report)
            added = (gradients, sums) if added is None else _map(lambda a, b: a + b, added, (gradients, sums))
            images += _images(inputs)
        gradients, sums = self._over_devices(added)
        sums = objective.sums(*sums) if objective.sums else sums
        values, finite = _read(reports, weights, self._optimizer.total(gradients))
        values[0] /= scale or 1
        total = self._group.total(values)
        named = dict(zip(names, total[1:].tolist(), strict=True))
        factor = poly(step, context.steps, context.trainer.lr_scheduler.kwargs.power)
        result = StepResult(float(total[0]), named, self._optimizer.rate(factor), images)
        if not (np.isfinite(total).all() and finite):
            if not (self._scale and self._scale.may_fall):
                self._refuse(step, named, bool(np.isfinite(values).all()), (labeled, unlabeled))
            self._scale.skip()
            return replace(result, overflow=True, loss_scale=self._scale.value, overflows=self.overflows)
        self._optimizer(gradients, factor, scale)
        for network in method.optimized.values():
            average_statistics(network, self._group, context.net.sync_bn)
        measured = method.after_update(step, parts, sums)
        result = replace(result, measured=measured)
        if self._scale is None:
            return result
        self._scale.succeed()
        return replace(result, loss_scale=self._scale.value, overflows=self.overflows)

    def _inputs(
        self, step: int, objective: Objective, batches: Iterable[StepBatch]
    ) -> tuple[Sequence[NamedTuple], np.ndarray]:
        """The method's inputs of each micro-batch, and what each counts in the mean (accumulate x terms, float32)."""
        divided = self._context.parts > 1
        parts, counts = MicroBatches(self._context.trainer.accumulate > 1), []
        for batch in batches:
            inputs = self._method.inputs(step, batch)
            counts.append(_counts(objective, inputs) if divided else {})
            parts.append(inputs)
        return parts, self._part_weights(objective, counts)

    def _micro_batches(self, labeled: Batch, unlabeled: Batch | None) -> list[StepBatch]:
        count = self._context.trainer.accumulate
        return [
            StepBatch(
                labeled.part(number, count),
                None if unlabeled is None else unlabeled.part(number, count),
                self._context.batch_slice(number),
            )
            for number in range(count)
        ]

    def _gradient(self, objective: Objective) -> Callable:
        """(part's weights, inputs by name) -> ((loss, (report, sums)), gradients), compiled once."""
        name = objective.function.__name__
        if name not in self._gradients:
            loss = weighted_loss(objective)
            function = ms.value_and_grad(loss, None, self._optimizer.weights, has_aux=True)
            self._gradients[name] = ms.jit(function) if self._context.trainer.jit else function
        return self._gradients[name]

    def _part_weights(self, objective: Objective, counts: Sequence[Mapping[str, float]]) -> np.ndarray:
        """accumulate x terms, float32: what each part of this device counts in the mean over all parts.

        ``counts``: pixels of each part by the name of the term; not read where there is one part alone.
        """
        names = objective.weights
        if self._context.parts == 1:
            return np.ones((1, len(names)), np.float32)
        pixels = np.array([[of_part.get(name, 1.0) for name in names] for of_part in counts])
        return (pixels / np.maximum(self._group.total(pixels.sum(0)), 1)).astype(np.float32)

    def _over_devices(self, tree: Any) -> Any:
        """Nested tuples of tensors, each summed over the devices."""
        flat: list[Tensor] = []
        _map(flat.append, tree)
        summed = iter(self._group.tensors(tuple(flat)))
        return _map(lambda _: next(summed), tree)

    def _refuse(self, step: int, terms: dict[str, float], finite_here: bool, batches: tuple) -> None:
        bad = [name for name, value in terms.items() if not np.isfinite(value)]
        ids = ", ".join(str(item) for batch in batches if batch is not None for item in batch.ids)
        seen = [text for text in self._group.texts("" if finite_here else ids) if text]
        images = ", ".join(seen or self._group.texts(ids))  # a gradient alone: it may come from any of them
        shown = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        amp = f"set trainer.amp=off (the loss scale is down to {self._scale.value:g}), " if self._scale else ""
        raise NonFiniteLossError(
            f"step {step}: {' and '.join(bad) or 'the gradient of the loss'} not finite ({shown}); no weight was "
            f"changed and last.ckpt stands. Lower trainer.optimizer.kwargs.lr, {amp}or look at these images: {images}"
        )


def weighted_loss(objective: Objective) -> Callable:
    """The loss of a part as value_and_grad takes it: (part's weights, inputs by name) -> (loss, (report, sums)).

    loss = sum of weight * part's weight * term; a term of weight 0 is only reported. ``report``: the loss and the
    terms, one after the other, so that the host reads all at once.
    """
    function, weights = objective.function, tuple(objective.weights.values())

    def loss_of(part_weights, inputs):
        terms, sums = function(inputs)
        loss = Tensor(0.0, ms.float32)
        for index in range(len(weights)):
            if weights[index] != 0:
                loss = loss + weights[index] * part_weights[index] * terms[index]
        return loss, (ops.stack((loss, *terms)), sums)

    return loss_of


def _counts(objective: Objective, inputs: NamedTuple) -> dict[str, float]:
    """How many pixels the terms that say so are means over, read at once."""
    counts = objective.counts(inputs)
    return dict(zip(counts, numpy_of(joined(counts.values())).tolist(), strict=True)) if counts else {}


def _read(reports: Sequence[Tensor], weights: np.ndarray, gradients: Tensor) -> tuple[np.ndarray, bool]:
    """Waits for the device, once a step.

    Args:
        reports: the loss and the terms of each part. weights: parts x terms. gradients: the sum of all numbers in them.

    Returns:
        The loss and the terms of this device's parts together, float64, and whether the gradients are finite.
    """
    *numbers, last = numpy_of(joined((*reports, gradients))).astype(np.float64)
    values = np.zeros(reports[0].size)
    for report, part_weights in zip(np.reshape(numbers, (len(reports), -1)), weights, strict=True):
        values += report * [1.0, *part_weights]
    return values, bool(np.isfinite(last))


def _map(function: Callable, *trees: Any) -> Any:
    """``function`` of the tensors at each place of equally nested tuples."""
    if not isinstance(trees[0], tuple):
        return function(*trees)
    return tuple(_map(function, *nodes) for nodes in zip(*trees, strict=True))


def _images(inputs: NamedTuple) -> int:
    """How many images a part's inputs hold."""
    return sum(len(value) for name, value in inputs._asdict().items() if name.startswith("image"))
