"""``unimatch``: FixMatch with two strong views and perturbed features (CVPR 2023, https://arxiv.org/abs/2208.09910).

Beside what two strong views learn from the weak one, the weak view's own features, with whole channels dropped, have to
say the same. Shapes: B images of each kind, H x W crop.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mindspore import Tensor, ops

from semiseg.methods.base import Objective
from semiseg.methods.context import StepBatch
from semiseg.methods.fixmatch import FixMatch, pixels_in, rows_of
from semiseg.methods.sampling import dropout_masks
from semiseg.models.interpolate import resize


class UniMatchInputs(NamedTuple):
    """FixMatch's inputs, of two strong views (V = 2), and the perturbation of the weak view's features."""

    image_l: Tensor  # B x 3 x H x W float32
    label_l: Tensor  # B x H x W int32
    image_u: Tensor  # B x 3 x H x W float32, the weak view
    image_s: Tensor  # VB x 3 x H x W float32
    inside_u: Tensor  # B x H x W bool
    inside_s: Tensor  # VB x H x W bool
    box: Tensor  # VB x H x W bool
    partner_label: Tensor  # B x H x W int32
    partner_score: Tensor  # B x H x W float32
    dropout: tuple[Tensor, ...]  # for each layer (4B + VB) x channels x 1 x 1 float32: the decoder sees 2B maps twice
    channels: tuple[Tensor, ...]  # of the first and the last map, 2B x channels x 1 x 1: 0 or 1 / (1 - probability)


class UniMatch(FixMatch):
    """The method of UniMatch's tables."""

    name = "unimatch"
    strong_views = 2
    decoded_twice = 2

    def semi_inputs(self, step: int, batch: StepBatch) -> NamedTuple:
        first, *_, last = self.student.encoder.out_planes
        seed, share = self.context.trainer.seed, self._cfg.feature_dropout
        channels = dropout_masks(seed, step, batch.slice, (first, last), share, kinds=2, purpose="feature dropout")
        return UniMatchInputs(**super().semi_inputs(step, batch)._asdict(), channels=channels)

    def semi_objective(self) -> Objective:
        cfg, unsup = self._cfg, self.context.trainer.unsupervised.loss_weight
        strong = 0.5 * unsup * cfg.strong_loss_weight / self.strong_views
        weights = {
            "sup": 0.5,
            "unsup_1": strong,
            "unsup_2": strong,
            "unsup_feature": 0.5 * unsup * cfg.feature_loss_weight,
        }
        return Objective(self.unimatch_function, weights | {"mask_ratio": 0.0}, self.unimatch_counts)

    def unimatch_function(self, inputs: Mapping[str, Any]) -> tuple[tuple, tuple]:
        """Fields of ``UniMatchInputs`` -> ((sup, unsup_1, unsup_2, unsup_feature, mask ratio), ())."""
        batch, size = inputs["label_l"].shape[0], inputs["image_u"].shape[2:]
        weak = ops.concat((inputs["image_l"], inputs["image_u"]), 0)
        pred, perturbed, aux = self.student.perturbed(
            weak, inputs["channels"], rows_of(inputs["dropout"], 0, 4 * batch)
        )
        sup = self.supervised_loss(pred[:batch], None if aux is None else aux[:batch], inputs["label_l"])
        label, score = self.weak_targets(pred[batch:], inputs)
        strong = self.strong_logits(inputs, 4 * batch)
        feature = self.confident_loss(resize(perturbed[batch:], size), label, score, inputs["inside_u"])
        views = (self.view_loss(strong, label, score, inputs, 0), self.view_loss(strong, label, score, inputs, 1))
        return (sup, *views, feature, self.mask_ratio(score, inputs)), ()

    def unimatch_counts(self, inputs: UniMatchInputs) -> dict[str, Tensor]:
        """Pixels that the terms are means over."""
        images, weak = inputs.inside_u.shape[0], pixels_in(inputs.inside_u)
        views = {"unsup_1": pixels_in(inputs.inside_s[:images]), "unsup_2": pixels_in(inputs.inside_s[images:])}
        return self.supervised_counts(inputs) | views | {"unsup_feature": weak, "mask_ratio": weak}
