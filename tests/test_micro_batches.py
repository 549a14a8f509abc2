"""Inputs of micro-batches that wait for their turn."""

from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor

from semiseg.engine.micro_batches import MicroBatches


class Inputs(NamedTuple):
    image: Tensor
    label: Tensor
    dropout: tuple[Tensor, ...]


def inputs(number):
    arrays = np.full((2, 3), number, np.float32), np.full(2, number, np.int32), np.ones((2, 1, 1), np.float32)
    image, label, mask = map(Tensor, arrays)
    return Inputs(image, label, (mask, 2 * mask))


def test_a_single_one_stays_as_it_is():
    parts, single = MicroBatches(several=False), inputs(1)
    parts.append(single)
    assert len(parts) == 1
    assert parts[0] is single


def test_several_come_back_in_order_as_they_were():
    parts = MicroBatches(several=True)
    for number in range(3):
        parts.append(inputs(number))
    assert len(parts) == 3
    for number, found in enumerate(parts):
        expected = inputs(number)
        for name in ("image", "label"):
            back, value = getattr(found, name), getattr(expected, name)
            assert back.dtype == value.dtype
            assert np.array_equal(back.asnumpy(), value.asnumpy())
        assert [mask.asnumpy().tolist() for mask in found.dropout] == [m.asnumpy().tolist() for m in expected.dropout]
    with pytest.raises(IndexError):
        parts[3]


def test_several_hold_no_tensor_while_they_wait():
    parts = MicroBatches(several=True)
    parts.append(inputs(0))
    waiting = parts._parts[0]
    assert [type(value) for value in (waiting.image, waiting.label, *waiting.dropout)] == [np.ndarray] * 4
    assert parts[0] is not parts[0]
