"""YAML as configuration files write it: anchors, aliases and merges; what would have no end is refused."""

import time

import pytest

from semiseg.common.errors import ConfigError
from semiseg.config import load
from semiseg.config.loading import main
from semiseg.config.yaml_text import parse_scalar_or_tree, to_yaml


def parse(text):
    return parse_scalar_or_tree(text, "here.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &a {x: 1, y: 2}\nb: {<<: *a}", {"x": 1, "y": 2}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", {"x": 1, "y": 3}),
        ("a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}", {"x": 1, "y": 3}),  # one's own key wins, wherever it stands
        ("a: &a {x: 1}\nc: &c {x: 2, z: 4}\nb: {<<: [*a, *c]}", {"x": 1, "z": 4}),  # the first of a list wins
        ("a: &a {x: 1, y: 1}\nc: &c {<<: *a, y: 2}\nb: {<<: *c, z: 3}", {"x": 1, "y": 2, "z": 3}),
        ("a: &a {name: 1}\nc: &c {<<: *a, name: 2}\nb: {<<: *c}", {"name": 2}),
        ("a: &a {name: 1}\nc: &c {name: 2, z: 4}\nb: {<<: [*a, *c]}", {"name": 1, "z": 4}),
        ("a: {k: &a {x: 1, y: 1}}\nb:\n  <<: *a\n  x: [1, 2]", {"x": [1, 2], "y": 1}),
        ("b: {<<: {x: 1}, y: 1e-3}", {"x": 1, "y": 0.001}),
        ('b: {"<<": 3}', {"<<": 3}),  # quoted it is a word
    ],
)
def test_merges_lay_ones_own_keys_over_what_is_merged(text, expected):
    assert parse(text)["b"] == expected


def test_a_merge_does_not_change_what_it_takes_from():
    found = parse("a: &a {x: 1}\nb: {<<: *a, x: 2, y: 3}\nc: {<<: *a}")
    assert found == {"a": {"x": 1}, "b": {"x": 2, "y": 3}, "c": {"x": 1}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2", "key 'a' is written twice"),
        ("a: &a {x: 1}\nb: {<<: *a, y: 1, y: 2}", "key 'y' is written twice"),
        ("a: &a {x: 1, x: 2}\nb: {<<: *a}", "key 'x' is written twice"),
        ("a: &a {x: 1}\nb: {<<: *a, <<: *a}", "key '<<' is written twice"),
        ("b: {<<: 3}", "<< expects a mapping or a list of mappings"),
        ("a: &a {x: 1}\nb: {<<: [*a, 1]}", "<< expects a mapping or a list of mappings"),
        ("a: &a {<<: *a, x: 1}", "merges itself"),
        ("b: {[1]: 2}", "a key must be a word"),
        ("b: {<<: *nowhere}", "undefined alias"),
        ("a: &a {b: *a}", "recursive"),
        ("a: &a [1, *a]", "recursive"),
        ("a: &a {b: {<<: *a}}", "recursive"),
        ("[" * 5000, "nested too deeply"),
        ("a: " + "{b: " * 5000, "nested too deeply"),
    ],
)
def test_what_cannot_be_meant_is_one_line(text, problem):
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_text_that_looks_like_a_merge_comes_back_as_text():
    assert parse(to_yaml({"a": "<<", "<<": 1})) == {"a": "<<", "<<": 1}


def test_merges_work_in_configuration_files_and_values_name_the_file_that_merges(tmp_path, capsys):
    base, leaf = tmp_path / "base.yaml", tmp_path / "leaf.yaml"
    base.write_text("dataset:\n  train: {crop: &crop {size: [65, 65]}}\n  val: {crop: {<<: *crop}}\n")
    leaf.write_text(
        "base: base.yaml\ndataset: {train: {crop: &crop {size: [97, 97]}}, val: {crop: {<<: *crop}}}\n"
        "evaluation: {mode: center}\n"
    )
    assert load(base).dataset.val.crop.size == (65, 65)
    assert load(leaf).dataset.val.crop.size == (97, 97)
    assert main(["show", str(leaf)]) == 0
    (shown,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("dataset.val.crop.size ")]
    assert shown.endswith(f"# {leaf}")
    leaf.write_text("base: base.yaml\ndataset: {train: &train {flip: false, crop: {size: 3}}, val: {<<: *train}}\n")
    with pytest.raises(ConfigError, match=r"leaf\.yaml: unknown key dataset\.val\.flip"):
        load(leaf)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_thousands_of_levels_are_refused_at_once(opening):
    began = time.process_time()
    with pytest.raises(ConfigError, match="line 2 is not valid YAML: nested too deeply"):
        parse_scalar_or_tree(text_of(opening), "x")
    assert time.process_time() - began < 2


def text_of(opening):
    return "b: 1\nx: " + opening * 30_000 if opening.strip() in ("[", "{a:") else "# a\n" + opening * 30_000


def test_aliases_of_aliases_are_refused_before_they_are_written_out():
    lines = ["a0: &a0 [1, 2, 3]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    with pytest.raises(ConfigError, match="its aliases stand for more than 100000 values"):
        parse_scalar_or_tree("\n".join(lines), "x")
    assert parse_scalar_or_tree("\n".join(lines[:4]), "x")["a3"][0][0][0] == [1, 2, 3]


def test_a_base_whose_name_is_too_long_is_one_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"base: {'x' * 300}.yaml\n")
    with pytest.raises(ConfigError, match=r"x\.yaml: cannot be read \(File name too long\)"):
        load(path)
