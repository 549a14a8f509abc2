"""What the keys are made of: the base of every section, types that several keys share, and what a field says of itself.

``key`` puts on a field what pydantic has no place for: in which runs it is read, and its range in words.
"""

import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.fields import FieldInfo

# Where a key is read: dotted key -> the value, or the values, there with which it is.
Condition = Mapping[str, Any]
SET = "set"  # in a condition: everything but null


class Section(BaseModel):
    """A section of the configuration: frozen, without unknown keys, without guesses at types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def key(
    default: Any,
    description: str = "",
    *,
    expected: str = "",
    read_if: Condition | tuple[Condition, ...] = (),
    **limits: Any,
) -> Any:
    """A field of a section.

    Args:
        expected: the range in words, where ``limits`` do not say it well.
        read_if: the runs in which something reads the key; of several conditions one is enough. A condition on a
            section counts for its keys.
        limits: pydantic's ``ge``, ``gt``, ``le``, ``lt`` and ``min_length``; ``examples`` for editors.
    """
    conditions = (read_if,) if isinstance(read_if, Mapping) else read_if
    extra = {"expected": expected, "read_if": conditions}
    return Field(default, description=description, json_schema_extra=extra, **limits)


def about(default: Any) -> Any:
    """A field that is no key: ``load`` or ``build.complete`` fills it, and it is not written out."""
    return Field(default, exclude=True, repr=False)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _low_and_high(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1]:
        raise ValueError("low and high")
    return value


# Text; a split named 183 needs no quotes.
Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "integer"]})]
Positive = Annotated[float, Field(gt=0)]
# Mixed precision; YAML reads a bare off as false.
Amp = Annotated[Literal["off", "O1", "O2"], BeforeValidator(lambda value: "off" if value is False else value)]
Scales = Annotated[tuple[float, float], AfterValidator(_low_and_high)]
Size = tuple[int, int]
Rgb = tuple[float, float, float]
Color = tuple[int, int, int]

PROBABILITY = {"ge": 0, "le": 1, "expected": "a probability, 0..1"}
SHARE_OF_CROP = {"ge": 0, "le": 1, "expected": "a share of the crop, 0..1"}
SHARE_OF_WINDOW = {"gt": 0, "le": 1, "expected": "a share of the window, 0..1"}
STRENGTH = {"ge": 0, "expected": "0 or more"}
PERCENT = {"ge": 0, "le": 100, "expected": "a percentage, 0..100"}
SCALES = {"expected": "[low, high] with 0 < low <= high"}


def keys_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that are keys, by name."""
    return {name: field for name, field in section.model_fields.items() if not field.exclude}


def flatten(section: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, nested sections opened, in the order of the keys."""
    flat: dict[str, Any] = {}
    for name in keys_of(type(section)):
        value = vars(section)[name]
        if isinstance(value, BaseModel):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def conditions_of(field: FieldInfo) -> tuple[Condition, ...]:
    """When a field is read; () is always."""
    return (field.json_schema_extra or {}).get("read_if", ())


def read_where(field: FieldInfo) -> str:
    """When a field is read, in words; "" for always."""
    either = (" and ".join(f"{key} is {options_text(value)}" for key, value in c.items()) for c in conditions_of(field))
    return ", or where ".join(either)


def options_of(needed: Any) -> tuple:
    """The values that one entry of a condition allows."""
    return needed if isinstance(needed, tuple) else (needed,)


_WORDS = ((None, "null"), (True, "true"), (False, "false"))  # by identity: 1 and 0 are no words


def value_text(value: Any) -> str:
    """A plain value as YAML writes it."""
    return next((word for known, word in _WORDS if value is known), str(value))


def options_text(needed: Any) -> str:
    """What one entry of a condition allows, in words."""
    *first, last = map(value_text, options_of(needed))
    return f"{', '.join(first)} or {last}" if first else last


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that an annotation holds, alone or beside None."""
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def kinds_of(annotation: Any) -> list[Any]:
    """The types that a value may have: unions opened, pydantic's annotations left out."""
    if typing.get_origin(annotation) is Annotated:
        return kinds_of(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for option in typing.get_args(annotation) for kind in kinds_of(option)]
    return [annotation]


_NAMES = {
    int: "a whole number",
    float: "a finite number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    types.NoneType: "null",
}


def expected_text(annotation: Any) -> str:
    """What a type expects, in words."""
    kinds = kinds_of(annotation)
    if len(kinds) > 1:
        return " or ".join(map(expected_text, kinds))
    (kind,) = kinds
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(str(option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        count = "a list" if items[-1] is Ellipsis else f"a list of {len(items)}"
        return f"{count}, each {expected_text(items[0])}"  # every list here holds one kind of things
    return _NAMES.get(kind, "a mapping of keys")


def range_text(name: str, field: FieldInfo) -> str:
    """The range of a field in words, "" without one."""
    extra = field.json_schema_extra or {}
    if extra.get("expected"):
        return extra["expected"]
    limits = {k: getattr(item, k) for item in field.metadata for k in ("ge", "gt", "le", "lt") if hasattr(item, k)}
    if not limits:
        return ""
    low, high = limits.get("ge", limits.get("gt", -math.inf)), limits.get("le", limits.get("lt", math.inf))
    if math.isinf(high):
        above = "a number above" if "gt" in limits else "at least"
        return f"{low} or more" if "ge" in limits and low == 0 else f"{above} {low}"
    return f"{low}..{high}" if {"ge", "le"} <= set(limits) else f"{low} <= {name} < {high}"
