"""Many tensors as one."""

import numpy as np
import pytest
from mindspore import Tensor, ops

from semiseg.common import tensors
from semiseg.common.tensors import concatenated, joined


@pytest.mark.parametrize("count", [1, 2, 96, 97, 230])
def test_numbers_stand_in_a_row_and_no_concatenation_takes_more_than_is_allowed(monkeypatch, count):
    taken, real = [], ops.concat
    monkeypatch.setattr(ops, "concat", lambda rows, axis: taken.append(len(rows)) or real(rows, axis))
    arrays = [np.full((2, 1 + number % 3), number, np.float32) for number in range(count)]
    found = joined(Tensor(array) for array in arrays).asnumpy()
    assert np.array_equal(found, np.concatenate([array.ravel() for array in arrays]))
    assert max(taken, default=0) <= tensors.MOST


def test_along_another_axis_the_order_is_kept():
    arrays = [np.full((2, 1), number, np.float32) for number in range(200)]
    assert np.array_equal(concatenated([Tensor(array) for array in arrays], 1).asnumpy(), np.concatenate(arrays, 1))


def test_a_scalar_is_one_number():
    assert joined([Tensor(3.0), Tensor([1.0, 2.0])]).asnumpy().tolist() == [3, 1, 2]
