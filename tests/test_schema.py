"""YAML as people write it becomes typed values, or one line that names the place and the mistake."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from semiseg.common.errors import ConfigError
from semiseg.config import schema
from semiseg.config.fields import Scales, Section, Text, key
from semiseg.config.yaml_text import parse_scalar_or_tree, read_yaml, to_yaml


class Inner(Section):
    rate: float = 0.5
    kind: Literal["fast", "slow"] = "fast"


class Outer(Section):
    count: int = 1
    name: Text | None = None
    on: bool = True
    sizes: tuple[int, int] = (1, 2)
    scales: tuple[float, ...] = (1.0,)
    place: Path | None = None
    inner: Inner = Inner()
    maybe: Inner | None = None
    share: float | None = key(None, gt=0, le=1, expected="a share, 0..1")
    steps: int = key(5, ge=1)
    decay: float = key(0.5, ge=0, lt=1)
    level: int = key(3, ge=0, le=255)
    offset: int = key(0, ge=0)
    rates: tuple[Annotated[float, Field(gt=0)], ...] = key((1.0,), min_length=1, expected="at least one above 0")
    span: Scales = key((1.0, 2.0), expected="[low, high]")


def built(text: str, origin: str = "/cfg/a.yaml") -> Outer:
    return schema.build(Outer, schema.annotate(parse_scalar_or_tree(text, origin), origin))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2", -2),
        ("1_16", "1_16"),
        ("on", "on"),
        ("No", "No"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("007", "007"),
        ("08", "08"),
        ("0x10", "0x10"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
    ],
)
def test_plain_scalars_mean_what_they_look_like(text, value):
    found = parse_scalar_or_tree(text, "here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "value",
    ["1e3", "08", "on", "null", "~", "", "1_16", "183", "0x1F", "a: b", " x ", "é\n", True, None, 7, 1e-5, [1.5, "2"]],
)
def test_what_is_written_is_read_back(value):
    found = parse_scalar_or_tree(to_yaml({"key": value}), "here")["key"]
    assert found == value
    assert type(found) is type(value)


def test_values_take_the_types_of_their_keys():
    found = built("{count: 3, name: 183, on: false, sizes: [3, 4], scales: [1, 0.5], inner: {rate: 1, kind: slow}}")
    assert found == Outer(
        count=3, name="183", on=False, sizes=(3, 4), scales=(1.0, 0.5), inner=Inner(rate=1.0, kind="slow")
    )
    assert isinstance(found.inner.rate, float)


def test_missing_keys_take_the_defaults():
    assert built("{}") == Outer()


@pytest.mark.parametrize("text", ["maybe: null", "maybe: ~", "maybe:"])
def test_null_switches_an_optional_section_off(text):
    low = schema.annotate({"maybe": {"rate": 2.0}}, "low.yaml")
    high = schema.annotate(parse_scalar_or_tree(text, "high"), "high.yaml")
    assert schema.build(Outer, schema.merge(low, high)).maybe is None


def test_an_empty_mapping_switches_an_optional_section_on_again():
    tree = schema.merge(schema.annotate({"maybe": None}, "low"), schema.annotate({"maybe": {}}, "high"))
    assert schema.build(Outer, tree).maybe == Inner()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count: 1.5", "/cfg/a.yaml: count: expected a whole number, got 1.5 (a number)"),
        ("count: true", "count: expected a whole number, got True (true/false)"),
        ("count: '3'", "count: expected a whole number, got '3' (text)"),
        ("count: 08", "count: expected a whole number, got '08' (text)"),
        ("on: 1", "on: expected true or false, got 1 (a whole number)"),
        ("on: yes", "on: expected true or false, got 'yes' (text)"),
        ("name: 1.5", "name: expected text or null, got 1.5 (a number)"),
        ("sizes: [1, 2, 3]", "sizes: expected a list of 2, each a whole number, got [1, 2, 3] (a list)"),
        ("sizes: 3", "sizes: expected a list of 2"),
        ("scales: [a]", "scales: expected a list, each a finite number"),
        ("inner: {rate: .nan}", "inner.rate: expected a finite number, got nan"),
        ("inner: {rate: 1e999}", "inner.rate: expected a finite number, got inf"),
        (f"inner: {{rate: {'9' * 400}}}", "inner.rate: expected a finite number"),
        ("inner: {kind: fest}", "inner.kind: expected one of fast, slow, got 'fest' (text)"),
        ("inner: 3", "inner: expected a mapping of keys, got 3"),
        ("inner: null", "inner: expected a mapping of keys, got nothing (null)"),
        ("maybe: 3", "maybe: expected a mapping of keys or null, got 3"),
        ("count: {a: 1}", "count: expected a whole number, got a mapping"),
        ("cuont: 1", "unknown key cuont; did you mean 'count'?"),
        ("inner: {speed: 1}", "unknown key inner.speed; known here: kind, rate"),
        ("3: 1", "unknown key 3"),
        ("share: 2", "/cfg/a.yaml: share: expected a share, 0..1, got 2"),
        ("share: x", "share: expected a finite number or null, got 'x' (text)"),
        ("steps: 0", "steps: expected at least 1, got 0"),
        ("decay: 1", "decay: expected 0 <= decay < 1, got 1"),
        ("level: 256", "level: expected 0..255, got 256"),
        ("offset: -1", "offset: expected 0 or more, got -1"),
        ("rates: [1, 0]", "rates: expected at least one above 0, got [1, 0]"),
        ("rates: []", "rates: expected at least one above 0, got []"),
        ("span: [2, 1]", "span: expected [low, high], got [2, 1]"),
        ("sizes: [1, [2]]", "sizes: expected a list of 2, each a whole number, got [1, [2]] (a list)"),
    ],
)
def test_wrong_values_are_named_with_place_and_expectation(text, message):
    with pytest.raises(ConfigError) as caught:
        built(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3 is not valid YAML: key 'a' is written twice"),
        ("a: [1", "is not valid YAML"),
        ("a: !!python/object:os.system x", "is not valid YAML"),
        ("a: !!int x", "is not valid YAML"),
        ("? [a]\n: 1", "line 1 is not valid YAML: a key must be a word"),
        ("a: \x00", "is not valid YAML"),
    ],
)
def test_broken_yaml_is_one_line(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}:")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_mapping_is_refused(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- a\n")
    with pytest.raises(ConfigError, match="expected a mapping of sections"):
        read_yaml(path)
    path.write_text("# nothing but a comment\n")
    assert read_yaml(path) == {}
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"UTF-16.*save it as UTF-8"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)


def test_relative_paths_belong_to_who_wrote_them(monkeypatch, tmp_path):
    assert built("place: ../data/x").place == Path("/data/x")
    monkeypatch.chdir(tmp_path)
    assert schema.build(Outer, schema.override("place=data")).place == tmp_path / "data"
    assert built("place: /abs").place == Path("/abs")
    with pytest.raises(ConfigError, match="place: expected a path or null, got 3"):
        built("place: 3")


@pytest.mark.parametrize("text", ["count", "=3", " =3"])
def test_an_override_needs_key_and_value(text):
    with pytest.raises(ConfigError, match=r"command line: expected section\.key=value"):
        schema.override(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/data/set #2", "/data/set #2"),
        ("# 1", "# 1"),
        ("'a' # said", "a"),
        ("[1, 2] # two", [1, 2]),
        ("a#b", "a#b"),
    ],
)
def test_a_name_with_a_hash_is_no_comment(text, value):
    assert schema.override(f"a={text}")["a"].value == value


def test_overrides_open_sections_and_keep_later_equal_signs():
    assert schema.build(Outer, schema.override("inner.rate=2")).inner == Inner(rate=2.0)
    assert schema.build(Outer, schema.override("name=a=b")).name == "a=b"
    assert schema.build(Outer, schema.override("maybe={rate: 3}")).maybe == Inner(rate=3.0)


def test_origins_say_who_wrote_each_key():
    tree = schema.annotate({"count": 2, "inner": {"rate": 1.0}}, "/base.yaml")
    tree = schema.merge(tree, schema.override("inner.rate=3"))
    origins: dict[str, str] = {}
    schema.build(Outer, tree, origins)
    assert origins == {"count": "/base.yaml", "inner.rate": schema.COMMAND_LINE}


def test_an_empty_section_has_an_origin_too():
    tree = schema.merge(schema.annotate({"maybe": None}, "low"), schema.annotate({"maybe": {}}, "high"))
    origins: dict[str, str] = {}
    schema.build(Outer, tree, origins)
    assert origins == {"maybe": "high"}


def test_sections_are_frozen_and_take_no_unknown_key():
    with pytest.raises(ValidationError, match="frozen"):
        Outer().count = 3
    with pytest.raises(ValidationError, match="speed"):
        Inner(speed=3)
    assert hash(Outer()) == hash(Outer(inner=Inner(rate=0.5)))
