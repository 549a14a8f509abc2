"""The memory bank against a plain list: contents, order, what falls out, and what a checkpoint restores."""

from collections import deque

import numpy as np
import pytest
from mindspore import Tensor

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.host_array import HostArray
from semiseg.methods.u2pl import memory_bank
from semiseg.methods.u2pl.memory_bank import MemoryBank

SIZES = (7, 4, 5)


def rows(count, start=0):
    return (start + np.arange(count, dtype=np.float32))[:, None] * np.ones(3, np.float32)


def content(bank, class_id):
    return bank.rows.asnumpy()[bank.places(class_id, np.arange(bank.count(class_id))), 0].tolist()


def enqueue(bank, class_id, added):
    """Adds rows to one class alone."""
    nothing = np.zeros(0, np.int64)
    bank.enqueue(Tensor(added), [np.arange(len(added)) if c == class_id else nothing for c in range(len(SIZES))])


def test_a_new_bank_is_empty():
    bank = MemoryBank(SIZES, 3)
    assert [bank.count(c) for c in range(3)] == [0, 0, 0]


def test_contents_and_order_are_those_of_a_queue_of_limited_length():
    bank, expected = MemoryBank(SIZES, 3), [deque(maxlen=size) for size in SIZES]
    rng = np.random.default_rng(0)
    for step in range(60):
        class_id, count = int(rng.integers(3)), int(rng.integers(0, 10))  # also none, and more than there is room for
        added = rows(count, 100 * step)
        enqueue(bank, class_id, added)
        expected[class_id].extend(added[:, 0].tolist())
        assert [content(bank, c) for c in range(3)] == [list(queue) for queue in expected]
    assert [bank.count(c) for c in range(3)] == list(SIZES)


def test_rows_follow_one_another_before_a_queue_is_full():
    bank = MemoryBank(SIZES, 3)
    for start, count in ((10, 2), (20, 3), (30, 1), (40, 3)):
        enqueue(bank, 0, rows(count, start))
    assert content(bank, 0) == [20, 21, 22, 30, 40, 41, 42]


def test_every_device_has_a_bank_of_its_own():
    assert all(item.per_device for item in MemoryBank(SIZES, 3).state().values())


def test_places_of_any_shape_are_told():
    bank = MemoryBank(SIZES, 3)
    enqueue(bank, 1, rows(6))  # 0 and 1 fall out
    places = bank.places(1, np.array([[0, 3], [1, 1]]))
    assert places.dtype == np.int32
    assert bank.rows.asnumpy()[places, 0].tolist() == [[2, 5], [3, 3]]


def test_all_classes_take_their_rows_of_a_step_at_once(monkeypatch):
    monkeypatch.setattr(memory_bank, "AT_ONCE", 4)  # so that it is written in several pieces
    bank = MemoryBank(SIZES, 3)
    bank.enqueue(Tensor(rows(9)), [np.array([8, 0, 3, 3, 5]), np.zeros(0, np.int64), np.arange(9)])
    assert [content(bank, c) for c in range(3)] == [[8, 0, 3, 3, 5], [], [4, 5, 6, 7, 8]]
    assert not bank.rows.asnumpy()[7:11].any()  # nothing was written to the class that got nothing


def test_a_device_meets_few_shapes(monkeypatch):
    shapes, bank = set(), MemoryBank((500,), 3)
    monkeypatch.setattr(bank, "_write", lambda rows, source, target: shapes.add((len(source), len(target))))
    for count in range(1, 200):
        bank.enqueue(Tensor(rows(200)), [np.arange(count)])
    assert shapes == {(2**n, 2**n) for n in range(9)}


def test_the_state_carries_everything_over():
    bank, other = MemoryBank(SIZES, 3), MemoryBank(SIZES, 3)
    enqueue(bank, 0, rows(9))
    enqueue(bank, 2, rows(2))
    for name, item in other.state().items():
        item.set_data(Tensor(bank.state()[name].asnumpy()))
    for one in (bank, other):
        enqueue(one, 0, rows(3, 50))
    assert [content(other, c) for c in range(3)] == [content(bank, c) for c in range(3)]
    assert content(other, 0) == [5, 6, 7, 8, 50, 51, 52]


def test_a_checkpoint_of_the_time_when_the_rows_were_in_main_memory_is_taken(tmp_path):
    written = {
        "bank.rows": HostArray("bank.rows", rows(sum(SIZES)), per_device=True),
        "bank.first": HostArray("bank.first", np.array([2, 0, 0], np.int32), per_device=True),
        "bank.count": HostArray("bank.count", np.array([7, 4, 1], np.int32), per_device=True),
    }
    path, bank = tmp_path / "last.ckpt", MemoryBank(SIZES, 3)
    checkpoint_io.save(path, written, {})
    checkpoint_io.restore(path, checkpoint_io.read(path)[0], bank.state())
    assert [content(bank, c) for c in range(3)] == [[2, 3, 4, 5, 6, 0, 1], [7, 8, 9, 10], [11]]


def test_an_array_of_a_type_that_no_checkpoint_holds_is_refused():
    with pytest.raises(ValueError, match=r"bank\.x: .*float64"):
        HostArray("bank.x", np.zeros(2))
