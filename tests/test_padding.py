"""A ``dataset.train.pad_label`` that is no class: outside an image there is no pseudo-label, loss, bank or count."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mindspore import Tensor
from tiny import CLASSES, CROP, Images, Source, Trainee, context_for, step_batch

from semiseg.common.rng import generator
from semiseg.config.keys import Config, TrainDataConfig, UnsupervisedConfig
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.padding import padding_note, padding_share
from semiseg.data.specs import custom_spec
from semiseg.data.transforms import TrainTransform
from semiseg.engine.build import masks_padding, train_transform
from semiseg.losses import certain_cross_entropy
from semiseg.methods.pseudo_labels import BLANK, reliable_pixels

SEMI = ("mean_teacher", "ours", "u2pl", "ael")
START = "trainer.sup_only_epoch=0"
PLAIN = "trainer.unsupervised.apply_aug=none"
HEIGHT, WIDTH = 20, 23  # of the image in its crop of 33 x 37


def inside(size=2):
    mask = np.zeros((size, *CROP), bool)
    mask[:, :HEIGHT, :WIDTH] = True
    return mask


def padded(batch):
    """The batch as the streams give it where images are smaller than the crop."""
    size = len(batch.labeled.images)
    outside = ~inside(size)
    labels = np.where(outside, 255, batch.labeled.labels)
    images = [np.where(outside[:, None], 0, part.images).astype(np.float32) for part in batch[:2]]
    labeled = batch.labeled._replace(images=images[0], labels=labels.astype(np.int32), inside=inside(size))
    return batch._replace(labeled=labeled, unlabeled=batch.unlabeled._replace(images=images[1], inside=inside(size)))


class PaddedImages(Images):
    """``Images`` whose crops are padded too."""

    def source(self, kind, purpose, rand_resize=None):
        class Padded(Source):
            def read(self, index, *keys):
                crop = super().read(index, *keys)
                label = None if crop.label is None else np.where(inside(1)[0], crop.label, 255).astype(np.int32)
                return crop._replace(label=label, inside=inside(1)[0])

        return Padded(kind)


def context(name, *overrides, **options):
    made = context_for(name, START, *overrides, **options)
    return replace(made, mask_padding=True, images=PaddedImages())


def test_a_crop_says_which_of_its_pixels_are_image():
    image = np.full((12, 30, 3), 200, np.uint8)
    transform = TrainTransform((20, 24), (0.5, 2.0), mask_padding=True)
    shares = set()
    for seed in range(12):
        crop = transform(image, None, generator(seed, "test"))
        assert np.array_equal(crop.inside, (crop.image > 0).all(0))  # 200 is above the mean, padding is 0
        shares.add(float(crop.inside.mean()))
    assert len(shares) > 3
    assert replace(transform, mask_padding=False)(image, None, generator(0, "test")).inside is None


@pytest.mark.parametrize("name", SEMI)
def test_outside_there_is_no_pseudo_label_and_nothing_that_counts(name):
    method = Trainee(name, context(name, PLAIN, *(["trainer.adaptive.cutmix=null"] if name == "ael" else []))).method
    inputs = method.inputs(1, padded(step_batch(1)))
    outside = ~inside()
    assert (inputs.label_u.asnumpy()[outside] == BLANK).all()
    assert (inputs.label_u.asnumpy()[inside()] < CLASSES).all()
    if name == "ael":
        assert (inputs.teacher_label_l.asnumpy()[outside] == BLANK).all()
    else:
        assert inputs.mask_u.asnumpy()[outside].sum() == 0
        assert inputs.mask_u.asnumpy()[inside()].sum() > 0


def test_the_mark_travels_with_what_is_mixed():
    method = Trainee("mean_teacher", context("mean_teacher", "trainer.unsupervised.aug_prob=1")).method
    batch = padded(step_batch(1))
    whole = inside()
    whole[1] = True  # the partner of image 0 is an image as large as the crop
    batch = batch._replace(unlabeled=batch.unlabeled._replace(inside=whole))
    mask, _ = method.mixer.replacement(1, method.teacher_labels(batch.unlabeled.images, whole), batch)
    label = method.inputs(1, batch).label_u.asnumpy()
    assert np.array_equal(label != BLANK, np.where(mask, whole[::-1], whole))
    assert (mask & ~whole).any()


@pytest.mark.parametrize("name", SEMI)
def test_the_mask_ratio_is_a_share_of_the_images_pixels(name):
    overrides = (
        ["trainer.unsupervised.confid_thresh=0"] if name != "u2pl" else ["trainer.unsupervised.drop_percent=100"]
    )
    overrides += ["trainer.adaptive={sample: false, threshold: 0}"] if name == "ael" else []
    trainee = Trainee(name, context(name, PLAIN, *overrides))
    batch = padded(step_batch(0))
    trainee.method.enter_step(0)
    result = trainee.step(0, batch.labeled, batch.unlabeled)
    assert result.terms["mask_ratio"] == pytest.approx(1, abs=2e-3)  # rule entropy leaves out the largest one
    assert all(np.isfinite(value) for value in result.terms.values())


@pytest.mark.parametrize("name", ["mean_teacher", "ours", "ael"])
def test_the_loss_does_not_see_what_the_teacher_would_say_outside(name, monkeypatch):
    overrides = ["trainer.adaptive={cutmix: null, copy_paste: null}"] if name == "ael" else []
    values = []
    for wrong in (0, 1):
        trainee = Trainee(name, context(name, PLAIN, *overrides))
        labels = trainee.method.teacher_labels
        taken = labels._label

        def spoilt(image, taken=taken, wrong=wrong):
            label, score = taken(image)
            if wrong:
                outside = ~inside(len(image))
                label = Tensor(np.where(outside, 2 - label.asnumpy(), label.asnumpy()).astype(np.int32))
                score = Tensor(np.where(outside, 0.99, score.asnumpy()).astype(np.float32))
            return label, score

        monkeypatch.setattr(labels, "_label", spoilt)
        trainee.method.enter_step(0)
        batch = padded(step_batch(0))
        values.append((trainee.step(0, batch.labeled, batch.unlabeled).terms, trainee.arrays()))
    (first, before), (second, after) = values
    assert first == second
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_percentiles_and_the_weight_of_rule_entropy_are_of_pixels_inside():
    rng = np.random.default_rng(0)
    score = rng.random((2, *CROP)).astype(np.float32)
    score[~inside()] = 5.0  # if these counted, everything inside would be certain
    label = np.where(inside(), 1, BLANK).astype(np.int32)
    cfg = UnsupervisedConfig(rule="entropy")
    certain = reliable_pixels(Tensor(score), Tensor(label), cfg, 50)
    assert certain.asnumpy()[inside()].mean() == pytest.approx(0.5, abs=2e-3)
    logits = rng.normal(size=(2, CLASSES, *CROP)).astype(np.float32)
    loss = certain_cross_entropy(Tensor(logits), Tensor(label), certain, Tensor(inside()))
    alone = certain_cross_entropy(
        *(Tensor(np.ascontiguousarray(a[..., :HEIGHT, :WIDTH])) for a in (logits, label, certain.asnumpy()))
    )
    assert float(loss) == pytest.approx(float(alone), rel=1e-5)


def test_ael_notes_and_pastes_nothing_from_outside():
    method = Trainee("ael", context("ael", "trainer.adaptive={copy_paste: {prob: 1, number: 3}}")).method
    batch = padded(step_batch(0))
    pasted = method.equalizer.paste(0, batch)
    assert np.array_equal(pasted.labels[~inside()], batch.labeled.labels[~inside()])
    assert np.array_equal(pasted.images[:, 0][~inside()], batch.labeled.images[:, 0][~inside()])
    prediction = np.full(CROP, BLANK)
    prediction[0, :5] = 1
    bank = method.mixer._bank
    assert bank.shown(prediction, 0).tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["mean_teacher", "ours"])
def test_micro_batches_with_different_padding_make_the_step_of_the_whole_batch(name):
    results = []
    for accumulate in (1, 2):
        made = context(name, PLAIN, f"trainer.accumulate={accumulate}", batch=4 // accumulate)
        trainee = Trainee(name, made)
        for _, cell in trainee.method.student.cells_and_names():
            if hasattr(cell, "use_batch_statistics"):
                cell.use_batch_statistics = False
        batch = padded(step_batch(0, 4))
        uneven = inside(4)
        uneven[0] = uneven[1] = True
        batch = batch._replace(unlabeled=batch.unlabeled._replace(inside=uneven))
        trainee.method.enter_step(0)
        results.append(trainee.step(0, batch.labeled, batch.unlabeled))
    assert results[1].terms == pytest.approx(results[0].terms, rel=1e-5, abs=1e-6)


def test_padding_that_is_no_class_is_left_out_of_both_streams_and_a_class_is_learnt_in_both():
    spec = SimpleNamespace(num_classes=3)
    for label, masked in ((0, False), (2, False), (3, True), (255, True)):
        data = {"train": {"pad_label": label}, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        config = Config.model_validate({"dataset": data})
        plan = SimpleNamespace(config=config, spec=spec)
        transform = train_transform(plan)
        crop = transform(np.zeros((9, 9, 3), np.uint8), np.ones((9, 9), np.uint8), generator(0, "test"))
        assert (crop.inside is not None) is masked
        assert set(np.unique(crop.label)) == {1, label}
        assert masks_padding(plan) is masked


@pytest.mark.parametrize(
    ("size", "crop", "scales", "share"),
    [
        ((375, 500), (513, 513), (0.5, 2.0), 0.319),  # VOC's settings
        ((96, 96), (96, 96), (0.75, 1.5), 0.5 * (1 - (1 - 0.75**3) / 0.75)),  # 1 - E[s^2] below 1, nothing above
        ((100, 50), (100, 100), None, 0.5),
        ((200, 200), (100, 100), None, 0.0),
    ],
)
def test_the_share_of_padding_is_its_mean_over_what_is_drawn(size, crop, scales, share):
    assert padding_share([size, size], crop, scales) == pytest.approx(share, abs=2e-3)
    transform = TrainTransform(crop, scales, mask_padding=True)
    drawn = [transform(np.zeros((*size, 3), np.uint8), None, generator(seed, "test")).inside for seed in range(400)]
    assert 1 - np.mean(drawn) == pytest.approx(share, abs=0.03)


def test_much_padding_is_said_with_its_share_before_training(tmp_path):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((100, 80, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no image")
    spec = custom_spec("some", ("a", "b"), "{id}.png", "masks/{id}.png")
    part = SegmentationDataset(spec, tmp_path, ["a", "b", "broken"], with_mask=False)
    large, small = (
        TrainDataConfig.model_validate({"rand_resize": None, "crop": {"size": (side, side)}}) for side in (200, 100)
    )
    (note,) = padding_note([part], large)
    assert note.startswith("80% of the pixels of training crops are padding: dataset.train.crop.size is 200 x 200")
    assert "100 x 80 (median); a smaller crop" in note
    assert padding_note([part], small) == []


@pytest.mark.parametrize("name", ["mean_teacher", "u2pl"])
def test_what_is_measured_leaves_out_padding_as_training_does(name):
    method = Trainee(name, context(name)).method
    images = padded(step_batch(1)).unlabeled.images
    label, kept = method.pseudo_labels(1, Tensor(images), inside())
    assert (label.asnumpy()[~inside()] == BLANK).all()
    assert kept.asnumpy()[~inside()].sum() == 0
    everywhere, _ = method.pseudo_labels(1, Tensor(images))
    assert np.array_equal(everywhere.asnumpy()[inside()], label.asnumpy()[inside()])
    if name == "u2pl":  # the percentile is of the pixels inside
        percent = method.entropy_percent(1)
        assert 100 * kept.asnumpy()[inside()].mean() == pytest.approx(percent, abs=0.2)


def test_the_weight_of_rule_entropy_is_over_the_pixels_that_padding_leaves():
    rng = np.random.default_rng(0)
    logits = Tensor(rng.normal(size=(2, CLASSES, *CROP)).astype(np.float32))
    label = Tensor(np.where(inside(), 1, BLANK).astype(np.int32))
    mask = Tensor((rng.random((2, *CROP)) < 0.4).astype(np.float32) * inside())
    losses = []
    for masked in (True, False):
        made = replace(context("u2pl"), mask_padding=masked)
        losses.append(float(Trainee("u2pl", made).method.unsupervised_loss(logits, label, mask, ())))
    # The weight is pixels by pixels that count: all of them, or those inside.
    assert losses[0] / losses[1] == pytest.approx(inside().mean(), rel=1e-5)
