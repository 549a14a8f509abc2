"""Nearest pixels of prototypes, and the plane they are drawn in."""

import re

import numpy as np
import pytest

from semiseg.data.specs import get_spec
from semiseg.reporting.prototypes import Nearest, framed, normalised, patch_around, plane, render

SPEC = get_spec("synthetic")


def image_of(value, size=(6, 8)):
    return np.full((*size, 3), value, np.uint8), np.full(size, 2, np.uint8)


def test_the_nearest_pixels_of_all_images_are_kept_one_of_each():
    nearest = Nearest(prototypes=2, keep=2, patch=2)
    pixels = np.array([[0, 0], [5, 7], [3, 3]])
    for name, first, second in (("a", 0.1, 0.9), ("b", 0.5, 0.2), ("c", 0.7, 0.3), ("d", 0.6, 0.1)):
        cosines = np.array([[-1, -1], [first, second], [first - 0.01, second - 0.01]])
        nearest.add(name, *image_of(ord(name)), pixels, cosines)
    assert [(near.image, near.cosine, near.label) for near in nearest.found[0]] == [("c", 0.7, 2), ("d", 0.6, 2)]
    assert [(near.image, near.cosine) for near in nearest.found[1]] == [("a", 0.9), ("c", 0.3)]
    # a: both good pixels nearest to the second; elsewhere to the first; the bad pixel of each tied, so the first.
    assert nearest.counts.tolist() == [4 + 6, 2]


def test_patches_have_the_pixel_in_the_middle_and_gray_outside():
    image = np.arange(48, dtype=np.uint8).reshape(6, 8, 1).repeat(3, 2)
    for row, column in ((0, 0), (2, 5), (5, 7)):
        for side in (4, 5):
            patch = patch_around(image, row, column, side)
            assert patch.shape == (side, side, 3)
            assert (patch[side // 2, side // 2] == image[row, column]).all()
    assert (patch_around(image, 0, 0, 4)[0] == 128).all()


def test_the_plane_shows_what_differs_most():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    angles = rng.uniform(0, 2 * np.pi, 400)
    features = (
        np.cos(angles)[:, None] * basis[0] + np.sin(angles)[:, None] * basis[1] + 0.01 * rng.normal(size=(400, 8))
    )
    points, centres, share = plane(5 * features, basis[:2] * [[3], [7]])  # lengths do not count
    assert share > 0.99
    assert np.linalg.norm(points, axis=1) == pytest.approx(1, abs=0.15)  # a circle stays a circle
    assert np.linalg.norm(centres[0] - centres[1]) == pytest.approx(np.sqrt(2), abs=0.05)


def test_zero_rows_stay_zero():
    assert np.array_equal(normalised(np.array([[0.0, 0.0], [3.0, 4.0]])), [[0, 0], [0.6, 0.8]])


def test_small_patches_are_enlarged_and_framed():
    found = framed(np.full((10, 10, 3), 7, np.uint8), (1, 2, 3), width=4, side=96)
    assert found.shape == (108, 108, 3)
    assert found[0, 0].tolist() == [1, 2, 3]
    assert (found[4:-4, 4:-4] == 7).all()


def test_the_page_names_every_class_and_prototype():
    nearest = Nearest(prototypes=12, keep=1, patch=4)
    rng = np.random.default_rng(0)
    image, mask = image_of(50)
    mask[0] = 255
    pixels = np.stack(np.meshgrid(range(6), range(8), indexing="ij"), -1).reshape(-1, 2)
    nearest.add("x", image, mask, pixels, rng.uniform(-1, 1, (48, 12)))
    labels = rng.integers(0, 5, 60)  # no pixel of the last class
    page = render("<title>", SPEC, nearest, (rng.normal(size=(60, 8)), labels), rng.normal(size=(12, 8)))
    assert page.count("data:image/jpeg") == 12
    assert page.count('class="centre"') == 12
    assert page.count('class="dot"') == 60
    assert re.findall(r"<h2[^>]*>([^<]*)</h2>", page)[1:] == list(SPEC.classes)
    assert page.count("<figcaption>Prototype 2: share") == 6
    assert "&lt;title&gt;" in page
