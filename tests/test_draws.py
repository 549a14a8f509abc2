"""The random draws of a step: by seed and step alone, and of the stated distribution."""

import numpy as np
import pytest

from semiseg.methods.sampling import BatchSlice, dropout_masks, grid_pixels, grid_points


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
