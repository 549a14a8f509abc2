"""AEL's samplers: which image, which box, what is mixed and remembered."""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import CROP, NEEDS, Source, Trainee, batch_of, context_of, same_arrays, step_batch

from semiseg.common.rng import generator
from semiseg.methods.ael.adaptive_cutmix import component_box
from semiseg.methods.ael.banks import ConfidenceBank
from semiseg.methods.ael.copy_paste import CopyPaste
from semiseg.methods.ael.method import AEL
from semiseg.methods.mixing import box_masks, cutmix_boxes
from semiseg.models.interpolate import resize

SEED = 5  # context_of's


class Mixing:
    """Teacher's labels and adaptive CutMix as a method makes them."""

    def __init__(self, *overrides):
        self.method = AEL(context_of(*NEEDS["ael"], "trainer.unsupervised.aug_prob=1", *overrides))
        self.state = self.method.mixer.state

    def __call__(self, step, batch):
        return self.method.mixer(
            step, self.method.teacher_labels(batch.images), step_batch(step)._replace(unlabeled=batch)
        )

    def predicted(self, images):
        return resize(self.method.teacher.network.logits(Tensor(images)), CROP).asnumpy().argmax(1)


def test_the_box_of_the_drawn_image_replaces_the_same_place():
    source, batch = Mixing(), batch_of(0, "unlabeled")
    mixed = source(4, batch)
    label = source.predicted(batch.images)
    for i in range(2):
        draws = generator(SEED, "adaptive cutmix", 4, i).random(2)
        class_id, partner = int(draws[0] * 3), int(draws[1] * 6)  # nothing learnt, nothing marked: both uniform
        other = Source("unlabeled").read(partner).image
        other_label = source.predicted(other[None])[0]
        rng = generator(SEED, "adaptive box", 4, i)
        box = component_box(other_label == class_id, 0.005 * other_label.size, rng)
        box = cutmix_boxes(1, *CROP, rng)[0] if box is None else box
        mask = box_masks(box[None], *CROP)[0]
        assert np.array_equal(mixed.image.asnumpy()[i], np.where(mask, other, batch.images[i]))
        assert np.array_equal(mixed.label.asnumpy()[i], np.where(mask, other_label, label[i]))
        marks = source.state()["adaptive.images"].array[:, [i, partner]]
        for column, prediction in zip(marks.T, (label[i], other_label), strict=True):
            areas = np.bincount(prediction.ravel(), minlength=3)
            assert column.tolist() == (areas >= 0.01 * prediction.size).astype(int).tolist()


def test_without_a_component_that_is_large_enough_the_box_has_half_the_area():
    source, batch = Mixing("trainer.adaptive.cutmix.area_thresh=1"), batch_of(0, "unlabeled")
    mixed = source(2, batch)
    for i in range(2):
        rng = generator(SEED, "adaptive box", 2, i)
        rng.random()
        mask = box_masks(cutmix_boxes(1, *CROP, rng), *CROP)[0]
        assert np.array_equal(mixed.image.asnumpy()[i][:, ~mask], batch.images[i][:, ~mask])
        assert not (mixed.image.asnumpy()[i][:, mask] == batch.images[i][:, mask]).any()


def test_mixing_happens_in_the_configured_share_of_steps():
    source, batch = Mixing("trainer.unsupervised.aug_prob=0"), batch_of(0, "unlabeled")
    assert np.array_equal(source(0, batch).image.asnumpy(), batch.images)
    assert source.state()["adaptive.images"].array.any()  # looked at and remembered all the same


def test_pasting_leaves_the_batch_itself_alone():
    context = context_of("trainer.adaptive={copy_paste: {prob: 1}}")
    paste, batch = CopyPaste(context, ConfidenceBank(3, 0.9)), step_batch(0)
    images, labels = batch.labeled.images.copy(), batch.labeled.labels.copy()
    pasted = paste(0, batch)
    assert np.array_equal(batch.labeled.images, images)
    assert np.array_equal(batch.labeled.labels, labels)
    assert not np.array_equal(pasted.images, images)
    assert not (pasted.labels != labels)[labels == pasted.labels].any()


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("ael", ["trainer.adaptive.cutmix=null"]),
        ("ael", ["trainer.adaptive.copy_paste=null", "trainer.adaptive.sample=false", "trainer.adaptive.gamma=0"]),
        ("ael", ["trainer.teacher_bn=forward"]),
        ("u2pl", ["trainer.adaptive={cutmix: {}, copy_paste: {}}"]),
        ("mean_teacher", ["net.proto_head=null", "trainer.adaptive={cutmix: {}, copy_paste: {}}"]),
        ("ours", ["trainer.adaptive={cutmix: {}, copy_paste: {}}"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_every_combination_trains_and_resumes(name, overrides):
    context = context_of(*NEEDS.get(name, []), "trainer.sup_only_epoch=0", *overrides)
    trainee, other = Trainee(name, context, seed=1), Trainee(name, context, seed=2)
    first = trainee.run(0, 2)
    assert all(np.isfinite(list(result.terms.values())).all() for result in first)
    saved = trainee.arrays()
    assert saved["adaptive.confidence"].any()
    assert ("adaptive.images" in saved) == ("trainer.adaptive.cutmix=null" not in overrides)
    for key, item in other.state.items():
        item.set_data(Tensor(saved[key]))
    trainee.run(2, 3)
    other.run(2, 3)
    assert same_arrays(other.arrays(), trainee.arrays())
    assert all(np.isfinite(array).all() for array in trainee.arrays().values())
