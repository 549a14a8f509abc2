"""YAML text to plain values and back, with the plain scalars of YAML 1.2; keys that are written twice are told."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from semiseg.common.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """SafeLoader with the plain scalars of YAML 1.2: ``1e-3`` is a number; ``1_16``, ``007`` and ``on`` are text.

    ``twice``: (key, line from 1) of each key that stands a second time in one mapping; the last one counts.
    """

    def __init__(self, stream):
        super().__init__(stream)
        self.twice: list[tuple[Any, int]] = []

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key in seen:
                self.twice.append((key, key_node.start_mark.line + 1))
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
    """The mapping in a YAML file. Raises ConfigError (missing file, broken YAML, a key twice, not a mapping)."""
    content, twice = read_yaml_with_doubles(path)
    refuse_doubles(twice, str(path))
    return content


def read_yaml_with_doubles(path: Path) -> tuple[dict[str, Any], list[tuple[Any, int]]]:
    """The mapping in a YAML file, and (key, line) of each key that is written twice, of which the last one counts.

    Raises:
        ConfigError: missing file, broken YAML, not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    content, twice = _parse(text, str(path))
    if content is None:
        return {}, twice
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of sections (dataset:, trainer:, ...), got {describe(content)}")
    return content, twice


def refuse_doubles(twice: list[tuple[Any, int]], where: str) -> None:
    """Raises ConfigError at the first key that is written twice."""
    for key, line in twice:
        raise ConfigError(f"{where}: line {line} is not valid YAML: key {key!r} is written twice")


def parse_scalar_or_tree(text: str, where: str) -> Any:
    """YAML text to plain Python values; ConfigError with the line on a syntax error or a key that is there twice."""
    content, twice = _parse(text, where)
    refuse_doubles(twice, where)
    return content


def _parse(text: str, where: str) -> tuple[Any, list[tuple[Any, int]]]:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data(), loader.twice
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a tag that its value does not fit, as in "!!int x"
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise ConfigError(f"{where}:{line} is not valid YAML: {problem}") from None


def to_yaml(content: Any, **options: Any) -> str:
    """Plain values as YAML text that ``parse_scalar_or_tree`` reads back to the same."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, **options)


def describe(value: Any) -> str:
    """A value and its kind, for errors."""
    kind = {str: "text", bool: "true/false", int: "a whole number", float: "a number", list: "a list"}.get(type(value))
    return f"{value!r} ({kind})" if kind else ("nothing (null)" if value is None else repr(value))
