"""Ids held compactly are the same ids, in the same order; equal ones are found however many there are."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semiseg.data import ids as module
from semiseg.data.ids import Ids, compact, shared

NAMES = ["b", "a/1.jpg", "", "Straße", "写真", os.fsdecode(b"caf\xe9"), "\U0001f33e", "a b", "new\nline"]
BYTES = st.binary(max_size=6).map(os.fsdecode)


@given(st.lists(BYTES))
def test_ids_are_a_list_of_any_names_of_files(names):
    ids = Ids(names)
    assert (len(ids), list(ids), bool(ids)) == (len(names), names, bool(names))
    assert ids == names
    assert names == ids
    assert ids == Ids(names)
    assert ids != [*names, "x"]
    assert (ids + Ids(["x"])) == [*names, "x"]
    assert ids[1:4] == names[1:4]
    assert ids[::-1] == names[::-1]
    for index in range(-len(names), len(names)):
        assert ids[index] == ids[np.int32(index)] == names[index]
    for index in (len(names), -len(names) - 1):
        with pytest.raises(IndexError):
            ids[index]


def test_ids_that_run_together_to_the_same_text_differ():
    assert Ids(["ab", "c"]) != Ids(["a", "bc"])
    assert Ids(["ab", "c"]) != "abc"


def test_ids_are_taken_by_index_or_mask():
    ids = Ids(NAMES)
    assert ids.take(np.array([3, 0, 3])) == [NAMES[3], NAMES[0], NAMES[3]]
    assert ids.take(np.arange(len(NAMES)) % 2 == 0) == NAMES[::2]


def test_indices_of_ids_are_found_and_one_that_is_not_there_is_an_error():
    ids = Ids(NAMES)
    assert ids.positions(reversed(NAMES)) == list(reversed(range(len(NAMES))))
    with pytest.raises(KeyError, match="absent"):
        ids.positions(["b", "absent"])


@given(st.lists(st.sampled_from(NAMES)), st.lists(st.sampled_from(NAMES)))
def test_what_occurs_twice_or_in_both_is_found(first, second):
    expected = {name: [i for i, other in enumerate(first) if other == name] for name in first}
    assert list(Ids(first).twice().items()) == [(name, at) for name, at in expected.items() if len(at) > 1]
    assert shared(Ids(first), Ids(second)) == sorted(set(first) & set(second))


def test_equal_hashes_of_other_ids_are_no_doubles(monkeypatch):
    monkeypatch.setattr(Ids, "hashes", property(lambda ids: np.zeros(len(ids), np.int64)))
    monkeypatch.setattr(module, "hash", lambda sample: 0, raising=False)
    ids = Ids(["a", "b", "a"])
    assert ids.twice() == {"a": [0, 2]}
    assert ids.positions(["b"]) == [1]
    assert shared(ids, Ids(["c", "b"])) == ["b"]


def test_more_ids_than_are_handled_at_once_keep_their_order(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 4)
    names = [f"{i}" for i in range(13)]
    assert list(Ids(iter(names))) == names
    assert Ids(names).lines() == "".join(f"{name}\n" for name in names).encode()


def test_what_is_compact_already_stays_itself():
    ids = Ids(NAMES)
    assert compact(ids) is ids
    assert compact(iter(NAMES)) == ids
