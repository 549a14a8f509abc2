"""Which keys nothing reads in a run, by the conditions that stand on the fields in ``keys``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from semiseg.common.run_files import RESOLVED
from semiseg.config.fields import (
    SET,
    Condition,
    conditions_of,
    keys_of,
    options_of,
    options_text,
    section_of,
    value_text,
)
from semiseg.config.keys import METHODS, Config
from semiseg.config.schema import COMMAND_LINE

BASES = "_base"  # the folder of files that several experiments start from


def unread_keys(config: Config) -> list[str]:
    """Keys that somebody wrote for this run and that the other keys make unread, one sentence each.

    What a file in a folder ``_base`` says is meant for several methods and data sets, and a resolved configuration, or
    a checkpoint's, holds every key; these are not named.
    """
    unread = dict(unread_in(config))
    notes = []
    for key, origin in config.origins.items():
        file = Path(origin)
        meant = origin == COMMAND_LINE or not (BASES in file.parts or file.name == RESOLVED or file.suffix == ".ckpt")
        if meant and key in unread and value_at(config, key) is not None:
            notes.append(f"{key} ({origin}) is not read: {unread[key]}")
    return notes


def unread_in(config: Config) -> Iterator[tuple[str, str]]:
    """(dotted key, why nothing reads it) of keys and sections, written or not; a section's reason is its keys' too.

    Of a method that this package does not know, nothing is said on account of the method.
    """
    yield from _unread(type(config), "", "", config)


def _unread(kind: type[BaseModel], prefix: str, outer: str, config: Config) -> Iterator[tuple[str, str]]:
    for name, field in keys_of(kind).items():
        dotted, section = prefix + name, section_of(field.annotation)
        why = outer or _reason(conditions_of(field), config)
        if why:
            yield dotted, why
        if section:
            yield from _unread(section, f"{dotted}.", why, config)


def _reason(conditions: tuple[Condition, ...], config: Config) -> str:
    """Why none of the conditions holds; "" if one does, or if there is none."""
    failed = [next((item for item in condition.items() if not _holds(*item, config)), None) for condition in conditions]
    if not failed or None in failed:
        return ""
    switch, needed = failed[0]
    chosen = value_at(config, switch)
    shown = "written" if isinstance(chosen, BaseModel) else value_text(chosen)
    return f"{switch} is {shown}, not {options_text(needed)}"


def _holds(switch: str, needed: Any, config: Config) -> bool:
    value = value_at(config, switch)
    if switch == "method" and value not in METHODS:
        return True
    return value is not None if needed == SET else value in options_of(needed)


def value_at(config: Config, dotted: str) -> Any:
    """The value of a dotted key; None below a section that is null."""
    value: Any = config
    for part in dotted.split("."):
        value = None if value is None else getattr(value, part)
    return value
