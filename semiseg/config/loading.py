"""The configuration of a run: YAML files and ``a.b=c`` overrides fill the models of ``keys``.

``load(path, overrides)`` follows the ``base:`` chain, checks every key and type and returns a frozen ``Config``.
``python -m semiseg.config show FOLDER`` prints the result with the origin of each value.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from semiseg import cli
from semiseg.common.errors import ConfigError
from semiseg.common.files import real_path
from semiseg.common.run_files import RESOLVED
from semiseg.config import published, published_unimatch, retired, rules, schema
from semiseg.config.fields import flatten, keys_of
from semiseg.config.keys import Config
from semiseg.config.unread import unread_keys
from semiseg.config.weights import IMAGENET, STATISTICS
from semiseg.config.yaml_text import read_yaml, read_yaml_with_doubles, refuse_doubles, to_yaml


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a YAML file (or of a folder with a config.yaml).

    Later wins: default, ``base:`` chain, the file, ``overrides`` (``section.key=value``, as on the command line).
    Relative paths resolve against the file that wrote them; in overrides against the working directory.

    Raises:
        ConfigError: unknown key, wrong type, impossible value, missing or broken file, cycle of bases.
    """
    path = Path(path)
    notes: list[str] = []
    overrides = list(overrides)
    tree = _read_chain(path / "config.yaml" if path.is_dir() else path, (), notes, _method_of(overrides))
    config = from_tree(tree, overrides).model_copy(update={"notes": tuple(notes)})
    rules.validate(config)
    return _of_own_folder(config, path) if path.name == RESOLVED else config


# Keys that name a run's folder.
_OF_FOLDER = ("saver.main_dir", "saver.root", "saver.name", "dataset.type", "dataset.split", "dataset.labeled_ratio")


def _of_own_folder(config: Config, path: Path) -> Config:
    """A run's resolved configuration is of the run that it lies in, also where that was copied or moved, unless the
    command line names another folder.
    """
    if any(config.origins.get(key) == schema.COMMAND_LINE for key in _OF_FOLDER):
        return config
    saver = config.saver.model_copy(update={"main_dir": Path(os.path.normpath(path.absolute())).parent})
    return config.model_copy(update={"saver": saver})


def from_tree(tree: Mapping[str, Any], overrides: Iterable[str] = ()) -> Config:
    """A Config whose values each fit their key; what they must be together is not looked at. mean and std are there.

    Raises:
        ConfigError: unknown key, wrong type, impossible value.
    """
    for assignment in overrides:
        tree = schema.merge(tree, schema.override(assignment))
    tree, stated = retired.take_out(tree)
    origins: dict[str, str] = {}
    config = _with_statistics(schema.build(Config, tree, origins))
    # A number of classes that a file states serves build_model(config.net) until the data set's is known.
    classes = stated["net.num_classes"].value if "net.num_classes" in stated else None
    net = config.net.model_copy(update={"num_classes": classes})
    return config.model_copy(update={"origins": origins, "stated": stated, "net": net})


def _with_statistics(config: Config) -> Config:
    """With the mean and std that belong to the encoder where none are written."""
    mean, std = STATISTICS.get(config.net.encoder.type, IMAGENET)
    data = config.dataset
    statistics = {"mean": data.mean or mean, "std": data.std or std}
    return config.model_copy(update={"dataset": data.model_copy(update=statistics)})


def _method_of(overrides: Sequence[str]) -> str | None:
    """The last ``method=...``."""
    return next((item.removeprefix("method=") for item in reversed(overrides) if item.startswith("method=")), None)


def _read_chain(path: Path, above: tuple[Path, ...], notes: list[str], method: str | None) -> schema.Node:
    path = Path(os.path.normpath(path.absolute()))
    if real_path(path) in above:
        chain = " -> ".join(p.name for p in (*above, path))
        raise ConfigError(f"{path}: base: the files name each other in a circle ({chain})")
    _refuse_moved(path)
    content, twice = read_yaml_with_doubles(path)
    if published.is_published(content):
        content, found = published.translate(content, path)
        notes += [f"line {line}: {key} is written twice; the last one counts" for key, line in twice]
        notes += found
    elif published_unimatch.is_unimatch(content):
        refuse_doubles(twice, str(path))
        content, found = published_unimatch.translate(content, path, method)
        notes += found
    else:
        refuse_doubles(twice, str(path))
    bases = content.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) and _is_name(base) for base in bases):
        raise ConfigError(f"{path}: base: expected a file name or a list of file names, got {bases!r}")
    tree = schema.Node({}, str(path))
    for base in bases:
        tree = schema.merge(tree, _read_chain(path.parent / base, (*above, real_path(path)), notes, method))
    return schema.merge(tree, schema.annotate(content, str(path)))


def _is_name(text: str) -> bool:
    """Whether a file can be called so."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _refuse_moved(path: Path) -> None:
    """Raises ConfigError for a base of the old layout, _base/<data set>_<method>.yaml: it says what to name instead."""
    folder, name = path.parent, path.stem
    try:
        if path.exists() or not (folder / "data").is_dir():
            return
    except OSError:  # reading it says why
        return
    bases = [f"{kind}/{path.name}" for kind in ("data", "methods") if (folder / kind / path.name).is_file()]
    for data in sorted(file.stem for file in folder.glob("data/*.yaml")):
        if name.startswith(f"{data}_"):  # an experiment on this data set with this method names its bases
            leaves = sorted(folder.parent.glob(f"{data}/*/{name.removeprefix(data + '_')}/config.yaml"))
            for leaf in leaves[:1]:
                named = read_yaml(leaf).get("base", [])
                paths = [leaf.parent / base for base in ([named] if isinstance(named, str) else named)]
                bases = [os.path.relpath(base, folder) for base in paths]
    if bases:
        names = ", ".join(bases)
        raise ConfigError(f"{path}: no such configuration file any more; {folder} has [{names}] in its place")


def _plain(value: Any) -> Any:
    """Sections, paths and tuples as what YAML can hold."""
    if isinstance(value, BaseModel):
        return {name: _plain(vars(value)[name]) for name in keys_of(type(value))}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def dump(config: Config) -> str:
    """The resolved configuration as YAML that ``load`` reads back to an equal Config."""
    return to_yaml(_plain(config))


def one_line(value: Any) -> str:
    """A value as it would be written in YAML, on one line."""
    return to_yaml(_plain(value), default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m semiseg.config show FOLDER_OR_FILE [key=value ...]``."""
    parser = cli.parser("config")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="print every key, its value and where it was written")
    show.add_argument("path", help="an experiment folder or a YAML file")
    show.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(argv)
    config = load(args.path, args.overrides)
    flat = flatten(config)
    width = max(map(len, flat))
    for key, value in flat.items():
        origin = config.origins.get(key, "default")
        print(f"{key:<{width}}  {one_line(value):<24}  # {origin}")
    for note in (*config.notes, *unread_keys(config)):
        print(f"note: {note}")
    return 0
