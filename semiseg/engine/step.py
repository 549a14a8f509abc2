"""One optimisation step of any method: prepare, differentiate, update. Compiled or not by one flag."""

from collections.abc import Callable
from dataclasses import dataclass

import mindspore as ms
import numpy as np

from semiseg.engine.optim import SGD, poly
from semiseg.errors import UserError
from semiseg.methods import Method
from semiseg.methods.base import TrainBatch


class NonFiniteLossError(UserError):
    """The loss or its gradient is NaN or infinite; no weight was updated."""


@dataclass(frozen=True)
class StepResult:
    """The loss, its named terms and the encoder's learning rate of one step."""

    loss: float
    terms: dict[str, float]
    lr: float


class TrainStep:
    """Runs a method's step n; the result depends on n, the batches and the method's state only."""

    def __init__(self, method: Method, optimizer: SGD):
        self._method, self._optimizer = method, optimizer
        self._gradients: dict[str, Callable] = {}

    def __call__(self, step: int, labeled: TrainBatch, unlabeled: TrainBatch | None) -> StepResult:
        """One update.

        Raises:
            NonFiniteLossError: before anything is changed, naming the step and the terms.
        """
        method, settings = self._method, self._method.settings
        inputs = method.prepare(step, labeled, unlabeled)
        objective, names = method.objective(step)
        (loss, (terms, changes)), gradients = self._gradient(objective)(*inputs)
        values = np.array([float(value) for value in (loss, *terms)])
        named = dict(zip(names, values[1:].tolist(), strict=True))
        if not (np.isfinite(values).all() and self._optimizer.all_finite(gradients)):
            shown = ", ".join(f"{name} {value:g}" for name, value in named.items())
            raise NonFiniteLossError(
                f"step {step}: the loss or its gradient is not finite ({shown}); last.ckpt stands. Lower "
                f"trainer.optimizer.kwargs.lr, or look at these images: {', '.join(self._ids(labeled, unlabeled))}"
            )
        lr = self._optimizer(gradients, poly(step, settings.steps, settings.trainer.lr_scheduler.kwargs.power))
        method.after_update(step, inputs, changes)
        return StepResult(float(values[0]), named, lr)

    def _gradient(self, objective: Callable) -> Callable:
        name = objective.__name__
        if name not in self._gradients:
            function = ms.value_and_grad(objective, None, self._optimizer.weights, has_aux=True)
            self._gradients[name] = ms.jit(function) if self._method.settings.trainer.jit else function
        return self._gradients[name]

    @staticmethod
    def _ids(*batches: TrainBatch | None) -> list[str]:
        return [str(item) for batch in batches if batch is not None for item in batch.ids]
