"""First prototypes: which pixels are taken, their features, k-means, and files."""

from dataclasses import replace

import numpy as np
import pytest
from mindspore import Tensor
from scipy.cluster.vq import ClusterError
from tiny import CLASSES, context_of, labeled_images, network_of

from semiseg.common.errors import CheckpointError
from semiseg.data.transforms import normalize
from semiseg.methods import proto_init
from semiseg.methods.proto_init import choose_pixels, class_centres, from_file, gather_features, initial_prototypes
from semiseg.models.interpolate import resize


class OnlyThese:
    """As ``TrainImages``, of given labelled images."""

    def __init__(self, images):
        self._images = images

    def labeled(self):
        return self._images


def totals():
    return np.sum([np.bincount(mask.ravel(), minlength=256)[:CLASSES] for _, mask in labeled_images()], 0)


@pytest.mark.parametrize("limit", [1, 7, 300, 10**6])
def test_pixels_are_of_their_class_without_doubles_up_to_the_limit(limit):
    chosen = choose_pixels(labeled_images, CLASSES, limit, seed=0)
    counts = np.zeros(CLASSES, int)
    for (_, mask), classes in zip(labeled_images(), chosen, strict=True):
        for class_id, pixels in classes.items():
            assert np.all(mask.ravel()[pixels] == class_id)
            assert len(np.unique(pixels)) == len(pixels)
            counts[class_id] += len(pixels)
    assert np.array_equal(counts, np.minimum(limit, totals()))


def test_the_choice_is_uniform_over_the_pixels_of_the_set():
    shares = [np.bincount(mask.ravel(), minlength=256)[0] for _, mask in labeled_images()]
    drawn = np.zeros(3)
    for seed in range(60):
        for image, classes in enumerate(choose_pixels(labeled_images, CLASSES, 50, seed)):
            drawn[image] += len(classes.get(0, ()))
    expected = np.array(shares) / sum(shares)
    assert np.abs(drawn / drawn.sum() - expected).max() < 0.04  # 3000 draws: four standard deviations


def test_features_are_those_of_the_upsampled_map():
    context = context_of()
    network = network_of(context.net)
    chosen = choose_pixels(labeled_images, CLASSES, 40, seed=1)
    found = gather_features(network, context, chosen)
    expected: dict[int, list] = {}
    for (image, mask), classes in zip(labeled_images(), chosen, strict=True):
        feature = network(Tensor(normalize(image, context.mean, context.std)[None])).rep
        flat = resize(feature, mask.shape).asnumpy()[0].reshape(feature.shape[1], -1)
        for class_id, pixels in classes.items():
            expected.setdefault(class_id, []).append(flat[:, pixels].T)
    assert list(found) == [0, 1, 2]
    for class_id, rows in found.items():
        np.testing.assert_allclose(rows, np.concatenate(expected[class_id]), atol=1e-4)


def test_an_image_without_chosen_pixels_is_passed_over():
    context = context_of()
    network = network_of(context.net)
    chosen = choose_pixels(labeled_images, CLASSES, 40, seed=1)
    without_first = gather_features(network, context, [{}, *chosen[1:]])
    everything = gather_features(network, context, chosen)
    for class_id, rows in without_first.items():
        np.testing.assert_array_equal(rows, everything[class_id][len(chosen[0].get(class_id, ())) :])
    assert list(without_first) == [0, 1, 2]


def test_centres_of_clear_groups_are_their_means():
    rng = np.random.default_rng(0)
    middles = np.array([[10, 0, 0], [0, 10, 0], [0, 0, 10], [-10, -10, 0]], float)
    groups = [middle + rng.normal(0, 0.1, (size, 3)) for middle, size in zip(middles, (50, 80, 20, 40), strict=True)]
    centres, note = class_centres(np.concatenate(groups).astype(np.float32), 4, np.random.default_rng(1))
    assert note == ""
    expected = np.array([group.mean(0) for group in groups])
    found = centres[[np.linalg.norm(centres - mean, axis=1).argmin() for mean in expected]]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_class_without_pixels_gets_small_random_vectors_and_says_so():
    centres, note = class_centres(np.zeros((0, 8), np.float32), 4, np.random.default_rng(0))
    assert centres.shape == (4, 8)
    assert 0 < np.abs(centres).max() < 0.1
    assert "no labelled pixel" in note


@pytest.mark.parametrize("distinct", [1, 2, 3])
def test_too_few_distinct_pixels_are_used_and_filled_up(distinct):
    rows = np.random.default_rng(0).normal(0, 5, (distinct, 8)).astype(np.float32)
    centres, note = class_centres(np.repeat(rows, 6, 0), 4, np.random.default_rng(0))
    assert centres.shape == (4, 8)
    assert len(np.unique(centres, axis=0)) == 4
    for row in rows:
        assert np.abs(centres - row).max(1).min() == 0
    assert np.abs(centres[:, None] - rows[None]).max(2).min(1).max() < 0.1
    assert f"only {distinct} distinct" in note


def test_exactly_as_many_distinct_pixels_as_prototypes_are_fine():
    rows = np.random.default_rng(0).normal(0, 5, (4, 8)).astype(np.float32)
    centres, _ = class_centres(np.repeat(rows, 10, 0), 4, np.random.default_rng(3))
    assert np.isfinite(centres).all()
    assert len(np.unique(centres.round(4), axis=0)) == 4


def test_copies_are_perturbed_in_proportion_to_the_features_and_never_by_nothing():
    row = np.full((1, 8), 1e-4, np.float32)
    centres, _ = class_centres(row, 3, np.random.default_rng(0))
    assert 0 < np.abs(centres[1:] - row).max() < 1e-6
    centres, _ = class_centres(0 * row, 3, np.random.default_rng(0))
    assert 0 < np.abs(centres[1:]).max() < 1e-8
    rows = np.arange(16, dtype=np.float32).reshape(2, 8)
    centres, _ = class_centres(rows, 5, np.random.default_rng(0))
    assert np.abs(centres - rows[[0, 1, 0, 1, 0]]).max() < 0.05  # the copies are of all that there are, in turn


def test_where_kmeans_leaves_a_cluster_empty_single_pixels_stand_in(monkeypatch):
    def leaves_one_empty(*args, **kwargs):
        raise ClusterError

    monkeypatch.setattr(proto_init, "kmeans2", leaves_one_empty)
    rows = np.random.default_rng(0).normal(0, 5, (5, 8)).astype(np.float32)
    for seed in range(5):
        centres, note = class_centres(np.repeat(rows, 3, 0), 4, np.random.default_rng(seed))
        assert "single pixels stand in" in note
        assert len(np.unique(centres, axis=0)) == len(centres) == 4
        assert all((rows == centre).all(1).any() for centre in centres)


def test_prototypes_of_a_run_are_class_major_and_depend_on_the_seed_alone():
    context = context_of()
    network = network_of(context.net)
    rows, notes = initial_prototypes(network, context)
    assert rows.shape == (CLASSES * 2, 16)
    assert rows.dtype == np.float32
    assert notes == ["prototypes by k-means on 180 labelled pixels of 3 classes"]
    assert np.array_equal(initial_prototypes(network, context)[0], rows)
    features = gather_features(network, context, choose_pixels(labeled_images, CLASSES, 60, 5))
    for class_id in range(CLASSES):  # k-means: the centres' mean, weighted by members, is the class mean
        centres = rows[2 * class_id : 2 * class_id + 2].astype(np.float64)
        x = features[class_id].astype(np.float64)
        near = np.linalg.norm(x[:, None] - centres[None], axis=2).argmin(1)
        for k in range(2):
            np.testing.assert_allclose(centres[k], x[near == k].mean(0), atol=0.05)


def test_a_class_that_no_label_shows_is_named():
    context = context_of()
    two = labeled_images()[:2]  # without class 2
    _, notes = initial_prototypes(network_of(context.net), replace(context, images=OnlyThese(two)))
    assert any(note.startswith("prototypes of class 2: no labelled pixel") for note in notes)


def test_a_file_must_fit_the_network(tmp_path):
    path = tmp_path / "prototypes.npz"
    rows = np.random.default_rng(0).normal(size=(CLASSES, 2, 16)).astype(np.float32)
    np.savez(path, rows)
    assert np.array_equal(from_file(path, (CLASSES * 2, 16), 2), rows.reshape(-1, 16))
    for shape in ((84, 512), (2, 16), (CLASSES * 2, 8)):
        with pytest.raises(CheckpointError, match=rf"expected prototypes of shape \({shape[0]}, {shape[1]}\)"):
            from_file(path, shape, 2)
    with pytest.raises(
        CheckpointError, match=rf"holds 2 prototypes for each of {CLASSES} classes, the network has {CLASSES}"
    ):
        from_file(path, (CLASSES * 2, 16), CLASSES)  # as many rows, of two classes
    context = context_of(f"net.proto_head.init_proto_path='{path}'")
    found, notes = initial_prototypes(network_of(context.net), replace(context, images=OnlyThese([])))
    assert np.array_equal(found, rows.reshape(-1, 16))
    assert notes == [f"prototypes from {path}"]
