"""Colours, overlays and the files they are written to."""

import io

import numpy as np
import pytest
from PIL import Image

from semiseg.data.pictures import Painter, PredictionWriter, index_png, jpeg, png
from semiseg.data.specs import get_spec

SPEC = get_spec("synthetic")
PALETTE = np.array(SPEC.palette, np.uint8)


@pytest.fixture
def classes():
    return np.random.default_rng(0).integers(0, 6, (7, 9)).astype(np.uint8)


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def opened(content):
    return Image.open(io.BytesIO(content))


def test_indexed_pngs_hold_indices_and_show_colours(classes):
    picture = opened(index_png(classes, Painter(SPEC).palette))
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), classes)
    assert np.array_equal(np.asarray(picture.convert("RGB")), PALETTE[classes])


def test_without_a_palette_the_indices_are_gray(classes):
    picture = opened(index_png(classes))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), classes)


def test_ignored_pixels_have_a_colour_of_their_own():
    assert tuple(Painter(SPEC).color(np.full((1, 1), 255, np.uint8))[0, 0]) == SPEC.ignore_color


def test_an_overlay_leaves_background_and_ignored_pixels_as_they_are(image):
    for value in (0, 255):
        assert np.array_equal(Painter(SPEC).overlay(image, np.full((20, 30), value, np.uint8)), image)


def test_an_overlay_mixes_image_and_colour_and_draws_a_line_between_classes(image):
    classes = np.full((20, 30), 2, np.uint8)
    classes[:, 15:] = 3
    found = Painter(SPEC).overlay(image, classes, 0.4).astype(int)
    expected = 0.6 * image + 0.4 * PALETTE[classes]
    line = np.zeros((20, 30), bool)
    line[:, 14] = True
    assert (found[line] == 255).all()
    assert np.abs(found - expected)[~line].max() <= 1


def test_overlay_of_the_whole_set_without_background_tints_every_class(image):
    spec = get_spec("cityscapes")
    for value in (0, 18):
        found = Painter(spec).overlay(image, np.full((20, 30), value, np.uint8), 1.0)
        assert (found == spec.palette[value]).all()


def test_pictures_are_encoded_in_rgb(image):
    assert np.array_equal(np.asarray(opened(png(image))), image)
    plain = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    assert np.abs(np.asarray(opened(jpeg(plain))).astype(int) - plain).max() <= 3


def test_saved_predictions_hold_indices_and_the_palettes_colours(tmp_path, classes):
    writer = PredictionWriter(tmp_path, SPEC)
    for name in ("2007_000032", "2007.32", "town/a_1"):
        writer(name, classes)
        with Image.open(tmp_path / f"index/{name}.png") as index:
            assert index.mode == "P"
            assert np.array_equal(np.asarray(index), classes)
        with Image.open(tmp_path / f"color/{name}.png") as color:
            assert np.array_equal(np.asarray(color.convert("RGB")), PALETTE[classes])
