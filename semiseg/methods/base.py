"""The contract between a method and the training loop, and supervised learning, which every method begins with.

What happens at a step::

    enter_step                   work at a change of phase
    inputs                       draws and pseudo-labels of a micro-batch: a NamedTuple of tensors, no gradient
    objective                    from the inputs to weighted terms of the loss (differentiated), and sums for later
    (the optimizer)
    after_update                 prototypes, teacher, memory bank
    evaluated, state             what is scored, and what a checkpoint holds

The loop calls these; it also asks for ``semi_phase``, ``networks`` and ``optimized``, and the monitor for
``pseudo_labels``. A step may be made in micro-batches, on several devices too: a method sees one at
a time in ``inputs`` and ``objective``, and ``after_update`` gets the sums over the whole batch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from mindspore import Parameter, Tensor

from semiseg.common.errors import ConfigError
from semiseg.common.host_array import HostArray
from semiseg.common.platform import numpy_of
from semiseg.config.keys import TrainerConfig
from semiseg.losses import cross_entropy, is_class, ohem_cross_entropy, pixel_weights
from semiseg.methods.class_balance import class_weights
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.sampling import dropout_masks
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize


class Objective(NamedTuple):
    """What is differentiated at a step.

    function: the fields of the inputs by name -> (terms, sums), two tuples of tensors. Terms are scalars, means over
        the micro-batch; sums are summed over micro-batches and devices for ``after_update``. It is given a dict: that
        is the only form with names that a compiled function takes without being compiled anew for each value.
    weights: name of each term, in order -> its weight in the loss; 0: only reported.
    counts: inputs -> how many pixels a term is a mean over, by name, so that micro-batches make up exactly the mean
        over the whole batch. Terms that are not named count each micro-batch alike: those of fixed size, and those
        whose pixels are chosen within a micro-batch (OHEM, rule entropy), as the published code averages over devices.
    sums: the NamedTuple that ``after_update`` gets them in; None where there are none.
    """

    function: Callable[[Mapping[str, Any]], tuple[tuple, tuple]]
    weights: dict[str, float]
    counts: Callable[[Any], dict[str, Tensor]]
    sums: Callable[..., tuple] | None = None


class Evaluated(NamedTuple):
    """The network that is scored, and whether its prototype head, where there is one, means anything yet. ``role``: of
    the network among the names of ``Method.state``.
    """

    network: SegmentationNetwork
    role: Literal["student", "teacher"] = "student"
    proto_ready: bool = True


class SupervisedInputs(NamedTuple):
    """Labelled images alone."""

    image_l: Tensor  # B x 3 x H x W float32
    label_l: Tensor  # B x H x W int32
    dropout: tuple[Tensor, ...]  # for each layer B x channels x 1 x 1 float32


class Method:
    """Base of every method: a student that learns from labelled images. Shapes: B images of each kind, H x W crop."""

    uses_unlabeled = False
    strong_views = 0  # how many strong views of each unlabelled image it takes, where these are configured

    def __init__(self, context: RunContext):
        self.context = context
        self.student = context.new_network().set_train(True)
        self.class_weights = _class_weights(context)

    # What the loop calls.

    def enter_step(self, step: int) -> list[str]:
        """Called before each step, for work at a change of phase. Returns lines for the log."""
        if step > 0 or self.class_weights is None:
            return []
        shown = ", ".join(f"{weight:.2f}" for weight in numpy_of(self.class_weights))
        return [f"weights of the classes (criterion.class_balance): {shown}"]

    def inputs(self, step: int, batch: StepBatch) -> NamedTuple:
        """The inputs of ``objective(step)`` for a micro-batch. Names of fields that are images begin with ``image``."""
        return self.semi_inputs(step, batch) if self.semi_phase(step) else self.supervised_inputs(step, batch)

    def objective(self, step: int) -> Objective:
        """What is differentiated at this step. The function is compiled once: it must not depend on the step."""
        return self.semi_objective() if self.semi_phase(step) else self.supervised_objective()

    def after_update(self, step: int, parts: Sequence[NamedTuple], sums: tuple) -> dict[str, Tensor]:
        """What follows the optimizer. Returns arrays to be logged, by name (``proto_counts``: pixels a prototype).

        Args:
            parts: the inputs of each micro-batch of this device. sums: the objective's, over the whole batch.
        """
        return {}

    def evaluated(self, step: int) -> Evaluated:
        """What is scored and saved as best after ``step`` steps."""
        return Evaluated(self.student)

    def state(self) -> dict[str, Parameter | HostArray]:
        """Everything that lives between steps, by name. Each device may have its own of a value (``per_device``)."""
        return {
            f"{role}.{name}": parameter
            for role, network in self.networks.items()
            for name, parameter in network.parameters_and_names()
        }

    # What others may ask.

    @property
    def optimized(self) -> dict[str, SegmentationNetwork]:
        """The networks that the optimizer trains, by role; the first one's momenta have no role in their names."""
        return {"student": self.student}

    @property
    def networks(self) -> dict[str, SegmentationNetwork]:
        """All networks, by role. Weights to start from (net.encoder.pretrained) go into each."""
        return self.optimized

    def semi_phase(self, step: int) -> bool:
        """Whether unlabelled images take part at this step."""
        return self.uses_unlabeled and step >= self.context.first_semi_step

    def pseudo_labels(
        self, step: int, images: Tensor, inside: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor] | None:
        """What unlabelled images (B x 3 x H x W) would be taken for at ``step``: labels int32 and whether they would
        count, 0 or 1, both B x H x W; None where there are no pseudo-labels. For measuring and drawing alone.

        ``inside``: bool B x H x W, False in padding that is no image.
        """
        return None

    @classmethod
    def kinds_in_smallest_pass(cls, trainer: TrainerConfig) -> int:
        """Images of the smallest forward pass in training mode, in steps with unlabelled images, as a multiple of
        dataset.batch_size.
        """
        return 1

    # What methods are made of.

    def supervised_inputs(self, step: int, batch: StepBatch) -> SupervisedInputs:
        """The labelled images as they are."""
        labeled = batch.labeled
        return SupervisedInputs(Tensor(labeled.images), Tensor(labeled.labels), self.dropout(step, batch))

    def supervised_objective(self) -> Objective:
        """The criterion on labelled images."""
        return Objective(self.supervised_function, {"sup": 1.0}, self.supervised_counts)

    def semi_inputs(self, step: int, batch: StepBatch) -> NamedTuple:
        """Inputs once unlabelled images take part."""
        raise NotImplementedError

    def semi_objective(self) -> Objective:
        """The objective once unlabelled images take part."""
        raise NotImplementedError

    def supervised_function(self, inputs: Mapping[str, Any]) -> tuple[tuple, tuple]:
        """Fields of ``SupervisedInputs`` -> ((sup,), ())."""
        pred, _, aux = self.student.forward(inputs["image_l"], inputs["dropout"])
        return (self.supervised_loss(pred, aux, inputs["label_l"]),), ()

    def supervised_counts(self, inputs: Any) -> dict[str, Tensor]:
        """Pixels of the term ``sup``, or their weights; none for OHEM, which chooses them within a micro-batch."""
        if self.context.criterion.type == "ohem":
            return {}
        return {"sup": self.labelled_pixels(inputs.label_l, self.class_weights)}

    def supervised_loss(self, pred: Tensor, aux: Tensor | None, label: Tensor) -> Tensor:
        """The criterion on the logits at label size, plus the weighted auxiliary head."""
        size = label.shape[1:]
        loss = self._criterion(resize(pred, size), label)
        if aux is not None:
            loss = loss + self.context.net.aux_loss.loss_weight * self._criterion(resize(aux, size), label)
        return loss

    def labelled_pixels(self, label: Tensor, class_weights: Tensor | None) -> Tensor:
        """What a cross entropy over labels divides by: how many are classes, weighted by ``class_weights`` (C)."""
        valid = is_class(label, self.context.net.num_classes).astype("float32")
        return (valid * pixel_weights(label, class_weights)).sum()

    def dropout(self, step: int, batch: StepBatch, kinds: int = 1) -> tuple[Tensor, ...]:
        """Dropout masks of the student; ``kinds``: 2 where as many unlabelled images follow the labelled ones."""
        context = self.context
        planes, probability = self.student.dropout_planes, context.net.decoder.kwargs.dropout
        return dropout_masks(context.trainer.seed, step, batch.slice, planes, probability, kinds)

    def refuse_proto_head(self, name: str) -> None:
        """Raises ConfigError where a prototype head is configured that method ``name`` would leave untrained."""
        if self.context.net.proto_head:
            raise ConfigError(f"net.proto_head: method {name} does not train a prototype head; set it to null")

    def _criterion(self, logits: Tensor, label: Tensor) -> Tensor:
        if self.context.criterion.type == "ohem":
            kwargs = self.context.criterion.kwargs
            return ohem_cross_entropy(logits, label, kwargs.thresh, kwargs.min_kept)
        return cross_entropy(logits, label, self.class_weights)


def _class_weights(context: RunContext) -> Tensor | None:
    """Of the labelled images; None where all classes weigh alike, or OHEM chooses pixels in place of weights."""
    if context.criterion.type == "ohem" or context.criterion.class_balance == 0:
        return None
    masks = (mask for _, mask in context.images.labeled())
    return Tensor(class_weights(masks, context.net.num_classes, context.criterion.class_balance))
