"""Nearest pixels of prototypes, and the plane they are drawn in."""

import numpy as np
import pytest
from pages import Page

from semiseg.common.errors import DataError
from semiseg.data.specs import get_spec
from semiseg.reporting.prototypes import (
    FeatureSample,
    Nearest,
    class_groups,
    feature_pixels,
    framed,
    look,
    normalised,
    page_name,
    patch_around,
    plane,
    render_class,
    render_prototypes,
)

SPEC = get_spec("synthetic")


def image_of(value, size=(6, 8)):
    return np.full((*size, 3), value, np.uint8), np.full(size, 2, np.uint8)


def test_the_nearest_pixels_of_all_images_are_kept_one_of_each():
    nearest = Nearest(prototypes=2, keep=2, patch=2)
    pixels = np.array([[0, 0], [5, 7], [3, 3]])
    for name, first, second in (("a", 0.1, 0.9), ("b", 0.5, 0.2), ("c", 0.7, 0.3), ("d", 0.6, 0.1)):
        cosines = np.array([[-1, -1], [first, second], [first - 0.01, second - 0.01]])
        nearest.add(name, *image_of(ord(name)), pixels, cosines)
    assert [(near.image, near.cosine, near.label) for near in nearest.of_prototype[0]] == [("c", 0.7, 2), ("d", 0.6, 2)]
    assert [(near.image, near.cosine) for near in nearest.of_prototype[1]] == [("a", 0.9), ("c", 0.3)]
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


def looked_at():
    """Two prototypes of each class beside one image of class 2, and features without a pixel of the last class."""
    nearest = Nearest(prototypes=12, keep=1, patch=4)
    rng = np.random.default_rng(0)
    image, mask = image_of(50)
    mask[0] = 255
    pixels = np.stack(np.meshgrid(range(6), range(8), indexing="ij"), -1).reshape(-1, 2)
    nearest.add("x", image, mask, pixels, rng.uniform(-1, 1, (48, 12)))
    labels = rng.integers(0, 5, 60)  # no pixel of the last class
    features = rng.normal(size=(60, 8)), labels
    return nearest, features, rng.normal(size=(12, 8))


def test_the_page_names_every_class_and_prototype():
    page = Page(render_prototypes("<title>", SPEC, *looked_at()))
    assert len([image for image in page.all_of("img") if image["src"].startswith("data:image/jpeg")]) == 12
    ((_, figure),) = page.figures
    dots, squares = figure["data"][:6], figure["data"][6:]
    assert sum(len(trace["x"]) for trace in dots) == 60
    assert [trace["text"] for trace in squares] == [[f"{name} 1", f"{name} 2"] for name in SPEC.classes]
    assert page.text_of("h2")[-1] == "ring"  # all is labelled 2: no other class has a patch of its own, and comes first
    assert sorted(page.text_of("h2")[2:]) == sorted(SPEC.classes)
    assert len([text for text in page.text_of("figcaption") if text.startswith("Prototype 2: share")]) == 6
    assert page.text_of("h1") == ["<title>"]


def test_each_cell_of_the_feature_map_has_the_pixel_under_it():
    pixels = feature_pixels((9, 13), (3, 4))
    assert pixels.shape == (12, 2)
    assert pixels[0].tolist() == [0, 0]
    assert pixels[3].tolist() == [0, 12]
    assert pixels[-1].tolist() == [8, 12]
    assert np.array_equal(pixels.reshape(3, 4, 2)[1, :, 0], [4, 4, 4, 4])


def test_every_image_gives_features_of_each_class_and_ignored_pixels_none():
    sample = FeatureSample(classes=3, images=400, seed=0)
    for image in range(400):
        labels = np.array([0] * 50 + [2] * 10 + [255] * 40)
        sample.add(np.full((100, 2), image, float), labels)
    features, labels = sample.result()
    assert np.bincount(labels).tolist() == [200, 0, 200]
    assert np.unique(features[labels == 0], axis=0).shape == (100, 2)  # two pixels an image


def test_looking_shows_every_image_with_its_features():
    prototypes = np.array([[1.0, 0.0], [0.0, 3.0]])
    nearest, sample = Nearest(2, keep=1, patch=2), FeatureSample(classes=2, images=1, seed=0)
    image, mask = np.zeros((3, 3, 3), np.uint8), np.array([[0, 0, 0], [0, 0, 0], [0, 0, 1]], np.uint8)
    maps = np.zeros((2, 2, 2))
    maps[0] = 5
    maps[:, 1, 1] = (0, 7)
    look([("a", image, mask)], lambda seen: maps if seen is image else None, prototypes, nearest, sample)
    assert [(near[0].image, near[0].cosine, near[0].label) for near in nearest.of_prototype] == [
        ("a", 1, 0),
        ("a", 1, 1),
    ]
    assert nearest.counts.tolist() == [3, 1]
    features, labels = sample.result()
    assert labels.tolist() == [0, 0, 0, 1]
    assert features.tolist() == [[5, 0]] * 3 + [[0, 7]]


def test_an_overview_leads_to_a_page_for_each_class_worst_first():
    looked = looked_at()
    page = Page(render_prototypes("title", SPEC, *looked, folder="my classes"))
    groups = class_groups(SPEC, looked[0])
    links = [link["href"] for link in page.all_of("a")]
    assert links == ["#overview", *(f"my%20classes/{group['file']}" for group in groups)]
    assert page.text_of("h2") == ["Overview", "Features and prototypes in a plane"]
    assert page.all_of("img") == []
    shares = [group["right"] for group in groups if group["right"] is not None]
    assert shares == sorted(shares)
    assert [row[0] for row in page.rows[1:]] == [group["name"] for group in groups]


def test_the_page_of_a_class_has_its_prototypes_alone_and_leads_to_its_neighbours():
    groups = class_groups(SPEC, looked_at()[0])
    source = render_class("title", groups, 1, "all of them.html")
    page = Page(source)
    assert page.text_of("h1") == [f"{groups[1]['name']}: title"]
    assert [link["href"] for link in page.all_of("a")] == [
        "../all%20of%20them.html",
        groups[0]["file"],
        groups[2]["file"],
    ]
    assert len(page.all_of("img")) == 2
    assert [row[0] for row in page.rows] == ["prototype", "1", "2"]
    assert len(source) < 100_000  # no chart, no plotly
    for place, links in ((0, 2), (len(groups) - 1, 2)):
        assert len(Page(render_class("title", groups, place, "all.html")).all_of("a")) == links


def test_files_of_classes_have_plain_names():
    assert page_name(3, "traffic light/rear") == "03_traffic_light_rear.html"


def test_images_without_a_labelled_pixel_are_one_line():
    sample = FeatureSample(classes=2, images=1, seed=0)
    sample.add(np.zeros((4, 3)), np.full(4, 255))
    with pytest.raises(DataError, match="no labelled pixel"):
        sample.result()
