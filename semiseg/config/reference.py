"""What the fields say of themselves, for readers: docs/configuration.md, and experiments/schema.json for editors."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from semiseg.config.fields import expected_text, keys_of, kinds_of, range_text, read_where, section_of
from semiseg.config.keys import Config
from semiseg.config.loading import one_line
from semiseg.config.retired import RETIRED
from semiseg.config.rules import rules

INTRO = """# Every key

Made by `python tools/config_reference.py` from [semiseg/config/keys.py](../semiseg/config/keys.py); change the text
there. The same command writes [experiments/schema.json](../experiments/schema.json): editors that speak JSON schema
(VS Code with the YAML extension, and others with yaml-language-server) complete and explain keys in every file whose
first line names it, as those in `experiments/` do.

A configuration is a YAML file with these sections. `base:` names one file or a list of files that it starts from;
mappings merge, everything else replaces. Anchors, aliases and merges of YAML (`val: {crop: {<<: *crop}}`) work within
a file. Keys on the command line (`trainer.epochs=40`) win over files. Relative paths start at the file that holds
them, on the command line at the working directory. Unknown keys and impossible values are errors. A key that is
written for a run in which nothing reads it is named at the start of the run. `python -m semiseg.config show FOLDER`
prints what a run would use and which file said so.

`null` as a default means "not set". Ranges are those at the defaults of the other keys.
"""
_BASE = {
    "description": "the file, or the files, that this one starts from; relative to this file",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}


def filled(section: BaseModel) -> BaseModel:
    """The defaults with every section there that may be null."""
    kinds = {name: section_of(field.annotation) for name, field in keys_of(type(section)).items()}
    there = {name: filled(getattr(section, name) or kind()) for name, kind in kinds.items() if kind}
    return section.model_copy(update=there)


def sections(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel], bool]]:
    """(dotted name, section, whether it may be null), outer ones first."""
    for name, field in keys_of(kind).items():
        section = section_of(field.annotation)
        if section:
            yield prefix + name, section, type(None) in kinds_of(field.annotation)
            yield from sections(section, f"{prefix}{name}.")


def page() -> str:
    """docs/configuration.md."""
    defaults, crossing = filled(Config()), {}
    for key, _, expected in rules(defaults):
        if not expected.startswith("no "):  # what is expected of keys beside it
            crossing.setdefault(key, expected)
    lines = [INTRO, *_table(defaults, "", crossing)]
    for name, kind, optional in sections(Config):
        about = " ".join(inspect.getdoc(kind).split()).replace("``", "`").replace("<", "&lt;")
        about += " It is `null`, switched off, unless it is written." if optional else ""
        section = defaults
        for part in name.split("."):
            section = getattr(section, part)
        lines += ["", f"## {name}", "", about, "", *_table(section, f"{name}.", crossing)]
    return "\n".join(lines) + "\n"


def _table(section: BaseModel, prefix: str, crossing: dict[str, str]) -> list[str]:
    """The keys of one section, as rows of Markdown."""
    lines = ["| key | default | expected | |", "|---|---|---|---|"]
    for name, field in keys_of(type(section)).items():
        key, optional = prefix + name, type(None) in kinds_of(field.annotation)
        if section_of(field.annotation):
            default, expected = "`null`" if optional else "", "keys, see below"
        else:
            default, expected = f"`{one_line(getattr(section, name))}`", expected_text(field.annotation)
            limits = crossing.get(key) or range_text(name, field)
            expected = limits + (" or null" if optional else "") if limits else expected
        cells = (f"`{key}`", default, expected, _meaning(field))
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |")
    return lines


def _meaning(field: Any) -> str:
    """The description, and when the key is read."""
    where = read_where(field)
    return "; ".join(filter(None, (field.description, where and f"read where {where}")))


def json_schema() -> str:
    """experiments/schema.json: what a file of the configuration may hold, for editors. Every key may be left out."""
    schema = Config.model_json_schema()
    definitions = schema.pop("$defs")
    for kind in {Config, *(kind for _, kind, _ in sections(Config))}:
        _clean(schema if kind is Config else definitions[kind.__name__], kind)
    for dotted, rule in RETIRED.items():
        kind = Config
        *outer, name = dotted.split(".")
        for part in outer:
            kind = section_of(kind.model_fields[part].annotation)
        values = {"type": ["integer", "null"]} if isinstance(rule.legal, range) else {"enum": list(rule.legal)}
        about = {"deprecated": True, "description": "not needed: there is no choice, or it follows from other keys"}
        definitions[kind.__name__]["properties"][name] = about | values
    schema["properties"] = {"base": _BASE, **schema["properties"]}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "A configuration of SemiSeg"}
    text = json.dumps(head | schema | {"definitions": definitions}, indent=1, ensure_ascii=False)
    return text.replace("#/$defs/", "#/definitions/") + "\n"


def _clean(schema: dict[str, Any], kind: type[BaseModel]) -> None:
    """Leaves what an editor shows: keys alone, one description each, lists as draft 7 has them."""
    schema["description"] = " ".join(inspect.getdoc(kind).split()).replace("``", "`")
    schema.pop("title", None)
    fields = keys_of(kind)
    schema["properties"] = {name: schema["properties"][name] for name in fields}
    for name, shown in schema["properties"].items():
        for word in ("title", "expected", "read_if"):
            shown.pop(word, None)
        if section_of(fields[name].annotation):
            shown.pop("default", None)
        if _meaning(fields[name]):
            shown["description"] = _meaning(fields[name])
        for option in (shown, *shown.get("anyOf", ())):
            _plain_lists(option)


def _plain_lists(shown: dict[str, Any]) -> None:
    """A list of n things of one kind as ``items`` with its length, which every draft of JSON schema understands."""
    shown.pop("format", None)  # of paths; no draft knows it
    if "prefixItems" in shown:
        shown["items"] = shown.pop("prefixItems")[0]
    if isinstance(shown.get("items"), dict):
        _plain_lists(shown["items"])
