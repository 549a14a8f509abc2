"""Lines over steps: thinned, at common steps, in words."""

import math

from semiseg.reporting.series import Series, in_words, on_common_steps, thinned

NAN = float("nan")


def test_long_lines_are_thinned_to_means_and_keep_their_end():
    x, y = list(range(1, 1001)), [float(i % 4) for i in range(1000)]
    steps, values = thinned(x, y, 4)
    assert values == [1.5] * 250
    assert steps[:2] == [4, 8]
    assert steps[-1] == 1000
    assert thinned([1, 2], [3.0, 4.0], 0) == ([1, 2], [3.0, 4.0])
    assert thinned([], [], 4) == ([], [])
    y[5] = NAN
    assert thinned(x, y, 4)[1][:3] == [1.5, None, 1.5]


def test_lines_of_different_length_are_thinned_at_the_same_steps():
    long, short = (Series("x", list(range(10, end + 1, 10)), [1.0] * (end // 10)) for end in (12000, 5000))
    first, second = on_common_steps([long, short])
    assert len(first.x) == 300
    assert first.x[:3] == second.x[:3] == [40, 80, 120]
    assert set(second.x) < set(first.x)
    assert all(second.logged)


def test_between_its_points_a_line_gets_what_lies_on_it_and_says_so():
    first, second = on_common_steps([Series("a", [10, 20, 30, 40], [1, 2, 3, 4]), Series("b", [10, 40], [0.0, 3.0])])
    assert second.x == first.x
    assert second.y == [0, 1, 2, 3]
    assert second.logged == [True, False, False, True]
    assert second.notes == ["", " (interpolated)", " (interpolated)", ""]
    assert first.notes == [""] * 4


def test_a_line_is_not_prolonged_and_its_ends_say_their_step():
    first, second = on_common_steps([Series("a", [10, 20, 30, 40], [1, 2, 3, 4]), Series("b", [20, 30], [5.0, 6.0])])
    assert (second.x, second.y) == ([20, 30], [5, 6])
    assert second.notes == [" (at step 20)", " (at step 30)"]
    assert first.notes == [""] * 4


def test_a_gap_stays_a_gap():
    with_gap, other = on_common_steps(
        [Series("a", [10, 20, 30], [1, NAN, 3]), Series("b", [10, 15, 25, 30], [0.0] * 4)]
    )
    assert with_gap.x == other.x == [10, 15, 20, 25, 30]
    assert with_gap.y == [1, None, None, None, 3]


def test_lines_without_points_are_empty():
    empty, other = on_common_steps([Series("a", [], []), Series("b", [1], [2.0])])
    assert (empty.x, empty.y, empty.notes) == ([], [], [])
    assert other.y == [2]
    assert on_common_steps([]) == []


def test_words_tell_ends_and_extremes():
    lines = [
        Series("a", [10, 20, 30], [2.0, 0.5, 1.0]),
        Series("b", [5], [0.12345]),
        Series("c", [1, 2], [NAN, math.inf]),
    ]
    assert in_words(lines) == "a: 2 at step 10, 1 at step 30, lowest 0.5, highest 2; b: 0.1235 at step 5"
