"""AEL's samplers as parts that any semi-supervised method can use: adaptive CutMix and adaptive copy-paste.

Both draw classes by the confidence that the student has in them, which is remembered here. C classes.
"""

from typing import NamedTuple

from mindspore import Tensor, ops

from semiseg.common.errors import ConfigError
from semiseg.common.host_array import HostArray
from semiseg.common.platform import numpy_of
from semiseg.data.loaders import Batch
from semiseg.losses import class_confidences, pair_confidences
from semiseg.methods.ael.adaptive_cutmix import AdaptiveCutMix
from semiseg.methods.ael.banks import ConfidenceBank
from semiseg.methods.ael.copy_paste import CopyPaste
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.teacher import TeacherLabels
from semiseg.models.interpolate import resize


class ClassConfidences(NamedTuple):
    """The student's probability of the true class, over the labelled pixels of each class, or its means over pairs of
    images.
    """

    sums: Tensor  # C float32
    counts: Tensor  # C float32


class Equalizer:
    """What ``trainer.adaptive`` switches on: class confidences, ``mixer`` (None without cutmix), and copy-paste."""

    def __init__(self, context: RunContext, teacher_labels: TeacherLabels):
        cfg = context.trainer.adaptive
        if cfg.absent == "decay" and context.batch_size % 2:
            raise ConfigError(
                "trainer.adaptive.absent: decay takes labelled images by twos, and dataset.batch_size is "
                f"{context.batch_size}: make it even, or trainer.adaptive.absent=keep"
            )
        self._confidences = pair_confidences if cfg.absent == "decay" else class_confidences
        self.confidence = ConfidenceBank(context.net.num_classes, cfg.momentum)
        self.mixer = AdaptiveCutMix(context, teacher_labels, self.confidence) if cfg.cutmix else None
        self._copy_paste = CopyPaste(context, self.confidence) if cfg.copy_paste else None

    def paste(self, step: int, batch: StepBatch) -> Batch:
        """The labelled images, with pixels of badly learnt classes pasted if that is switched on."""
        return self._copy_paste(step, batch) if self._copy_paste else batch.labeled

    def labelled_confidences(self, pred: Tensor, label_l: Tensor) -> tuple[Tensor, Tensor]:
        """The fields of ``ClassConfidences`` from the student's logits (labelled images first); no gradient."""
        logits = resize(ops.stop_gradient(pred[: label_l.shape[0]]), label_l.shape[1:])
        return self._confidences(ops.softmax(logits, 1), label_l)

    def update(self, sums: ClassConfidences) -> None:
        """Takes in a step."""
        self.confidence.update(numpy_of(sums.sums), numpy_of(sums.counts))

    def state(self) -> dict[str, HostArray]:
        """The confidences. (The mixer's bank is the mixer's state.)"""
        return self.confidence.state()
