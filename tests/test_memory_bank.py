"""The memory bank against a plain list: contents, order, what falls out, and what a checkpoint restores."""

from collections import deque

import numpy as np
import pytest
from mindspore import Tensor

from semiseg.common.host_array import HostArray
from semiseg.methods.u2pl.memory_bank import MemoryBank

SIZES = (7, 4, 5)


def rows(count, start=0):
    return (start + np.arange(count, dtype=np.float32))[:, None] * np.ones(3, np.float32)


def content(bank, class_id):
    return bank.take(class_id, np.arange(bank.count(class_id)))[:, 0].tolist()


def test_a_new_bank_is_empty():
    bank = MemoryBank(SIZES, 3)
    assert [bank.count(c) for c in range(3)] == [0, 0, 0]


def test_contents_and_order_are_those_of_a_queue_of_limited_length():
    bank, expected = MemoryBank(SIZES, 3), [deque(maxlen=size) for size in SIZES]
    rng = np.random.default_rng(0)
    for step in range(60):
        class_id, count = int(rng.integers(3)), int(rng.integers(0, 10))  # also none, and more than there is room for
        added = rows(count, 100 * step)
        bank.enqueue(class_id, added)
        expected[class_id].extend(added[:, 0].tolist())
        assert [content(bank, c) for c in range(3)] == [list(queue) for queue in expected]
    assert [bank.count(c) for c in range(3)] == list(SIZES)


def test_rows_follow_one_another_before_a_queue_is_full():
    bank = MemoryBank(SIZES, 3)
    for start, count in ((10, 2), (20, 3), (30, 1), (40, 3)):
        bank.enqueue(0, rows(count, start))
    assert content(bank, 0) == [20, 21, 22, 30, 40, 41, 42]


def test_every_device_has_a_bank_of_its_own():
    assert all(item.per_device for item in MemoryBank(SIZES, 3).state().values())


def test_positions_of_any_shape_are_taken():
    bank = MemoryBank(SIZES, 3)
    bank.enqueue(1, rows(6))  # 0 and 1 fall out
    taken = bank.take(1, np.array([[0, 3], [1, 1]]))
    assert taken.shape == (2, 2, 3)
    assert taken[..., 0].tolist() == [[2, 5], [3, 3]]


def test_the_state_carries_everything_over():
    bank, other = MemoryBank(SIZES, 3), MemoryBank(SIZES, 3)
    bank.enqueue(0, rows(9))
    bank.enqueue(2, rows(2))
    for name, item in other.state().items():
        item.set_data(Tensor(bank.state()[name].asnumpy()))
    for one in (bank, other):
        one.enqueue(0, rows(3, 50))
    assert [content(other, c) for c in range(3)] == [content(bank, c) for c in range(3)]
    assert content(other, 0) == [5, 6, 7, 8, 50, 51, 52]


def test_an_array_of_a_type_that_no_checkpoint_holds_is_refused():
    with pytest.raises(ValueError, match=r"bank\.x: .*float64"):
        HostArray("bank.x", np.zeros(2))
