"""From the Config to where things lie: images, lists, the run folder; and what to do where they are not there."""

from pathlib import Path

from semiseg.common.errors import ConfigError, DataError
from semiseg.common.files import matching
from semiseg.config.keys import Config
from semiseg.data.scored import Roots
from semiseg.data.specs import DatasetSpec

_DATA_HELP = "docs/datasets.md tells how to get it; dataset.data_root says where it lies"
_IMAGE_TOOLS = {
    "camvid": "python tools/prepare_camvid.py --download (or --from DIR)",
    "synthetic": "python tools/make_synthetic.py",
    "synthetic_longtail": "python tools/make_synthetic.py --long-tailed",
}
_MASK_TOOLS = {"pascal": "tools/prepare_voc.py", "cityscapes": "tools/prepare_cityscapes.py"}


def origin_of(config: Config, dotted: str) -> str:
    """Who wrote a key, or the first of the keys below it: a file, the command line or ``default``."""
    below = (origin for key, origin in config.origins.items() if key == dotted or key.startswith(f"{dotted}."))
    return next(below, "default")


def run_folder(config: Config, spec: DatasetSpec) -> Path:
    """``saver.main_dir``, else <saver.root>/<data set>/<split>/<name>."""
    if config.saver.main_dir:
        return config.saver.main_dir
    if not config.saver.root:
        raise ConfigError("saver.root: expected the folder for all runs (or saver.main_dir for this one), got nothing")
    return config.saver.root / spec.folder / split_name(config) / (config.saver.name or config.method)


def split_name(config: Config) -> str:
    """The split's folder name, or what stands for it where it is drawn or given by lists."""
    data = config.dataset
    if data.labeled_ratio is not None:
        return f"ratio_{data.labeled_ratio:g}_seed_{data.split_seed}"
    return data.split or "lists"


def data_root(config: Config, spec: DatasetSpec, part: str) -> Path:
    """The folder that image and mask paths of ``part`` (train or val) start from.

    Raises: ConfigError if none is configured, DataError if it is not there.
    """
    root = getattr(roots_of(config), part)
    if not root:
        raise ConfigError(f"dataset.data_root: expected the folder of {spec.name}, got nothing; {_DATA_HELP}")
    if not root.is_dir():
        make = f"{_IMAGE_TOOLS[spec.name]} makes it" if spec.name in _IMAGE_TOOLS else _DATA_HELP
        raise DataError(f"{root}: no such folder for the images of {spec.name}; {make}")
    return root


def roots_of(config: Config) -> Roots:
    """The data roots of train and val as the keys say them."""
    data = config.dataset
    return Roots(data.train.data_root or data.data_root, data.val.data_root or data.data_root)


def list_path(config: Config, written: Path | None, name: str) -> Path:
    """Where a list lies: as written, else in the split's folder (val.txt: beside it).

    Raises: ConfigError if no key says where, DataError if there is no such list.
    """
    data = config.dataset
    if written:
        return written
    if not data.splits:
        raise ConfigError(f"dataset.splits: expected the folder of the lists (for {name}), got nothing")
    if name == "val.txt":
        path = data.splits / name
    elif data.split:
        path = data.splits / data.split / name
    else:
        raise ConfigError("dataset.split: expected the name of a split, e.g. 183 (or dataset.labeled_ratio)")
    if not path.is_file():
        splits = [folder.name for folder in split_folders(data.splits)]
        known = f"splits there: {', '.join(splits)}" if splits else f"{data.splits} holds no split yet"
        raise DataError(f"{path}: no such list ({known}); {how_to_get_lists(data.type)}")
    return path


def split_folders(splits: Path | None) -> list[Path]:
    """The folders below ``splits`` that hold a split, sorted by name."""
    return [folder for folder in matching(splits, "*") if (folder / "labeled.txt").is_file()] if splits else []


def how_to_get_lists(dataset: str) -> str:
    """Which tool of ours makes or fetches the lists of a data set."""
    if dataset in _IMAGE_TOOLS:
        return f"{_IMAGE_TOOLS[dataset]} makes data and lists"
    if dataset == "custom":
        return "python tools/make_splits.py makes lists for your own data"
    return "python tools/fetch_splits.py fetches the published lists"


def how_to_get(spec: DatasetSpec, path: Path) -> str:
    """``; python tools/... makes the masks`` if ``path`` is a mask that a tool of ours makes, else nothing."""
    tool = _MASK_TOOLS.get(spec.name)
    return f"; python {tool} makes the masks" if tool and path.name.endswith(spec.mask.split("}")[1]) else ""
