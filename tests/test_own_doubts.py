"""Masks that can hold no classes are refused in one line; those that can are not."""

import cv2
import numpy as np
import pytest
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.data.masks import look_at_mask
from semiseg.prepare.own.doubts import refuse_colorless, refuse_edges, refuse_many, refuse_thin
from semiseg.prepare.own.masks import together


@pytest.fixture
def seen(tmp_path):
    """``seen(picture)``: as a mask that was looked at."""

    def look(picture):
        (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(tmp_path / "m.png")
        return together([look_at_mask(tmp_path / "m.png")])

    return look


def smoothed(steps):
    """Two large areas and as many gray levels between them, with a pixel each."""
    values = np.zeros((100, 100), np.uint8)
    values[50:] = 255
    values[49, :steps] = np.linspace(1, 254, steps).astype(np.uint8)
    return values


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8), "1600 colors in 1 mask"),
        (np.arange(300, dtype=np.uint16).reshape(10, 30), "300 values up to 299: numbers of single objects"),
        (smoothed(90), "smoothed edges or what JPEG left"),
        (smoothed(9), "2 hold all but 0.5% of the pixels"),
        (np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(2, 0), "256 colors in 1 mask: no classes"),
    ],
)
def test_hundreds_of_values_are_refused_in_one_line(seen, picture, message):
    with pytest.raises(DataError, match=message) as error:
        refuse_many(seen(picture), "colors")
    assert "\n" not in str(error.value)


def test_a_few_values_and_a_few_rare_ones_are_none_of_that(seen):
    refuse_many(seen(smoothed(7)), "gray levels")
    refuse_many(seen(np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(9, 1)), "gray levels")


def test_index_masks_are_told_to_name_their_classes(seen):
    values = seen(smoothed(20)).values
    with pytest.raises(DataError, match=r"22 values in 1 mask.*say what the classes are with --classes"):
        refuse_edges(values, "values", 1)


@pytest.mark.parametrize("levels", [2, 4])
def test_what_is_left_of_smoothed_edges_is_no_class(seen, levels):
    drawn = np.zeros((80, 120), np.uint8)
    cv2.circle(drawn, (50, 41), 30, 255, -1)
    size, smooth = (120 // levels, 80 // levels), cv2.INTER_AREA if levels > 2 else cv2.INTER_LINEAR
    small = seen(cv2.resize(drawn, size, interpolation=smooth))
    assert len(small.colors) > 2
    with pytest.raises(DataError, match="nowhere fill 2 x 2 pixels: smoothed edges, as of masks"):
        refuse_thin(small, sorted(small.colors))
    sharp = seen(cv2.resize(drawn, size, interpolation=cv2.INTER_NEAREST))
    refuse_thin(sharp, sorted(sharp.colors))


def indexed(*values):
    """With a palette of 20 colours: Pillow saves fewer in less than 8 bits."""
    picture = Image.fromarray(np.array([values], np.uint8))
    picture.putpalette(range(60))
    return picture


def test_an_index_beyond_the_palette_has_no_color(seen):
    with pytest.raises(DataError, match="index 255 beyond the end of their palette"):
        refuse_colorless(seen(indexed(0, 2, 255)))
    refuse_colorless(seen(indexed(0, 2, 19)))
