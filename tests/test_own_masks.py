"""What all masks of a data set hold together, against counts by hand."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from semiseg.data.masks import look_at_mask
from semiseg.prepare.own.masks import index_of, like_indices, said, spread, together, why_without_order

RED, GREEN, BLACK = (200, 0, 0), (0, 200, 0), (0, 0, 0)


@pytest.fixture
def seen(tmp_path):
    """``seen(pictures...)``: written, looked at, summed."""

    def look(*pictures):
        paths = [tmp_path / f"{index}.png" for index in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path)
        return together(map(look_at_mask, paths))

    return look


def gray(*values, dtype=np.uint8):
    return np.array(values).astype(dtype)[None]


def indexed(values, *palette):
    picture = Image.fromarray(gray(*values))
    picture.putpalette([part for color in palette for part in color])
    return picture


def test_pixels_are_counted_over_all_masks(seen):
    found = seen(gray(0, 0, 1), gray(1, 1, 255))
    assert (found.masks, found.values) == (2, Counter({0: 2, 1: 3, 255: 1}))
    assert found.colors == Counter({(0, 0, 0): 2, (1, 1, 1): 3, (255, 255, 255): 1})


def test_no_masks_hold_nothing():
    assert together([]) == (0, Counter(), False, Counter(), {}, frozenset())


def test_beside_a_color_picture_there_are_no_values(seen):
    found = seen(gray(0, 1), np.array([[RED, GREEN]], np.uint8))
    assert found.values is None
    assert found.colors == Counter({BLACK: 1, (1, 1, 1): 1, RED: 1, GREEN: 1})


def test_white_of_one_bit_is_a_1_beside_a_1_and_else_255(seen):
    assert seen(gray(0, 1, dtype=bool), gray(0, 1)).values == Counter({0: 2, 1: 2})
    assert seen(gray(0, 1, dtype=bool), gray(0, 3)).values == Counter({0: 2, 255: 1, 3: 1})


@pytest.mark.parametrize(
    ("masks", "counted_up"),
    [
        ([(0, 1), (0, 1, 2), (0, 1, 2, 3)], True),
        ([(0, 1), (0, 1, 2), (0, 1, 2, 3, 255)], True),  # 255 is no number
        ([(0, 1), (0, 1, 2), (0, 2, 3)], False),  # a gap
        ([(0, 1), (0, 1, 2), (0, 1)], False),  # two tops alone: classes that not all show
    ],
)
def test_masks_that_count_up_to_numbers_of_their_own_are_told(seen, masks, counted_up):
    assert seen(*(gray(*values) for values in masks)).counted_up == counted_up


def test_one_palette_gives_each_color_its_index(seen):
    masks = [indexed((0, 1), BLACK, RED, GREEN), indexed((1, 2), BLACK, RED, GREEN)]
    assert index_of(seen(*masks)) == {BLACK: 0, RED: 1, GREEN: 2}
    assert index_of(seen(*masks, np.array([[RED, GREEN]], np.uint8))) == {BLACK: 0, RED: 1, GREEN: 2}
    assert index_of(seen(gray(0, 1))) is None


@pytest.mark.parametrize(
    ("other", "because"),
    [
        (indexed((0, 1, 2), BLACK, GREEN, RED), "palettes differ (index 1 is 0,200,0 and 200,0,0)"),
        (indexed((1, 3), BLACK, RED, GREEN, RED), "palette shows index 1 and 3 in one color, 200,0,0"),
        (np.array([[RED, (9, 8, 7)]], np.uint8), "others hold colors that it has not"),
    ],
)
def test_without_one_palette_no_color_has_an_index_and_it_is_said_why(seen, other, because):
    found = seen(indexed((0, 1, 2), BLACK, RED, GREEN), other)
    assert index_of(found) is None
    assert because in why_without_order(found)


@pytest.mark.parametrize(
    ("labels", "alike"), [([0, 1, 2], True), ([1, 2], True), ([0, 1, 3], True), ([0, 5], False), ([2, 3], False)]
)
def test_indices_are_counted_from_0_or_1_with_few_left_out(labels, alike):
    assert like_indices(labels) == alike


def test_values_and_colors_are_said_as_they_are_typed():
    assert (said(255), said((7, 7, 7)), said((1, 2, 3))) == ("255", "7", "1,2,3")
    assert (spread([0, 3]), spread(range(9))) == ("0, 3", "0 to 8")
