"""From a tree of written values to pydantic models, with errors that name who wrote the value. Knows no key of this
project.

A tree is nested ``Node``s whose leaves are ``Leaf(value, origin)``: every value remembers the file (or the command
line) that wrote it, so that errors and ``config show`` can name it.
"""

import os
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from semiseg.common.errors import ConfigError
from semiseg.common.text import did_you_mean
from semiseg.config.fields import expected_text, keys_of, kinds_of, range_text, section_of
from semiseg.config.yaml_text import describe, parse_scalar_or_tree

COMMAND_LINE = "command line"
_OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "too_short", "value_error"}
Model = TypeVar("Model", bound=BaseModel)


class Leaf(NamedTuple):
    """A value as written and where: a path of a YAML file, or ``COMMAND_LINE``."""

    value: Any
    origin: str


class Node(dict):
    """A section of a tree: key -> Node or Leaf. ``origin``: who wrote it last."""

    def __init__(self, items: Mapping[str, Any], origin: str):
        super().__init__(items)
        self.origin = origin


def annotate(content: Mapping, origin: str) -> Node:
    """A plain mapping as a tree whose leaves carry ``origin``."""
    items = {
        str(key): annotate(value, origin) if isinstance(value, Mapping) else Leaf(value, origin)
        for key, value in content.items()
    }
    return Node(items, origin)


def merge(low: Mapping, high: Mapping) -> Node:
    """``high`` laid over ``low``: mappings merge key by key, everything else (lists, null) replaces."""
    merged = Node(low, getattr(high, "origin", COMMAND_LINE))
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Node) and isinstance(value, Node) else value
    return merged


_BYTES = re.compile("[\udc80-\udcff]")  # as Python has them in names of files
_COMMENT = re.compile(r"^[^\"'\[{].*\s#|^#")


def override(assignment: str) -> Node:
    """``a.b=c`` of the command line as a tree. Raises ConfigError if there is no ``=``."""
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"{COMMAND_LINE}: expected section.key=value, got {assignment!r}")
    # A path with bytes that are no text, which YAML does not know.
    # Nor what YAML would take for a comment: nobody writes one on a command line, but names with a # there are.
    is_text = _BYTES.search(text) or _COMMENT.search(text)
    value = text if is_text else parse_scalar_or_tree(text, f"{COMMAND_LINE}: {dotted}")
    tree: Any = annotate(value, COMMAND_LINE) if isinstance(value, dict) else Leaf(value, COMMAND_LINE)
    for part in reversed(dotted.strip().split(".")):
        tree = Node({part: tree}, COMMAND_LINE)
    return tree


def build(kind: type[Model], tree: Mapping, origins: dict[str, str] | None = None) -> Model:
    """An instance of a model from a tree; missing keys take the model's defaults.

    ``origins`` is filled with dotted key -> origin for every key that was written, an empty section included. Raises
    ConfigError for unknown keys (with the nearest known one), wrong types and values out of their range.
    """
    written: dict[str, str] = {}
    values = _values(kind, tree, "", written)
    if origins is not None:
        origins |= written
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(kind, tree, error) from None


_NO_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


def _values(kind: type[BaseModel], tree: Mapping, prefix: str, origins: dict[str, str]) -> dict[str, Any]:
    """The tree as what pydantic takes: leaves without origins, lists as tuples, paths located."""
    values, known = {}, keys_of(kind)
    for name, node in tree.items():
        dotted = prefix + name
        if name not in known:
            raise ConfigError(f"{node.origin}: unknown key {dotted}{did_you_mean(name, known)}")
        section = section_of(known[name].annotation)
        if isinstance(node, Node):
            if section is None:
                expected = expected_text(known[name].annotation)
                raise ConfigError(f"{node.origin}: {dotted}: expected {expected}, got a mapping")
            values[name] = _values(section, node, f"{dotted}.", origins)
            if not node:
                origins[dotted] = node.origin
        else:
            _refuse_no_text(node, dotted)
            values[name] = _plain(known[name].annotation, node, dotted)
            origins[dotted] = node.origin
    return values


def _plain(annotation: Any, leaf: Leaf, dotted: str) -> Any:
    kinds, value = kinds_of(annotation), leaf.value
    if value == "" and types.NoneType in kinds and (str not in kinds or Path in kinds):
        return None
    is_name = str in kinds and isinstance(value, str) and not set(value) & {".", "/", os.sep}
    if Path in kinds and isinstance(value, str) and value and not is_name:
        base = Path.cwd() if leaf.origin == COMMAND_LINE else Path(leaf.origin).parent
        # Without resolve(): a data folder that is a link keeps the name the user gave it.
        return Path(os.path.normpath((base / _at_home(value, leaf, dotted)).absolute()))
    return _tuples(value)


def _at_home(value: str, leaf: Leaf, dotted: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ConfigError(f"{leaf.origin}: {dotted}: {value!r}: no such user; write the path itself") from None


def _refuse_no_text(leaf: Leaf, dotted: str) -> None:
    """Zero bytes and halves of characters, which YAML's escapes can write and no file name, terminal or file holds."""
    for text in leaf.value if isinstance(leaf.value, list) else [leaf.value]:
        if isinstance(text, str) and _NO_TEXT.search(text):
            raise ConfigError(f"{leaf.origin}: {dotted}: expected text, got {text!r}, with characters that are none")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _refusal(kind: type[BaseModel], tree: Mapping, error: ValidationError) -> ConfigError:
    """The first of pydantic's complaints in one line of ours."""
    first = error.errors()[0]
    path = [part for part in first["loc"] if isinstance(part, str)]
    node: Any = tree
    for depth, part in enumerate(path):
        if isinstance(node, Leaf):  # of a key with several kinds of values, what follows names the kind
            del path[depth:]
            break
        node = node[part]
    field = field_at(kind, path)
    limits = range_text(path[-1], field) if first["type"] in _OUT_OF_RANGE else ""
    expected, got = limits or expected_text(field.annotation), node.value if limits else describe(node.value)
    return ConfigError(f"{node.origin}: {'.'.join(path)}: expected {expected}, got {got}")


def field_at(kind: type[BaseModel], path: Iterable[str]) -> FieldInfo:
    """The field that dotted names lead to."""
    field = None
    for name in path:
        field = kind.model_fields[name]
        kind = section_of(field.annotation) or kind
    return field
