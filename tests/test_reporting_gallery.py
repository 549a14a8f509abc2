"""The worst and best images, judged and drawn."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from semiseg.data.specs import get_spec
from semiseg.data.transforms import MEAN, STD, normalize
from semiseg.reporting.gallery import Gallery, confidence_map, confidence_of, error_map

SPEC = get_spec("synthetic")


def opened(uri):
    kind, content = uri.split(",")
    assert kind in ("data:image/jpeg;base64", "data:image/png;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def logits_of(classes, sure=9.0):
    """C x H x W of a network that says ``classes``."""
    return sure * (np.arange(SPEC.num_classes)[:, None, None] == classes).astype(np.float32)


def filled(gallery, count):
    """Images of 10 x 10 of which image i has i wrong pixels."""
    for i in range(count):
        mask = np.zeros((10, 10), np.uint8)
        prediction = mask.copy()
        prediction.ravel()[:i] = 3
        image = np.full((10, 10, 3), 10 * i, np.uint8)
        gallery.add(f"id{i}", logits_of(prediction), mask, normalize(image))


def test_the_worst_and_the_best_are_found():
    gallery = Gallery(SPEC, MEAN, STD, keep=2)
    filled(gallery, 9)
    worst, best = gallery.rows()
    assert [row["name"] for row in worst] == ["id8", "id7"]
    assert [row["name"] for row in best] == ["id0", "id1"]
    assert worst[0]["accuracy"] == pytest.approx(92)
    assert worst[0]["miou"] == pytest.approx(46)  # 92 of background and 0 of class 3; other classes do not count
    assert best[0]["miou"] == pytest.approx(100)


def test_of_a_small_set_no_image_is_shown_twice():
    gallery = Gallery(SPEC, MEAN, STD, keep=3)
    filled(gallery, 4)
    worst, best = gallery.rows()
    assert [row["name"] for row in worst + best] == ["id3", "id2", "id1", "id0"]


def test_images_without_a_pixel_that_counts_are_left_out():
    gallery = Gallery(SPEC, MEAN, STD)
    ignored = np.full((4, 4), 255, np.uint8)
    gallery.add("x", logits_of(np.zeros((4, 4), np.uint8)), ignored, np.zeros((3, 4, 4), np.float32))
    assert gallery.rows() == ([], [])


@pytest.mark.parametrize(
    ("size", "shown"), [((100, 150), (200, 300)), ((30, 40), (240, 320)), ((1000, 500), (320, 160))]
)
def test_pictures_show_the_image_itself_at_a_size_for_a_page(size, shown):
    gallery = Gallery(SPEC, MEAN, STD)
    image = np.full((*size, 3), (200, 90, 20), np.uint8)
    classes = np.zeros(size, np.uint8)
    gallery.add("x", logits_of(classes), classes, normalize(image))
    pictures = {kind: opened(uri) for kind, uri in gallery.rows()[0][0]["pictures"].items()}
    assert list(pictures) == ["image", "truth", "prediction", "confidence", "errors"]
    assert {picture.shape for picture in pictures.values()} == {(*shown, 3)}
    assert np.abs(pictures["image"].astype(int) - (200, 90, 20)).max() <= 4


def test_wrong_pixels_are_red_and_ignored_ones_gray():
    found = error_map(np.array([[0, 1, 1]]), np.array([[0, 0, 255]]), 255)
    assert found.tolist() == [[[236] * 3, [200, 40, 30], [150] * 3]]


def test_confidence_is_the_probability_of_the_most_probable_class():
    logits = np.log(np.array([[[0.1, 0.25]], [[0.7, 0.25]], [[0.1, 0.25]], [[0.1, 0.25]]], np.float32))
    assert confidence_of(logits) == pytest.approx(np.array([[0.7, 0.25]]))
    assert confidence_of(1e4 * logits).tolist() == [[1, 0.25]]


def test_sure_pixels_are_yellow_and_guessed_ones_dark_blue_lighter_all_the_way():
    picture = confidence_map(np.array([[0.25, 0.5, 0.75, 1]]), 4)[0].astype(int)
    assert (np.diff(picture @ (299, 587, 114)) > 0).all()
    assert picture[0, 2] > picture[0, 0]
    assert picture[-1, 0] > picture[-1, 2] + 100
