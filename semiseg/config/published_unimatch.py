"""UniMatch's YAML files (configs/pascal.yaml, configs/cityscapes.yaml), turned into this project's keys.

They are flat, and name neither the method nor the lists: its scripts are given those. Here the method is ``unimatch``
unless the file or the command line says another. docs/migrating.md has the table.

Its scripts run in the parent of configs/, where splits/<data set>/val.txt is scored and exp/ holds the runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiseg.common.errors import ConfigError
from semiseg.config.published_work import is_number, nested

# Keys by which such a file is told.
_MARKS = {"nclass", "backbone", "dilations", "crop_size"}
_CRITERIA = {"CELoss": "CELoss", "OHEM": "ohem"}
_CLASSES = {"pascal": 21, "cityscapes": 19}
# What its code has built in, by our keys.
_BUILT_IN: dict[str, Any] = {
    "method": "unimatch",
    "dataset.train.strong": {},
    "dataset.train.scale_draw": "uniform",
    "dataset.train.rand_resize": [0.5, 2.0],
    "dataset.train.pad_label": 255,
    "trainer.sup_only_epoch": 0,
    "trainer.weak_to_strong.partner": "same_image",
    "trainer.optimizer.kwargs.momentum": 0.9,
    "trainer.optimizer.kwargs.weight_decay": 0.0001,
    "net.ema_decay": 0,
    "net.encoder.kwargs.multi_grid": False,
    "net.encoder.kwargs.pool_ceil": False,
    "net.decoder.type": "dec_unimatch",
    "evaluation.average": "probabilities",
}


# What supervised.py does not read.
_OF_UNLABELED = (
    "dataset.train.strong",
    "trainer.sup_only_epoch",
    "trainer.unsupervised.confid_thresh",
    "trainer.weak_to_strong.partner",
)


def is_unimatch(content: Mapping[str, Any]) -> bool:
    """Whether a mapping is one of UniMatch's files."""
    return content.keys() >= _MARKS


def translate(content: Mapping[str, Any], path: Path, method: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """Such a mapping in our keys, and the notes. Keys of ours may stand beside UniMatch's and win.

    Args:
        path: the file. A relative ``data_root`` starts at the folder that its scripts run in, the parent of configs/.
        method: of the command line, if it says one.

    Raises:
        ConfigError: a key that is written with a value that this project has no counterpart for.
    """
    left, notes, keys = dict(content), [], dict(_BUILT_IN)
    data_set = left.pop("dataset", None) if isinstance(content.get("dataset"), str) else None
    if data_set is not None:
        if data_set not in _CLASSES:
            raise ConfigError(f"{path}: dataset: expected pascal or cityscapes, got {data_set} (no such data set here)")
        keys["dataset.type"] = data_set
    classes = left.pop("nclass")
    if data_set and classes != _CLASSES[data_set]:
        raise ConfigError(f"{path}: nclass: expected {_CLASSES[data_set]}, the classes of {data_set}, got {classes}")
    side = left.pop("crop_size")
    keys["dataset.train.crop.size"] = [side, side]
    if data_set == "cityscapes":
        keys |= {"evaluation.mode": "slide", "evaluation.crop_size": [side, side]}
    keys["trainer.eval_mode"] = "same"
    root = _scripts_folder(path)
    if "data_root" in left:
        keys["dataset.data_root"] = _below(root, left.pop("data_root"))
    keys["saver.root"] = str(root / "exp")
    scored = root / "splits" / str(data_set) / "val.txt"
    if scored.is_file():
        keys["dataset.val.data_list"] = str(scored)
    for theirs, ours in _RENAMED.items():
        if theirs in left:
            keys[ours] = left.pop(theirs)
    times = left.pop("lr_multi", 1.0)  # as its code has it where a file leaves it out
    if not is_number(times):
        raise ConfigError(f"{path}: lr_multi: expected a number, got {times!r}")
    keys["trainer.optimizer.decoder_lr_times"] = float(times)
    if isinstance(left.get("criterion"), Mapping) and "name" in left["criterion"]:
        keys |= _criterion(left.pop("criterion"), path)
    if left.pop("model", "deeplabv3plus") != "deeplabv3plus":
        raise ConfigError(f"{path}: model: expected deeplabv3plus, got {content['model']}")
    if (method or left.get("method")) == "suponly":  # its loader passes over the labelled list alone
        keys = {key: value for key, value in keys.items() if key not in _OF_UNLABELED} | {"trainer.epoch_of": "labeled"}
        notes.append("trainer.epoch_of: labeled, as UniMatch's supervised.py; its README doubles batch_size for it")
    notes.append("method: unimatch, unless method=fixmatch (or another) is given; UniMatch's files do not say")
    notes.append(
        "the lists: UniMatch's scripts are given them; here dataset.splits=.../splits/pascal dataset.split=92, or "
        "dataset.train.data_list and dataset.train.unlabeled_list"
    )
    notes.append(f"saver.root: {keys['saver.root']}, as UniMatch's scripts have it")
    return _merged(nested(keys), left), notes


_RENAMED = {
    "epochs": "trainer.epochs",
    "batch_size": "dataset.batch_size",
    "lr": "trainer.optimizer.kwargs.lr",
    "conf_thresh": "trainer.unsupervised.confid_thresh",
    "backbone": "net.encoder.type",
    "replace_stride_with_dilation": "net.encoder.kwargs.replace_stride_with_dilation",
    "dilations": "net.decoder.kwargs.dilations",
}


def _criterion(written: Mapping[str, Any], path: Path) -> dict[str, Any]:
    name, kwargs = written["name"], dict(written.get("kwargs") or {})
    if name not in _CRITERIA:
        raise ConfigError(f"{path}: criterion.name: expected CELoss or OHEM, got {name}")
    ignored = kwargs.pop("ignore_index", 255)
    if ignored != 255:
        raise ConfigError(f"{path}: criterion.kwargs.ignore_index: expected 255, got {ignored}")
    keys = {f"criterion.kwargs.{key}": value for key, value in kwargs.items()}
    return {"criterion.type": _CRITERIA[name]} | keys


def _scripts_folder(path: Path) -> Path:
    return path.parent.parent if path.parent.name == "configs" else path.parent


def _below(root: Path, written: Any) -> Any:
    return written if not isinstance(written, str) or Path(written).is_absolute() else str(root / written)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says in our own keys, ``above``, over the rest."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result
