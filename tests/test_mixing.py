"""CutMix, ClassMix and Cutout: the boxes against the rule in words, what is mixed, and with what."""

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor
from teaching import MixingTeacher, images, reliable, teacher_scores
from tiny import CROP, Trainee, batch_of, context_for, step_batch

from semiseg.common.rng import generator
from semiseg.methods.context import StepBatch
from semiseg.methods.mixing import box_masks, class_masks, cutmix_boxes, make_mixer
from semiseg.methods.pseudo_labels import BLANK, CUT, PseudoLabels
from semiseg.methods.sampling import BatchSlice

SEMI = "trainer.sup_only_epoch=0"


@pytest.mark.parametrize(("height", "width"), [(513, 513), (769, 769), (96, 64), (7, 31), (5, 3)])
def test_boxes_have_half_the_area_and_lie_inside(height, width):
    boxes = cutmix_boxes(3000, height, width, generator(0, "test"))
    assert boxes.shape == (3000, 4)
    assert boxes.dtype == np.int32
    top, left, tall, wide = boxes.T
    assert (boxes >= 0).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()
    assert (np.abs(tall * wide - height * width / 2) <= wide / 2).all()  # the height is rounded, no more


def test_widths_and_positions_take_every_value_alike():
    boxes = cutmix_boxes(40000, 8, 8, generator(1, "test"))
    widths, counts = np.unique(boxes[:, 3], return_counts=True)
    assert widths.tolist() == [5, 6, 7]  # [W/2+1, W)
    assert np.allclose(counts / 40000, 1 / 3, atol=0.02)
    assert set(map(tuple, boxes[:, 2:])) == {(6, 5), (5, 6), (5, 7)}  # 32/5 = 6.4, 32/6 = 5.3, 32/7 = 4.6
    lefts, counts = np.unique(boxes[boxes[:, 3] == 5, 1], return_counts=True)
    assert lefts.tolist() == [0, 1, 2, 3]
    assert np.allclose(counts / counts.sum(), 1 / 4, atol=0.02)
    tops = np.unique(boxes[boxes[:, 2] == 6, 0])
    assert tops.tolist() == [0, 1, 2]


def test_the_same_generator_gives_the_same_boxes():
    first, again = (cutmix_boxes(4, 33, 47, generator(5, "cutmix", 9)) for _ in range(2))
    assert (first == again).all()
    assert (first != cutmix_boxes(4, 33, 47, generator(5, "cutmix", 10))).any()


@pytest.mark.parametrize(("height", "width"), [(10, 2), (0, 10)])
def test_an_image_too_narrow_for_a_box_is_refused(height, width):
    with pytest.raises(ValueError, match="no half-area box"):
        cutmix_boxes(1, height, width, generator(0, "test"))


def test_the_smallest_image_with_a_box():
    assert cutmix_boxes(1, 1, 3, generator(0, "test"))[0, 2:].tolist() == [1, 2]


def test_masks_are_the_boxes():
    boxes = cutmix_boxes(20, 17, 23, generator(2, "test"))
    masks = box_masks(boxes, 17, 23)
    expected = np.zeros((20, 17, 23), bool)
    for mask, (top, left, tall, wide) in zip(expected, boxes, strict=True):
        mask[top : top + tall, left : left + wide] = True
    assert masks.dtype == bool
    assert (masks == expected).all()


def test_class_masks_keep_half_of_the_classes_rounded_down():
    labels = np.array([[[0, 0, 1], [2, 3, 4]], [[7, 7, 7], [7, 7, 7]]])
    kept = []
    for seed in range(60):
        masks = class_masks(labels, generator(seed, "test"))
        assert masks.dtype == bool
        assert masks[1].all()  # one class: half of it rounded down is none
        classes = {int(c) for c in labels[0][~masks[0]]}
        assert len(classes) == 2
        assert np.array_equal(masks[0], ~np.isin(labels[0], list(classes)))  # a class stays or goes as a whole
        kept += classes
    assert set(kept) == {0, 1, 2, 3, 4}


def test_padding_is_no_class_of_an_image_and_is_replaced():
    labels = np.array([[[0, 0, BLANK], [1, 1, BLANK]], [[BLANK] * 3] * 2])
    for seed in range(20):
        masks = class_masks(labels, generator(seed, "test"))
        assert masks[labels == BLANK].all()
        assert sorted(masks[0, :, 0].tolist()) == [False, True]  # one of the two classes stays


@pytest.mark.parametrize("rule", ["confidence", "entropy"])
def test_cutout_leaves_the_loss_and_the_mask_ratio_of_images_without_padding_alone(rule):
    terms = []
    for pad in (0, 255):  # padding counts as image, or not: here there is none
        keys = f"trainer.unsupervised={{apply_aug: cutout, aug_prob: 1, rule: {rule}, confid_thresh: 0.35}}"
        context = replace(context_for("mean_teacher", SEMI, keys), mask_padding=pad == 255)
        batch = step_batch(0)
        if pad == 255:
            whole = np.ones(batch.unlabeled.images[:, 0].shape, bool)
            batch = batch._replace(unlabeled=batch.unlabeled._replace(inside=whole))
        trainee = Trainee("mean_teacher", context)
        trainee.method.enter_step(0)
        terms.append(trainee.step(0, batch.labeled, batch.unlabeled).terms)
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)
    assert 0 < terms[0]["mask_ratio"] < 0.9


@pytest.mark.parametrize("size", [2, 3])
def test_cutmix_pastes_image_label_and_reliability_of_the_next_image_alike(size):
    teacher = MixingTeacher("trainer.unsupervised.confid_thresh=0.4", batch=size)
    x = images(size=size)
    pseudo = teacher(7, x)
    label, probability = teacher_scores(teacher, x)
    mask = box_masks(cutmix_boxes(size, *CROP, generator(5, "cutmix", 7)), *CROP)
    nxt = np.roll(np.arange(size), -1)
    assert np.array_equal(pseudo.image.asnumpy(), np.where(mask[:, None], x[nxt], x))
    assert np.array_equal(pseudo.label.asnumpy(), np.where(mask, label[nxt], label))
    sure = probability.max(1) >= 0.4
    assert np.array_equal(reliable(pseudo, teacher), np.where(mask, sure[nxt], sure).astype(np.float32))


def test_classmix_keeps_half_of_an_images_classes_and_takes_the_rest_from_the_next():
    teacher = MixingTeacher("trainer.unsupervised.apply_aug=classmix")
    x = images()
    pseudo = teacher(2, x)
    label, _ = teacher_scores(teacher, x)
    mask = class_masks(label, generator(5, "cutmix", 2))
    assert 0 < mask.mean() < 1
    assert np.array_equal(pseudo.image.asnumpy(), np.where(mask[:, None], x[::-1], x))
    assert np.array_equal(pseudo.label.asnumpy(), np.where(mask, label[::-1], label))


@pytest.mark.parametrize("rule", ["confidence", "entropy"])
def test_cutout_blanks_a_box_that_then_counts_nowhere(rule):
    teacher = MixingTeacher(f"trainer.unsupervised={{apply_aug: cutout, rule: {rule}}}", batch=1)
    x = images(size=1)
    pseudo = teacher(4, x)  # needs no partner: also the first step of a batch of one is blanked
    box = box_masks(cutmix_boxes(1, *CROP, generator(5, "cutmix", 4)), *CROP)
    label, probability = teacher_scores(teacher, x)
    assert np.array_equal(pseudo.label.asnumpy(), np.where(box, CUT, label))
    assert (pseudo.image.asnumpy()[np.broadcast_to(box[:, None], x.shape)] == 0).all()
    sure = reliable(pseudo, teacher, 50).astype(bool)
    assert not sure[box].any()
    if rule == "entropy":
        entropy = -(probability * np.log(probability + 1e-10)).sum(1)
        assert sure[~box].mean() == pytest.approx(0.5, abs=0.02)
        assert entropy[sure].max() <= np.median(entropy[~box]) + 1e-5


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="no /proc: the memory of this process is not known")
def test_a_compiled_mixer_keeps_no_images():
    # MindSpore keeps the tensors of plain tuples that compiled functions are given: here 1.5 GB.
    context = context_for("mean_teacher", "trainer.jit=true", "dataset.train.crop.size=[160, 160]", batch=8)
    mixer, batch = make_mixer(context), StepBatch(None, None, BatchSlice(0, 8, 8))
    zeros = np.zeros((8, 160, 160), np.float32)
    values = (np.zeros((8, 3, 160, 160), np.float32), zeros.astype(np.int32), zeros)

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

    for step in range(105):
        mixer(step, PseudoLabels(*map(Tensor, values)), batch).label.asnumpy()
        if step == 4:
            before = resident()
    assert resident() - before < 80  # MiB


def test_the_share_of_mixing_steps_is_aug_prob():
    teacher = MixingTeacher("trainer.unsupervised.aug_prob=0.3")
    x = images()
    known = teacher.method.teacher_labels(x)
    teacher.method.teacher_labels = lambda images: known  # the teacher's forward is not what is counted here
    mixed = [not np.array_equal(teacher(step, x).image.asnumpy(), x) for step in range(100)]
    assert 0.12 < np.mean(mixed) < 0.48  # four standard deviations
    never = MixingTeacher("trainer.unsupervised.aug_prob=0")
    assert all(np.array_equal(never(step, x).image.asnumpy(), x) for step in range(5))


def test_a_batch_of_one_is_mixed_with_the_image_of_the_step_before():
    teacher = MixingTeacher("trainer.unsupervised.confid_thresh=0.4", batch=1)
    first, second = images(0, 1), images(1, 1)
    assert np.array_equal(teacher(0, first).image.asnumpy(), first)  # nothing has gone before
    pseudo = teacher(1, second)
    mask = box_masks(cutmix_boxes(1, *CROP, generator(5, "cutmix", 1)), *CROP)
    labels, probabilities = zip(*(teacher_scores(teacher, x) for x in (first, second)), strict=True)
    assert np.array_equal(pseudo.image.asnumpy(), np.where(mask[:, None], first, second))
    assert np.array_equal(pseudo.label.asnumpy(), np.where(mask, *labels))
    scores = np.where(mask, *(probability.max(1) for probability in probabilities))
    np.testing.assert_allclose(pseudo.score.asnumpy(), scores, rtol=1e-5)
    third = teacher(2, images(2, 1)).image.asnumpy()
    mask = box_masks(cutmix_boxes(1, *CROP, generator(5, "cutmix", 2)), *CROP)
    assert np.array_equal(third, np.where(mask[:, None], second, images(2, 1)))  # the plain one, not the mixed one


def test_only_a_batch_of_one_has_state_and_the_state_is_complete():
    assert MixingTeacher().state() == {}
    teacher = MixingTeacher(batch=1)
    shapes = {"image": (1, 3, *CROP), "label": (1, *CROP), "score": (1, *CROP), "filled": (1,)}
    assert {name: item.shape for name, item in teacher.state().items()} == {
        f"previous.{k}": v for k, v in shapes.items()
    }
    assert {name for name, item in teacher.state().items() if item.dtype == np.int32} == {"previous.label"}
    teacher(0, images(0, 1))
    assert teacher.state()["previous.filled"].array.tolist() == [1]
    restored = MixingTeacher(batch=1)
    for name, parameter in restored.state().items():
        parameter.set_data(Tensor(teacher.state()[name].asnumpy()))
    mine, others = teacher(1, images(1, 1)).present(), restored(1, images(1, 1)).present()
    assert set(mine) == set(others) == {"image", "label", "score"}  # neither strong views nor soft targets, nor a place
    for name, a in mine.items():
        assert np.array_equal(a.asnumpy(), others[name].asnumpy())
    with_views = MixingTeacher("dataset.train.strong={}", batch=1).state()
    assert set(with_views) - {f"previous.{k}" for k in shapes} == {"previous.strong"}


@pytest.mark.parametrize("name", ["cutmix", "classmix", "cutout", "none"])
@pytest.mark.parametrize("batch", [1, 2])
def test_soft_targets_are_mixed_like_the_images(name, batch):
    soft = MixingTeacher(f"trainer.unsupervised={{apply_aug: {name}, targets: soft}}", batch=batch)
    hard = MixingTeacher(f"trainer.unsupervised={{apply_aug: {name}}}", batch=batch)
    for step in range(2):  # a batch of one has a partner from the second step on
        x = images(step, batch)
        found, expected = soft(step, x), hard(step, x)
        assert expected.probability is None
        assert set(found.present()) == {*expected.present(), "probability"}
        for field, value in expected.present().items():
            assert np.array_equal(found.present()[field].asnumpy(), value.asnumpy())
        probability, label = found.probability.asnumpy(), expected.label.asnumpy()
        there = label < BLANK
        assert np.array_equal(probability.argmax(1)[there], label[there])
        np.testing.assert_allclose(probability.max(1)[there], expected.score.asnumpy()[there], rtol=1e-5)
        assert not probability.max(1)[~there].any()
    assert set(soft.state()) - set(hard.state()) == ({"previous.probability"} if hard.state() else set())


@pytest.mark.parametrize("name", ["classmix", "cutmix"])
def test_parts_get_other_boxes(name):
    context = context_for(
        "mean_teacher", "trainer.sup_only_epoch=0", f"trainer.unsupervised={{apply_aug: {name}, aug_prob: 1}}"
    )
    method = Trainee("mean_teacher", context).method
    batch = batch_of(0, "unlabeled")

    def mask(images, first, count):
        place = StepBatch(None, batch, BatchSlice(first, count, 6))
        return method.mixer.replacement(0, method.teacher_labels(images), place)[0]

    masks = [mask(batch.images, first, 2) for first in (0, 2, 4)]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[1], masks[2])
    if name == "cutmix":
        same_images = np.concatenate([batch.images[:1]] * 6)
        np.testing.assert_array_equal(mask(same_images[:2], 2, 2), mask(same_images, 0, 6)[2:4])


def test_the_previous_image_of_a_part_of_one_is_state_of_each_device():
    trainee = Trainee("mean_teacher", context_for("mean_teacher", SEMI, "trainer.accumulate=2", batch=1))
    own = {name for name, value in trainee.state.items() if getattr(value, "per_device", False)}
    assert own == {"previous.image", "previous.label", "previous.score", "previous.filled"}
    images = batch_of(0, "unlabeled", 2)
    trainee.step(0, batch_of(0, "labeled", 2), images)
    np.testing.assert_array_equal(trainee.state["previous.image"].asnumpy()[0], images.images[1])
