"""A mean teacher that labels and mixes, and what numpy makes of its labels."""

import numpy as np
from mindspore import Tensor
from tiny import CROP, batch_of, context_of

from semiseg.data.loaders import Batch
from semiseg.methods.context import StepBatch
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.methods.pseudo_labels import reliable_pixels
from semiseg.methods.sampling import BatchSlice
from semiseg.models.interpolate import resize


def softmax(logits):
    exact = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return exact / exact.sum(1, keepdims=True)


class MixingTeacher:
    """Teacher's labels and mixing as a method makes them."""

    def __init__(self, *overrides, batch=2):
        context = context_of(
            "net.proto_head=null", "trainer={sup_only_epoch: 0, unsupervised: {aug_prob: 1}}", *overrides, batch=batch
        )
        self.method, self.cfg = MeanTeacher(context), context.trainer.unsupervised
        self.state = self.method.mixer.state

    def __call__(self, step, images):
        size = len(images)
        batch = StepBatch(None, Batch(step, [], images, None), BatchSlice(0, size, size))
        return self.method.mixer(step, self.method.teacher_labels(images), batch)


def reliable(pseudo, teacher, percent=80):
    return reliable_pixels(pseudo.score, pseudo.label, teacher.cfg, percent).asnumpy()


def images(step=0, size=2):
    return batch_of(step, "unlabeled", size).images


def teacher_scores(teacher, x):
    """(label, softmax) of the teacher at full size."""
    logits = resize(teacher.method.teacher.network.logits(Tensor(x)), CROP).asnumpy()
    return logits.argmax(1), softmax(logits)
