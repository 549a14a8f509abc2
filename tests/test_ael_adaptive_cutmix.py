"""AEL's adaptive CutMix: which image, which box, what is mixed and remembered."""

import numpy as np
import scipy.ndimage
import scipy.stats
from mindspore import Tensor
from tiny import CROP, NEEDS, Source, batch_of, context_of, step_batch

from semiseg.common.distributed import ALONE
from semiseg.common.rng import generator
from semiseg.methods.ael.adaptive_cutmix import component_box, half_box
from semiseg.methods.ael.method import AEL
from semiseg.methods.mixing import box_masks
from semiseg.methods.sampling import BatchSlice
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
        box = half_box(*CROP, rng) if box is None else box
        mask = box_masks(box[None], *CROP)[0]
        assert np.array_equal(mixed.image.asnumpy()[i], np.where(mask, other, batch.images[i]))
        assert np.array_equal(mixed.label.asnumpy()[i], np.where(mask, other_label, label[i]))
        source.method.mixer.after_update(4)
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
        mask = box_masks(half_box(*CROP, rng)[None], *CROP)[0]
        assert np.array_equal(mixed.image.asnumpy()[i][:, ~mask], batch.images[i][:, ~mask])
        assert not (mixed.image.asnumpy()[i][:, mask] == batch.images[i][:, mask]).any()


def test_mixing_happens_in_the_configured_share_of_steps():
    source, batch = Mixing("trainer.unsupervised.aug_prob=0"), batch_of(0, "unlabeled")
    assert np.array_equal(source(0, batch).image.asnumpy(), batch.images)
    source.method.mixer.after_update(0)
    assert source.state()["adaptive.images"].array.any()  # looked at and remembered all the same


def test_a_partner_is_augmented_by_step_and_place_in_the_whole_batch():
    source, asked = Mixing(), []

    class Asked(Source):
        def read(self, index, *keys):
            asked.append(keys)
            return super().read(index, *keys)

    source.method.mixer._images = Asked("unlabeled")
    batch = step_batch(3)._replace(slice=BatchSlice(4, 2, 6))
    source.method.mixer(3, source.method.teacher_labels(batch.unlabeled.images), batch)
    assert asked == [(3, 4), (3, 5)]


class TwoDevices:
    """Of a whole batch each holds half."""

    def gather(self, rows):
        return np.stack(np.split(rows, 2, axis=1))


def test_the_bank_is_the_same_however_many_devices_share_the_batch():
    current, partner = np.zeros((2, *CROP), int), np.ones((2, *CROP), int)
    for group in (ALONE, TwoDevices()):
        source = Mixing()
        source.method.mixer._group = group
        source.method.mixer._see(1, np.array([[3, 5], [5, 2]]), np.stack([current, partner]))
        source.method.mixer.after_update(1)
        marks = source.state()["adaptive.images"].array
        assert {image: marks[:, image].tolist() for image in (2, 3, 5)} == {2: [0, 1, 0], 3: [1, 0, 0], 5: [0, 1, 0]}


def test_micro_batches_draw_what_the_whole_batch_draws():
    drawn, banks = [], []
    for count in (4, 2, 1):
        source = Mixing("trainer.adaptive.cutmix.area_thresh2=0")
        mixer, asked = source.method.mixer, []
        draw = mixer._draw
        mixer._draw = lambda step, place, draw=draw, asked=asked: asked.append(draw(step, place)) or asked[-1]
        for step in (0, 1, 2):
            whole = batch_of(step, "unlabeled", 4)
            for first in range(0, 4, count):
                rows = slice(first, first + count)
                part = whole._replace(ids=whole.ids[rows], images=whole.images[rows], strong=None, again=None)
                batch = step_batch(step)._replace(unlabeled=part, slice=BatchSlice(first, count, 4))
                mixer(step, source.method.teacher_labels(part.images), batch)
            if step != 1:  # as where mixed precision leaves a step out
                mixer.after_update(step)
        drawn.append(asked)
        banks.append(source.state()["adaptive.images"].array)
    assert drawn[0] == drawn[1] == drawn[2]
    assert len({bank.tobytes() for bank in banks}) == 1


def blobs():
    """Three components of 1, 6 and 4 pixels; the last two touch the border, the last is joined at corners alone."""
    pixels = np.zeros((8, 10), bool)
    pixels[2, 5] = True
    pixels[0:2, 0:3] = True
    pixels[[4, 5, 6, 7], [9, 8, 7, 6]] = True
    return pixels


def test_the_box_of_a_component_is_its_bounding_box():
    pixels = blobs()
    labels, count = scipy.ndimage.label(pixels, structure=np.ones((3, 3)))
    boxes = [
        (rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        for rows, cols in scipy.ndimage.find_objects(labels)
    ]
    areas = np.bincount(labels.ravel())[1:]
    assert count == 3
    for min_area in (0, 1, 4, 5):
        found = {tuple(component_box(pixels, min_area, generator(seed, "test"))) for seed in range(60)}
        assert found == {box for box, area in zip(boxes, areas, strict=True) if area > min_area}


def test_without_a_large_component_there_is_no_box_and_one_number_is_drawn_in_any_case():
    everywhere = np.ones((4, 4), bool)  # its box would replace the whole image
    for pixels, min_area in ((blobs(), 6), (np.zeros((4, 4), bool), 0), (everywhere, 3), (blobs(), 5)):
        rng, other = generator(3, "test"), generator(3, "test")
        found = component_box(pixels, min_area, rng)
        assert (found is None) == (min_area != 5)
        other.random()
        assert rng.random() == other.random()


def test_the_random_box_has_half_the_area_and_a_height_that_is_uniform_in_its_logarithm():
    height, width = 90, 200
    boxes = np.array([half_box(height, width, generator(seed, "test")) for seed in range(4000)])
    tops, lefts, tall, wide = boxes.T
    assert (np.abs(tall * wide - height * width / 2) <= (tall + wide) / 2 + 0.25).all()  # sides are rounded
    assert min(boxes.min(), (height - tops - tall).min(), (width - lefts - wide).min()) >= 0
    logarithms = np.log2(height / tall)
    assert scipy.stats.kstest(logarithms, "uniform").statistic < 0.04
    for corners, room in ((tops, height - tall), (lefts, width - wide)):
        assert scipy.stats.kstest((corners[room > 20] / room[room > 20]), "uniform").statistic < 0.05
    assert np.array_equal(half_box(9, 7, generator(1, "test")), half_box(9, 7, generator(1, "test")))
