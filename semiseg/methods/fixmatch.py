"""``fixmatch``: weak-to-strong consistency with CutMix, the baseline of UniMatch (https://arxiv.org/abs/2208.09910).

One network learns to say of a strong view of an unlabelled image what it says, with confidence, of the weak one. A box
of another image is pasted into the strong view, and what the network says of that one in evaluation mode is pasted into
the target. There is no teacher; the average of the weights is scored (``net.ema_decay: 0`` scores the network itself,
as published). Shapes: B images of each kind, V strong views of each, H x W crop, C classes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from mindspore import Tensor, jit, ops

from semiseg.common.errors import ConfigError
from semiseg.common.rng import generator
from semiseg.config.keys import TrainerConfig, WeakToStrongConfig
from semiseg.data.loaders import Batch
from semiseg.losses import confident_cross_entropy, pixel_weights
from semiseg.methods.base import Objective
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.mixing import box_masks
from semiseg.methods.pseudo_labels import BLANK, PseudoLabels, blanked, labels_and_scores
from semiseg.methods.teacher import WithTeacher
from semiseg.models.interpolate import resize

_BOX_TRIES = 1000  # a box that config.rules lets pass fits within a few


class WeakToStrongInputs(NamedTuple):
    """Labelled images, unlabelled ones as they are, and their strong views with what was pasted into them.

    Strong views stand one after the other: view v of image b is row v * B + b.
    """

    image_l: Tensor  # B x 3 x H x W float32
    label_l: Tensor  # B x H x W int32
    image_u: Tensor  # B x 3 x H x W float32, the weak view
    image_s: Tensor  # VB x 3 x H x W float32
    inside_u: Tensor  # B x H x W bool, False in the padding of the weak view
    inside_s: Tensor  # VB x H x W bool, False in the padding of the strong views and of what was pasted
    box: Tensor  # VB x H x W bool, True where the partner was pasted
    partner_label: Tensor  # B x H x W int32
    partner_score: Tensor  # B x H x W float32, its confidence
    dropout: tuple[Tensor, ...]  # for each layer (2B [4B: see unimatch] + VB) x channels x 1 x 1 float32


class FixMatch(WithTeacher):
    """The method with one strong view, and the base of the one with two."""

    name = "fixmatch"
    uses_unlabeled = True
    strong_views = 1
    decoded_twice = 1  # how often the decoder sees labelled images and weak views: dropout masks for each time

    def __init__(self, context: RunContext):
        cfg, trainer = context.trainer.weak_to_strong, context.trainer
        if not context.strong:
            raise ConfigError(f"dataset.train.strong: method {self.name} needs strong views; {{}} gives FixMatch's")
        if context.batch_size == 1 and cfg.partner == "other_image":
            raise ConfigError(
                "trainer.weak_to_strong.partner: other_image needs a second unlabelled image in each micro-batch, and "
                "dataset.batch_size is 1; take partner=same_image (published) or a larger batch"
            )
        super().__init__(context)
        self.refuse_proto_head(self.name)
        self._cfg = cfg
        self._label = jit(self._said_of) if trainer.jit else self._said_of

    def semi_inputs(self, step: int, batch: StepBatch) -> NamedTuple:
        unlabeled, views = batch.unlabeled, self.strong_views
        partner = unlabeled.again if self._cfg.partner == "same_image" else _rolled(unlabeled)
        boxes = self._boxes(step, batch)  # V x B x H x W
        strong, pasted = (x.strong[:, :views].swapaxes(0, 1) for x in (unlabeled, partner))  # V x B x ..
        inside, inside_pasted = (_inside(x) for x in (unlabeled, partner))
        said = self._said_in_evaluation(Tensor(partner.images))
        return WeakToStrongInputs(
            image_l=Tensor(batch.labeled.images),
            label_l=Tensor(batch.labeled.labels),
            image_u=Tensor(unlabeled.images),
            image_s=Tensor(_joined(np.where(boxes[:, :, None], pasted, strong))),
            inside_u=Tensor(inside),
            inside_s=Tensor(_joined(np.where(boxes, inside_pasted, inside))),
            box=Tensor(_joined(boxes)),
            partner_label=said.label,
            partner_score=said.score,
            dropout=self.dropout(step, batch, kinds=2 * self.decoded_twice + views),
        )

    def semi_objective(self) -> Objective:
        weights = {"sup": 0.5, "unsup": 0.5 * self.context.trainer.unsupervised.loss_weight, "mask_ratio": 0.0}
        return Objective(self.consistency_function, weights, self.consistency_counts)

    def consistency_function(self, inputs: Mapping[str, Any]) -> tuple[tuple, tuple]:
        """Fields of ``WeakToStrongInputs`` -> ((sup, unsup, mask ratio), ())."""
        batch = inputs["label_l"].shape[0]
        weak = ops.concat((inputs["image_l"], inputs["image_u"]), 0)
        pred, _, aux = self.student.forward(weak, rows_of(inputs["dropout"], 0, 2 * batch))
        sup = self.supervised_loss(pred[:batch], None if aux is None else aux[:batch], inputs["label_l"])
        label, score = self.weak_targets(pred[batch:], inputs)
        strong = self.strong_logits(inputs, 2 * batch)
        return (sup, self.view_loss(strong, label, score, inputs, 0), self.mask_ratio(score, inputs)), ()

    def consistency_counts(self, inputs: WeakToStrongInputs) -> dict[str, Tensor]:
        """Pixels that the terms are means over."""
        return self.supervised_counts(inputs) | {
            "unsup": pixels_in(inputs.inside_s),
            "mask_ratio": pixels_in(inputs.inside_u),
        }

    def pseudo_labels(
        self, step: int, images: Tensor, inside: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor] | None:
        if not self.semi_phase(step):
            return None
        said = self._said_in_evaluation(images)
        label = blanked(said.label, inside)
        confident = said.score >= self.context.trainer.unsupervised.confid_thresh
        return label, (confident & (label != BLANK)).astype("float32")

    @classmethod
    def kinds_in_smallest_pass(cls, trainer: TrainerConfig) -> int:
        return min(2, cls.strong_views)

    # What is shared with unimatch; all inside the compiled step.

    def weak_targets(self, pred: Tensor, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Labels and confidences (B x H x W) that the training-mode logits of the weak views give, without gradient."""
        logits = resize(ops.stop_gradient(pred), inputs["image_u"].shape[2:])
        return labels_and_scores(logits, "confidence")

    def strong_logits(self, inputs: Mapping[str, Any], before: int) -> Tensor:
        """VB x C x H x W, in a forward pass of their own; their dropout masks begin behind ``before`` rows."""
        views = inputs["image_s"]
        pred, _, _ = self.student.forward(views, rows_of(inputs["dropout"], before, before + views.shape[0]))
        return resize(pred, views.shape[2:])

    def view_loss(self, logits: Tensor, label: Tensor, score: Tensor, inputs: Mapping[str, Any], view: int) -> Tensor:
        """Of one strong view: cross entropy with what the weak view and, in the box, the partner say."""
        batch = label.shape[0]
        rows = slice(view * batch, (view + 1) * batch)
        box, inside = inputs["box"][rows], inputs["inside_s"][rows]
        label = ops.where(box, inputs["partner_label"], label)
        score = ops.where(box, inputs["partner_score"], score)
        return self.confident_loss(logits[rows], label, score, inside)

    def confident_loss(self, logits: Tensor, label: Tensor, score: Tensor, inside: Tensor) -> Tensor:
        """Cross entropy of the confident pixels, summed, over the number of all pixels that are not padding.

        Weights of classes are 1 in the mean over labelled pixels and are left out below: which labels there will be is
        not known when micro-batches are counted.
        """
        label = ops.where(inside, label, BLANK)
        confident = (score >= self.context.trainer.unsupervised.confid_thresh).astype("float32")
        return confident_cross_entropy(logits, label, confident * pixel_weights(label, self.class_weights))

    def mask_ratio(self, score: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """The share of the weak views' pixels that are confident, padding left out."""
        inside = inputs["inside_u"].astype("float32")
        confident = (score >= self.context.trainer.unsupervised.confid_thresh).astype("float32") * inside
        return confident.sum() / ops.maximum(inside.sum(), 1.0)

    def _boxes(self, step: int, batch: StepBatch) -> np.ndarray:
        """bool V x B x H x W, True inside the box of each strong view; none where the coin says so."""
        height, width = batch.unlabeled.images.shape[2:]
        boxes = [
            [self._box(step, view, batch.slice.first + place, height, width) for place in range(batch.slice.count)]
            for view in range(self.strong_views)
        ]
        masks = box_masks(np.array(boxes, np.int32).reshape(-1, 4), height, width)
        return masks.reshape(self.strong_views, -1, height, width)

    def _box(self, step: int, view: int, place: int, height: int, width: int) -> tuple[int, int, int, int]:
        rng = generator(self.context.trainer.seed, "strong box", step, view, place)
        return strong_box(height, width, self._cfg, rng)

    def _said_in_evaluation(self, images: Tensor) -> PseudoLabels:
        """What the network says in evaluation mode."""
        self.student.set_train(False)
        label, score = self._label(images)
        self.student.set_train(True)
        return PseudoLabels(images, label, score)

    def _said_of(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return labels_and_scores(resize(self.student.logits(images), images.shape[2:]), "confidence")


def strong_box(height: int, width: int, cfg: WeakToStrongConfig, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the box that is pasted into a strong view, as UniMatch draws it; zeros for none.

    The share of the crop's area is drawn once, ratio and place anew until the box lies inside.
    """
    if rng.random() >= cfg.box_prob:
        return 0, 0, 0, 0
    area = rng.uniform(*cfg.box_area) * height * width
    for _ in range(_BOX_TRIES):
        ratio = rng.uniform(*cfg.box_ratio)
        tall, wide = int(np.sqrt(area * ratio)), int(np.sqrt(area / ratio))
        left, top = int(rng.integers(width)), int(rng.integers(height))
        if top + tall <= height and left + wide <= width:
            return top, left, tall, wide
    return 0, 0, 0, 0


def _rolled(batch: Batch) -> Batch:
    """Each image's partner: the next one (cyclic)."""
    images, strong, inside = (
        None if x is None else np.roll(x, -1, 0) for x in (batch.images, batch.strong, batch.inside)
    )
    return batch._replace(images=images, strong=strong, inside=inside)


def _inside(batch: Batch) -> np.ndarray:
    """bool B x H x W, True everywhere where padding counts as image."""
    return np.ones(batch.images[:, 0].shape, bool) if batch.inside is None else batch.inside


def _joined(views: np.ndarray) -> np.ndarray:
    """V x B x ... -> VB x ..."""
    return views.reshape(-1, *views.shape[2:])


def rows_of(masks: tuple[Tensor, ...], start: int, stop: int) -> list[Tensor]:
    """The dropout masks of some of the images."""
    return [mask[start:stop] for mask in masks]


def pixels_in(inside: Tensor) -> Tensor:
    """How many pixels are no padding."""
    return inside.astype("float32").sum()
