"""The configuration of a run: YAML files and ``a.b=c`` overrides fill the dataclasses of ``config_keys``.

``load(path, overrides)`` follows the ``base:`` chain, checks every key and type and returns a frozen ``Config``.
``python -m semiseg.config show FOLDER`` prints the result with the origin of each value.
"""

import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from semiseg import cli
from semiseg.common.errors import ConfigError, UserError
from semiseg.config import published as published_config
from semiseg.config import rules as config_rules
from semiseg.config import schema
from semiseg.config.keys import ABOUT, Config


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a YAML file (or of a folder with a config.yaml).

    Later wins: dataclass default, ``base:`` chain, the file, ``overrides`` (``section.key=value``, as on the command
    line). Relative paths resolve against the file that wrote them; in overrides against the working directory.

    Raises:
        ConfigError: unknown key, wrong type, impossible value, missing or broken file, cycle of bases.
    """
    path = Path(path)
    notes: list[str] = []
    tree = _read_chain(path / "config.yaml" if path.is_dir() else path, (), notes)
    for assignment in overrides:
        tree = schema.merge(tree, schema.override(assignment))
    origins: dict[str, str] = {}
    config = schema.build(Config, tree, "", origins)
    config = dataclasses.replace(config, origins=origins, notes=tuple(notes))
    config_rules.validate(config)
    return config


def _read_chain(path: Path, above: tuple[Path, ...], notes: list[str]) -> dict[str, Any]:
    path = Path(os.path.normpath(path.absolute()))
    if path.resolve() in above:
        chain = " -> ".join(p.name for p in (*above, path))
        raise ConfigError(f"{path}: base: the files name each other in a circle ({chain})")
    content = schema.read_yaml(path)
    if published_config.is_published(content):
        content, found = published_config.translate(content, path)
        notes += found
    bases = content.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: base: expected a file name or a list of file names, got {bases!r}")
    for key in ABOUT:
        if key in content:
            raise ConfigError(f"{path}: unknown key {key}")
    tree: dict[str, Any] = {}
    for base in bases:
        tree = schema.merge(tree, _read_chain(path.parent / base, (*above, path.resolve()), notes))
    return schema.merge(tree, schema.annotate(content, str(path)))


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, nested dataclasses opened, in the order of the schema."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        if item.name in ABOUT:
            continue
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{item.name}.")
        else:
            flat[prefix + item.name] = value
    return flat


def _plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as what YAML can hold."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name not in ABOUT}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def dump(config: Config) -> str:
    """The resolved configuration as YAML that ``load`` reads back to an equal Config."""
    return schema.to_yaml(_plain(config))


def one_line(value: Any) -> str:
    """A value as it would be written in YAML, on one line."""
    return schema.to_yaml(_plain(value), default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m semiseg.config show FOLDER_OR_FILE [key=value ...]``."""
    parser = cli.parser("config")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="print every key, its value and where it was written")
    show.add_argument("path", help="an experiment folder or a YAML file")
    show.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(argv)
    try:
        config = load(args.path, args.overrides)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    flat = flatten(config)
    width = max(map(len, flat))
    for key, value in flat.items():
        origin = config.origins.get(key, "default")
        print(f"{key:<{width}}  {one_line(value):<24}  # {origin}")
    for note in (*config.notes, *config_rules.unread_keys(config)):
        print(f"note: {note}")
    return 0
