"""Interpolation against a second implementation: the two-matrix form of bilinear with align_corners."""

import numpy as np
import pytest
from mindspore import Tensor

from semiseg.models.interpolate import at_points, axis_weights, points, resize


def matrix(target, source):
    """target x source: each row mixes two neighbours, in float64."""
    found = np.zeros((target, source))
    for i in range(target):
        exact = i * (source - 1) / (target - 1) if target > 1 else 0.0
        low = min(int(np.floor(exact)), source - 1)
        high = min(low + 1, source - 1)
        found[i, low] += 1 - (exact - low)
        found[i, high] += exact - low
    return found


def reference(x, size):
    rows, cols = matrix(size[0], x.shape[2]), matrix(size[1], x.shape[3])
    return np.einsum("ih,bchw,jw->bcij", rows, x.astype(np.float64), cols)


SIZES = [((3, 4), (9, 13)), ((9, 10), (33, 37)), ((5, 5), (5, 5)), ((7, 9), (3, 2)), ((1, 1), (4, 5)), ((4, 3), (1, 1))]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_resize_is_bilinear_with_aligned_corners(source, target):
    x = np.random.default_rng(0).normal(size=(2, 3, *source)).astype(np.float32)
    found = resize(Tensor(x), target).asnumpy()
    np.testing.assert_allclose(found, reference(x, target), atol=2e-5)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_single_points_are_what_the_whole_map_holds_there(source, target):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 3, *source)).astype(np.float32)
    rows, cols = rng.integers(0, target[0], 40), rng.integers(0, target[1], 40)
    where = points(rows, cols, target, source)
    found = at_points(Tensor(x), where.index, where.weight).asnumpy()
    np.testing.assert_allclose(found, reference(x, target)[:, :, rows, cols].swapaxes(1, 2), atol=2e-5)
    assert np.array_equal(where.pixel.asnumpy(), rows * target[1] + cols)


def test_the_last_pixel_reads_the_last_source_row():
    for target, source in ((513, 129), (769, 193), (97, 25), (2, 1), (33, 9)):
        low, high, weight = axis_weights(np.arange(target), target, source)
        assert high.max() == source - 1
        assert low.max() <= source - 1
        np.testing.assert_allclose(low[-1] + weight[-1], source - 1, atol=1e-4)
        assert weight.min() >= 0
        assert weight.max() <= 1
