"""Wording: how many, the first of many, the nearest known name."""

from semiseg.common.text import counted, did_you_mean, first_lines, shortened


def test_one_thing_has_no_plural():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_of_many_things_the_first_are_named_and_the_others_counted():
    assert shortened("abc") == "a, b, c"
    assert shortened("abcdefghi") == "a, b, c, ... and 6 more"
    assert shortened((n * n for n in range(5)), 2, "; ") == "0; 1; ... and 3 more"
    assert shortened([]) == ""


def test_lines_say_what_the_others_are():
    assert first_lines(["x", "y", "z"], 1, "files not there") == ["x", "... and 2 more files not there"]
    assert first_lines(["x"], 1) == ["x"]


def test_the_nearest_name_is_offered_else_all_of_them():
    assert did_you_mean("bacth", ["lr", "batch"]) == "; did you mean 'batch'?"
    assert did_you_mean("zzz", ["lr", "batch"]) == "; known here: batch, lr"
