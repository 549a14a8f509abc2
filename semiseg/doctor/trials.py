"""Runs an operator forward and backward on the device of this process, and says how far two results are apart."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor

from semiseg.common.platform import numpy_of
from semiseg.doctor import references
from semiseg.doctor.operators import LABEL, Operator, Sizes, arrays

_ROUNDS = 3


@dataclass(frozen=True)
class Trial:
    """What came out: the result, its gradients by the inputs of floating-point numbers (of all results in one weighted
    sum, see ``weights_of``), and seconds of each, the median after a first time.
    """

    output: np.ndarray
    gradients: tuple[np.ndarray, ...]
    forward: float
    backward: float


class Apart(NamedTuple):
    """Largest relative difference of the results and of the gradients; None where nothing is differentiated."""

    forward: float
    backward: float | None


def run(operator: Operator, sizes: Sizes) -> Trial:
    """One operator, not compiled. Raises: whatever the device raises."""
    inputs = tuple(Tensor(array) for array in arrays(operator, sizes))
    function, weights = operator.run, None
    if operator.layer:
        function = operator.run(sizes)
        weights = tuple(function.trainable_params()) or None
        for parameter, value in zip(weights or (), inputs[1:], strict=True):
            parameter.set_data(value)
        inputs = inputs[:1]
    (output,), forward = _timed(lambda: (function(*inputs),))
    if not operator.gradient:
        return Trial(output, (), forward, 0.0)
    scale = Tensor(weights_of(output))
    places = (0,) if operator.layer else tuple(differentiable(operator, sizes))
    gradient = ms.grad(lambda *x: (function(*x) * scale).sum(), places, weights)
    gradients, backward = _timed(lambda: tuple(_flat(gradient(*inputs))))
    return Trial(output, gradients, forward, backward)


def _timed(work: Callable[[], tuple[Tensor, ...]]) -> tuple[tuple[np.ndarray, ...], float]:
    """The tensors as arrays, and the median seconds until they are there."""
    seconds, values = [], ()
    for _ in range(1 + _ROUNDS):
        before = time.perf_counter()
        values = tuple(numpy_of(tensor) for tensor in work())
        seconds.append(time.perf_counter() - before)
    return values, statistics.median(seconds[1:])


def _flat(tree: Any) -> list[Tensor]:
    return [leaf for node in tree for leaf in _flat(node)] if isinstance(tree, tuple) else [tree]


def differentiable(operator: Operator, sizes: Sizes) -> list[int]:
    """Which inputs have a gradient."""
    return [index for index, (_, kind, _) in enumerate(operator.inputs(sizes)) if kind != LABEL]


def weights_of(output: np.ndarray) -> np.ndarray:
    """float32 weights of the sum whose gradients are taken; the same for results of the same shape."""
    return np.random.default_rng(output.size).normal(0, 1, output.shape).astype(np.float32)


def against_numpy(operator: Operator, sizes: Sizes, trial: Trial) -> Apart:
    """The result beside numpy's in float64; the gradients along one random direction beside the slope of numpy's."""
    inputs = tuple(np.asarray(a, a.dtype if a.dtype.kind == "i" else np.float64) for a in arrays(operator, sizes))
    forward = relative(trial.output, operator.reference(*inputs))
    if not operator.gradient:
        return Apart(forward, None)
    weights = weights_of(trial.output).astype(np.float64)
    worst = 0.0
    for index, gradient in zip(differentiable(operator, sizes), trial.gradients, strict=True):
        along = np.random.default_rng(index).normal(0, 1, gradient.shape)
        expected = references.slope(operator.reference, inputs, index, along, weights)
        parts = gradient.astype(np.float64) * along
        scale = max(abs(expected), float(np.sqrt((parts**2).sum())), 1e-30)
        worst = max(worst, _number(abs(float(parts.sum()) - expected) / scale))
    return Apart(forward, worst)


def against(trial: Trial, other: Trial) -> Apart:
    """Two runs of one operator on two devices."""
    pairs = zip(trial.gradients, other.gradients, strict=True)
    backward = max((relative(ours, theirs) for ours, theirs in pairs), default=None)
    return Apart(relative(trial.output, other.output), backward)


def relative(value: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest expected size; infinite where shapes differ or a number is not finite."""
    if value.shape != expected.shape:
        return float("inf")
    difference = np.abs(value.astype(np.float64) - expected.astype(np.float64))
    return _number(float(difference.max(initial=0)) / max(float(np.abs(expected).max(initial=0)), 1e-30))


def _number(difference: float) -> float:
    return difference if np.isfinite(difference) else float("inf")
