"""Reading ahead: results in the order of the items, threads that end, errors beside the results of the others."""

import itertools
import threading

import pytest

from semiseg.common.errors import DataError
from semiseg.data.read_ahead import or_error, over_files, read_ahead


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("semiseg-read")]


def odd_only(number):
    if number % 2 == 0:
        raise DataError(f"{number} is even")
    return number


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(read_ahead(lambda n: n * n, range(50), workers)) == [n * n for n in range(50)]
    assert list(read_ahead(str, [], workers)) == []
    assert not readers()


def test_a_late_first_item_keeps_its_turn():
    second_done = threading.Event()

    def work(item):
        if item == 0:
            assert second_done.wait(10)
        else:
            second_done.set()
        return item

    assert list(read_ahead(work, [0, 1], 2)) == [0, 1]


@pytest.mark.parametrize("ahead", [0, 1, 6])
def test_no_more_than_asked_for_is_begun_ahead(ahead):
    begun = []
    results = read_ahead(lambda n: n, (begun.append(n) or n for n in itertools.count()), 2, ahead)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(begun) == 3 + ahead
    results.close()
    assert not readers()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_arrives_in_its_turn_and_is_the_end(workers):
    results = read_ahead(odd_only, [1, 3, 4, 5], workers)
    assert [next(results), next(results)] == [1, 3]
    with pytest.raises(DataError, match="4 is even"):
        next(results)
    assert not readers()
    assert list(results) == []


def test_only_a_data_error_becomes_a_result():
    assert str(or_error(odd_only)(2)) == "2 is even"
    assert or_error(odd_only)(3) == 3
    with pytest.raises(TypeError):
        or_error(odd_only)("text")


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_stay_beside_the_results_of_the_others(workers):
    results = [(item, str(result)) for item, result in over_files(odd_only, [1, 2, 3], workers, "files")]
    assert results == [(1, "1"), (2, "2 is even"), (3, "3")]


def test_leaving_early_ends_the_threads():
    results = over_files(odd_only, range(100), 2, "files")
    next(results)
    assert readers()
    results.close()
    assert not readers()
