"""What the translations of published YAML files share: the flat keys under way, and what there is to say about them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiseg.common.errors import ConfigError

AEL_SECTIONS = ("dataset.acp", "dataset.acm", "criterion.cons")
# dataset.type of semi-supervised runs: U2PL's and the authors' name, AEL's.
_DATA_SETS = {"cityscapes_semi_cp": "cityscapes", "pascal_voc_semi_cp": "pascal", "pascal_voc": "pascal"}
_TO_ROOT = "../../../../"  # from experiments/<data set>/<split>/<method>, where the published scripts run


class Work:
    """The flat keys under way, and what there is to say about them."""

    def __init__(self, content: Mapping[str, Any], path: Path):
        self.path, self.notes = path, []
        self.keys: dict[str, Any] = _flat(content)
        package = str(self.keys.get("net.encoder.type", ""))
        self.authors = package.startswith("core.")
        if moved := [key for key in self.keys if key.startswith(("dataset.train.acp", "dataset.train.acm"))]:
            self.keys |= {key.replace("dataset.train.", "dataset."): self.keys.pop(key) for key in moved}
        self.ael = package.startswith("semseg.") or any(map(self.has, AEL_SECTIONS))
        written = str(self.keys.get("dataset.type", ""))
        self.data_set = _DATA_SETS.get(written, written.removesuffix("_semi"))
        self.semi = written.endswith(("_semi", "_semi_cp"))

    def has(self, section: str) -> bool:
        """Whether a section (or key) is written and not empty."""
        return any(
            (key == section or key.startswith(f"{section}.")) and value not in (None, False)
            for key, value in self.keys.items()
        )

    def note(self, key: str, text: str) -> None:
        self.notes.append(f"{key}: {text}")

    def default(self, key: str, value: Any) -> None:
        """Writes a key of ours unless the file has it itself."""
        self.keys.setdefault(key, value)

    def refuse(self, key: str, text: str) -> ConfigError:
        return ConfigError(f"{self.path}: {key}: {text}")


def is_number(value: Any) -> bool:
    """Whether YAML gave a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)  # anything else is refused by its type


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = None if isinstance(value, Mapping) else value
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a tree."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        node = tree
        for section in sections:
            if not isinstance(node.get(section), dict):  # "proto_head: null" may stand beside a key below it
                node[section] = {}
            node = node[section]
        if not (value is None and isinstance(node.get(leaf), dict)):
            node[leaf] = value
    return tree


def located(work: Work, written: Any, from_root: bool = True) -> Any:
    """A published path as an absolute one. Only the authors have paths that start at the repository root."""
    if not isinstance(written, str) or not written or Path(written).expanduser().is_absolute():
        return written
    folder = work.path.parent
    root = next((p.parent for p in (folder, *folder.parents) if p.name == "experiments"), folder)
    if written.startswith(_TO_ROOT):
        return str(root / written.removeprefix(_TO_ROOT))
    return str((root if from_root and work.authors else folder) / written)


def translate_fixed(work: Work, table: Mapping[str, tuple[tuple[Any, ...], str]]) -> None:
    for key, (fine, why) in table.items():
        if key not in work.keys:
            continue
        value = work.keys.pop(key)
        if fine and not any(value == item and type(value) is type(item) for item in fine):
            only = " or ".join(repr(item) for item in fine if item is not None)
            raise work.refuse(key, f"{value!r} is not supported here, only {only}; remove the key or set it so")
        work.note(key, f"ignored ({why})")
