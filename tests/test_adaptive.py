"""Adaptive CutMix as a labeler: which image, which box, what is mixed and remembered."""

import numpy as np
import pytest
from mindspore import Tensor
from tiny import CROP, NEEDS, Source, Trainee, batch_of, network_of, same_arrays, settings_of

from semiseg.common.rng import generator
from semiseg.methods.ael.adaptive import AdaptiveLabeler, CopyPaste
from semiseg.methods.ael.equalization import ConfidenceBank
from semiseg.methods.mixing import box_masks, component_box, cutmix_boxes
from semiseg.models.interpolate import resize

SEED = 5  # settings_of's


def labeler(*overrides):
    settings = settings_of(*NEEDS["ael"], "trainer.unsupervised.aug_prob=1", *overrides)
    found = AdaptiveLabeler(network_of(settings), settings.trainer, CROP, ConfidenceBank(3, 0.9))
    found.attach(Source("unlabeled"), 3)
    return found


def predicted(source, images):
    return resize(source._teacher.logits(Tensor(images)), CROP).asnumpy().argmax(1)


def test_the_box_of_the_drawn_image_replaces_the_same_place():
    source, batch = labeler(), batch_of(0, "unlabeled")
    found = source(4, batch.images, batch.ids)
    label = predicted(source, batch.images)
    for i in range(2):
        draws = generator(SEED, "adaptive cutmix", 4, i).random(2)
        class_id, partner = int(draws[0] * 3), int(draws[1] * 6)  # nothing learnt, nothing marked: both uniform
        other, _ = Source("unlabeled").read(partner)
        other_label = predicted(source, other[None])[0]
        rng = generator(SEED, "adaptive box", 4, i)
        box = component_box(other_label == class_id, 0.005 * other_label.size, rng)
        box = cutmix_boxes(1, *CROP, rng)[0] if box is None else box
        mask = box_masks(box[None], *CROP)[0]
        assert np.array_equal(found.image.asnumpy()[i], np.where(mask, other, batch.images[i]))
        assert np.array_equal(found.label.asnumpy()[i], np.where(mask, other_label, label[i]))
        marks = source.state()["adaptive.images"].array[:, [i, partner]]
        for column, prediction in zip(marks.T, (label[i], other_label), strict=True):
            areas = np.bincount(prediction.ravel(), minlength=3)
            assert column.tolist() == (areas >= 0.01 * prediction.size).astype(int).tolist()


def test_without_a_component_that_is_large_enough_the_box_has_half_the_area():
    source, batch = labeler("trainer.adaptive.cutmix.area_thresh=1"), batch_of(0, "unlabeled")
    found = source(2, batch.images, batch.ids)
    for i in range(2):
        rng = generator(SEED, "adaptive box", 2, i)
        rng.random()
        mask = box_masks(cutmix_boxes(1, *CROP, rng), *CROP)[0]
        assert np.array_equal(found.image.asnumpy()[i][:, ~mask], batch.images[i][:, ~mask])
        assert not (found.image.asnumpy()[i][:, mask] == batch.images[i][:, mask]).any()


def test_mixing_happens_in_the_configured_share_of_steps():
    source, batch = labeler("trainer.unsupervised.aug_prob=0"), batch_of(0, "unlabeled")
    assert np.array_equal(source(0, batch.images, batch.ids).image.asnumpy(), batch.images)
    assert source.state()["adaptive.images"].array.any()  # looked at and remembered all the same


def test_pasting_leaves_the_batch_itself_alone():
    cfg = settings_of("trainer.adaptive={copy_paste: {prob: 1}}").trainer.adaptive.copy_paste
    paste, batch = CopyPaste(cfg, ConfidenceBank(3, 0.9), 0), batch_of(0, "labeled")
    paste.attach(Source("labeled"))
    images, labels = batch.images.copy(), batch.labels.copy()
    pasted = paste(0, batch.images, batch.labels)
    assert np.array_equal(batch.images, images)
    assert np.array_equal(batch.labels, labels)
    assert not np.array_equal(pasted[0], images)
    assert not (pasted[1] != labels)[labels == pasted[1]].any()


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
    settings = settings_of(*NEEDS.get(name, []), "trainer.sup_only_epoch=0", *overrides)
    trainee, other = Trainee(name, settings, seed=1), Trainee(name, settings, seed=2)
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
