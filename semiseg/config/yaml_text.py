"""YAML text to plain values and back, with the plain scalars of YAML 1.2 and ``<<`` of 1.1; keys that are written
twice are told.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from semiseg.common.errors import ConfigError
from semiseg.common.files import read_file
from semiseg.common.os_errors import how_to_mend, reason
from semiseg.common.text import not_utf8

_MERGE = "tag:yaml.org,2002:merge"
_DEEPEST, _MOST = 100, 100_000  # levels, and values where every alias is written out: far beyond any configuration


class _Loader(yaml.SafeLoader):
    """SafeLoader with the plain scalars of YAML 1.2: ``1e-3`` is a number; ``1_16``, ``007`` and ``on`` are text.

    ``twice``: (key, line from 1) of each key that stands a second time in one mapping; the last one counts.
    """

    def __init__(self, stream):
        super().__init__(stream)
        self.twice: list[tuple[Any, int]] = []
        self._flat, self._open = set(), set()  # ids of mappings whose merges are done, and are being done

    def fetch_flow_collection_start(self, token_class):
        """As PyYAML's, which needs minutes for thousands of brackets in each other."""
        self._refuse_depth(self.flow_level)
        super().fetch_flow_collection_start(token_class)

    def add_indent(self, column):
        """As PyYAML's, within limits."""
        self._refuse_depth(len(self.indents))
        return super().add_indent(column)

    def _refuse_depth(self, depth):
        if depth > _DEEPEST:
            raise yaml.scanner.ScannerError(None, None, "nested too deeply", self.get_mark())

    def construct_whole(self, node):
        """A mapping or list at once: one that holds itself (&a {b: *a}) is an error then, not a tree without end."""
        make = self.construct_mapping if isinstance(node, yaml.MappingNode) else self.construct_sequence
        return make(node, deep=True)

    def flatten_mapping(self, node):
        """Puts what is merged (<<) into a mapping: its own keys win, then the first of a list. PyYAML's own compares
        keys by the identity of their text, so that it depends on chance which one wins.
        """
        if id(node) in self._flat:
            return
        if id(node) in self._open:
            raise yaml.constructor.ConstructorError(None, None, "a mapping merges itself (<<)", node.start_mark)
        self._open.add(id(node))
        pairs = self._named(node)
        for source in self._merged(node):
            self.flatten_mapping(source)
            pairs = self._named(source) | pairs
        node.value = list(pairs.values())
        self._flat.add(id(node))

    def _named(self, node):
        """Key -> (key node, value node), without merges."""
        named = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key in named:
                self.twice.append((key, key_node.start_mark.line + 1))
            named[key] = (key_node, value_node)
        return named

    def _merged(self, node):
        """The mappings that a mapping merges, what wins first."""
        values = [pair for pair in node.value if pair[0].tag == _MERGE]
        if len(values) > 1:
            raise yaml.constructor.ConstructorError(None, None, "key '<<' is written twice", values[1][0].start_mark)
        for _, value in values:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    problem = "<< expects a mapping or a list of mappings"
                    raise yaml.constructor.ConstructorError(None, None, problem, source.start_mark)
                yield source


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes text which ``_Loader`` would take for something else (``1e3``)."""


for _tag in ("map", "seq"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_whole)
_DECIMAL = r"(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?"
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", rf"[-+]?({_DECIMAL}|[0-9]+[eE][-+]?[0-9]+)|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
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
        text = read_file(path).decode()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({reason(error)}); {how_to_mend(error)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {not_utf8(error.object)}") from None
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
            node = loader.get_single_node()
            _refuse_many(node)
            return None if node is None else loader.construct_document(node), loader.twice
        finally:
            loader.dispose()
    except RecursionError:
        raise ConfigError(f"{where}: is not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a tag that its value does not fit, as in "!!int x"
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise ConfigError(f"{where}:{line} is not valid YAML: {problem}") from None


def _refuse_many(node: yaml.Node | None) -> None:
    """Aliases of aliases of aliases: a few lines that stand for more values than any machine has memory."""
    sizes: dict[int, int] = {}

    def size(item: yaml.Node) -> int:
        if id(item) not in sizes:
            sizes[id(item)] = 1  # where it holds itself, which is refused later
            values = item.value if isinstance(item, yaml.CollectionNode) else []
            sizes[id(item)] += sum(sum(map(size, v)) if isinstance(v, tuple) else size(v) for v in values)
        return sizes[id(item)]

    if node is not None and size(node) > _MOST:
        problem = f"its aliases stand for more than {_MOST} values"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def to_yaml(content: Any, **options: Any) -> str:
    """Plain values as YAML text that ``parse_scalar_or_tree`` reads back to the same."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, **options)


def describe(value: Any) -> str:
    """A value and its kind, for errors."""
    kind = {str: "text", bool: "true/false", int: "a whole number", float: "a number", list: "a list"}.get(type(value))
    return f"{value!r} ({kind})" if kind else ("nothing (null)" if value is None else repr(value))
