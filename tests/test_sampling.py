"""The random draws of a step: by seed and step alone, of the stated distribution, however the batch is divided."""

import numpy as np
import pytest

from semiseg.common.rng import generator
from semiseg.methods.sampling import BatchSlice, dropout_masks, grid_pixels, grid_points, random_slice


def test_masks_depend_on_seed_and_step_alone():
    first = [mask.asnumpy() for mask in dropout_masks(1, 5, BatchSlice(0, 3, 3), (8, 8), 0.4)]
    again = [mask.asnumpy() for mask in dropout_masks(1, 5, BatchSlice(0, 3, 3), (8, 8), 0.4)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    for seed, step in ((2, 5), (1, 6)):
        assert not np.array_equal(first[0], dropout_masks(seed, step, BatchSlice(0, 3, 3), (8, 8), 0.4)[0].asnumpy())


def test_masks_drop_whole_channels_and_keep_the_mean():
    mask = dropout_masks(0, 0, BatchSlice(0, 50, 50), (200,), 0.1)[0].asnumpy()
    assert mask.shape == (50, 200, 1, 1)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1) / np.float32(0.9)}
    assert (mask == 0).mean() == pytest.approx(0.1, abs=0.012)  # four standard deviations
    assert np.all(dropout_masks(0, 0, BatchSlice(0, 2, 2), (5,), 0.0)[0].asnumpy() == 1)


@pytest.mark.parametrize(("size", "cells"), [((513, 513), 32), ((33, 70), 8), ((20, 20), 20), ((9, 9), 1)])
def test_each_cell_of_the_grid_gives_one_pixel(size, cells):
    rows, cols = grid_pixels(3, 11, size, cells)
    height, width = size[0] // cells, size[1] // cells
    found = set(zip(rows // height, cols // width, strict=True))
    assert found == {(i, j) for i in range(cells) for j in range(cells)}
    assert (rows.max() < height * cells) & (cols.max() < width * cells)


def test_rows_and_columns_are_jittered_independently_in_every_cell():
    rows, cols = grid_pixels(0, 0, (320, 320), 32)
    row_jitter, col_jitter = rows % 10, cols % 10
    assert abs(np.corrcoef(row_jitter, col_jitter)[0, 1]) < 0.13  # 1024 cells: standard deviation 0.031
    assert len(np.unique(row_jitter.reshape(32, 32), axis=0)) == 32
    assert set(row_jitter) == set(col_jitter) == set(range(10))


def test_pixels_change_with_the_step_only():
    first = grid_pixels(0, 4, (64, 64), 8)
    assert np.array_equal(first, grid_pixels(0, 4, (64, 64), 8))
    assert not np.array_equal(first, grid_pixels(0, 5, (64, 64), 8))
    where = grid_points(0, 4, (64, 64), (17, 17), 8)
    assert np.array_equal(where.pixel.asnumpy(), first[0] * 64 + first[1])
    assert where.index.shape == (4 * 64,)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_of_a_batch_draw_what_the_whole_batch_draws(parts):
    whole = [mask.asnumpy() for mask in dropout_masks(3, 7, BatchSlice(0, 4, 4), (5, 6), 0.5, kinds=2)]
    count = 4 // parts
    for part in range(parts):
        first = part * count
        found = dropout_masks(3, 7, BatchSlice(first, count, 4), (5, 6), 0.5, kinds=2)
        for mask, expected in zip(found, whole, strict=True):
            rows = [*range(first, first + count), *range(4 + first, 4 + first + count)]
            np.testing.assert_array_equal(mask.asnumpy(), expected[rows])


def test_rows_are_drawn_without_the_others():
    whole, part = generator(1, "x", 2), generator(1, "x", 2)
    expected = whole.random((7, 3, 2))
    np.testing.assert_array_equal(random_slice(part, BatchSlice(2, 3, 7), (3, 2)), expected[2:5])
    assert part.random() == whole.random()
