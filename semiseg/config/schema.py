"""From YAML to typed, frozen dataclasses: reading, merging with origins, checking. Knows no key of this project.

A tree is a nested dict whose leaves are ``Leaf(value, origin)``: every value remembers the file (or the command line)
that wrote it, so that errors and ``config show`` can name it.
"""

import dataclasses
import math
import os
import re
import types
import typing
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from semiseg.common.errors import ConfigError
from semiseg.common.text import did_you_mean

COMMAND_LINE = "command line"


class Leaf(NamedTuple):
    """A value as written and where: a path of a YAML file, or ``COMMAND_LINE``."""

    value: Any
    origin: str


class _Loader(yaml.SafeLoader):
    """SafeLoader with the plain scalars of YAML 1.2: ``1e-3`` is a number; ``1_16``, ``007`` and ``on`` are text."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes text which ``_Loader`` would take for something else (``1e3``)."""


_DECIMAL = r"(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?"
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", rf"[-+]?({_DECIMAL}|[0-9]+[eE][-+]?[0-9]+)|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError (missing file, broken YAML, not a mapping)."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    content = parse_scalar_or_tree(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of sections (dataset:, trainer:, ...), got {_describe(content)}")
    return content


def parse_scalar_or_tree(text: str, where: str) -> Any:
    """YAML text to plain Python values; ConfigError with the line on a syntax error."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a tag that its value does not fit, as in "!!int x"
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise ConfigError(f"{where}:{line} is not valid YAML: {problem}") from None


def to_yaml(content: Any, **options: Any) -> str:
    """Plain values as YAML text that ``parse_scalar_or_tree`` reads back to the same."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, **options)


def annotate(content: Mapping, origin: str) -> dict[str, Any]:
    """A plain mapping as a tree whose leaves carry ``origin``."""
    return {
        str(key): annotate(value, origin) if isinstance(value, Mapping) else Leaf(value, origin)
        for key, value in content.items()
    }


def merge(low: Mapping, high: Mapping) -> dict[str, Any]:
    """``high`` laid over ``low``: mappings merge key by key, everything else (lists, null) replaces."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def override(assignment: str) -> dict[str, Any]:
    """``a.b=c`` of the command line as a tree. Raises ConfigError if there is no ``=``."""
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"{COMMAND_LINE}: expected section.key=value, got {assignment!r}")
    value = parse_scalar_or_tree(text, f"{COMMAND_LINE}: {dotted}")
    tree: Any = annotate(value, COMMAND_LINE) if isinstance(value, dict) else Leaf(value, COMMAND_LINE)
    for part in reversed(dotted.strip().split(".")):
        tree = {part: tree}
    return tree


def build(kind: type, tree: Mapping, path: str = "", origins: dict[str, str] | None = None) -> Any:
    """An instance of the dataclass ``kind`` from a tree; missing keys take the dataclass default.

    ``origins`` is filled with dotted key -> origin for every key that was written. Raises ConfigError for unknown keys
    (with the nearest known one), wrong types and values outside a Literal.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {}
    for key, node in tree.items():
        dotted = f"{path}.{key}" if path else key
        if key not in fields:
            raise ConfigError(f"{first_origin(node)}: unknown key {dotted}{did_you_mean(key, fields)}")
        values[key] = _build_value(hints[key], node, dotted, origins)
    return kind(**values)


def _build_value(hint: Any, node: Any, dotted: str, origins: dict[str, str] | None) -> Any:
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    nested = next((option for option in options if dataclasses.is_dataclass(option)), None)
    if isinstance(node, dict):
        if nested is None:
            raise ConfigError(f"{first_origin(node)}: {dotted}: expected {expected_text(hint)}, got a mapping")
        return build(nested, node, dotted, origins)
    if origins is not None:
        origins[dotted] = node.origin
    for option in options:
        if not dataclasses.is_dataclass(option):
            try:
                return _convert(option, node)
            except (TypeError, ValueError, OverflowError):
                continue
    expected = "a mapping of keys" + (" or null" if len(options) > 1 else "") if nested else expected_text(hint)
    raise ConfigError(f"{node.origin}: {dotted}: expected {expected}, got {_describe(node.value)}")


def _convert(kind: Any, leaf: Leaf) -> Any:
    """``leaf.value`` as ``kind``; TypeError or ValueError if it is not one."""
    value = leaf.value
    origin_type = typing.get_origin(kind)
    if origin_type is typing.Literal:
        if value not in typing.get_args(kind):
            raise ValueError
        return value
    if origin_type is tuple:
        return _convert_tuple(typing.get_args(kind), leaf)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # a split named 183 needs no quotes
    if kind is Path:
        if not isinstance(value, str) or not value:
            raise TypeError
        base = Path.cwd() if leaf.origin == COMMAND_LINE else Path(leaf.origin).parent
        return Path(_normalise(base / Path(value).expanduser()))
    if kind is types.NoneType:
        if value is not None and value != "":
            raise TypeError
        return None
    if type(value) is not kind:
        raise TypeError
    return value


def _convert_tuple(kinds: tuple, leaf: Leaf) -> tuple:
    if not isinstance(leaf.value, list):
        raise TypeError
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(leaf.value)
    if len(kinds) != len(leaf.value):
        raise ValueError
    return tuple(_convert(kind, Leaf(item, leaf.origin)) for kind, item in zip(kinds, leaf.value, strict=True))


def _normalise(path: Path) -> str:
    # Without resolve(): a data folder that is a link keeps the name the user gave it.
    return os.path.normpath(path.absolute())


def first_origin(node: Any) -> str:
    """Where a tree or leaf was written (the first leaf's origin)."""
    while isinstance(node, dict):
        if not node:
            return "configuration"
        node = next(iter(node.values()))
    return node.origin


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


_NAMES = {
    int: "a whole number",
    float: "a finite number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    types.NoneType: "null",
}


def expected_text(hint: Any) -> str:
    """What a type annotation of a dataclass expects, in words."""
    if _is_union(hint):
        return " or ".join(expected_text(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(str(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return f"a list, each {expected_text(kinds[0])}"
        if len(set(kinds)) == 1:
            return f"a list of {len(kinds)}, each {expected_text(kinds[0])}"
        return "a list of " + str(len(kinds)) + " (" + ", ".join(expected_text(kind) for kind in kinds) + ")"
    return _NAMES.get(hint, "a mapping of keys")


def _describe(value: Any) -> str:
    kind = {str: "text", bool: "true/false", int: "a whole number", float: "a number", list: "a list"}.get(type(value))
    return f"{value!r} ({kind})" if kind else ("nothing (null)" if value is None else repr(value))
