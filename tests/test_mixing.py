"""CutMix boxes against the rule in words, and their masks against plain slices."""

import numpy as np
import pytest
import scipy.ndimage

from semiseg.common.rng import generator
from semiseg.methods.ael.adaptive_cutmix import component_box
from semiseg.methods.mixing import box_masks, class_masks, cutmix_boxes


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


def test_an_image_too_narrow_for_a_box_is_refused():
    with pytest.raises(ValueError, match="no half-area box"):
        cutmix_boxes(1, 10, 2, generator(0, "test"))


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
    for pixels, min_area in ((blobs(), 6), (np.zeros((4, 4), bool), 0), (np.ones((4, 4), bool), 3)):
        rng, other = generator(3, "test"), generator(3, "test")
        found = component_box(pixels, min_area, rng)
        assert (found is None) == (min_area != 3)
        other.random()
        assert rng.random() == other.random()
