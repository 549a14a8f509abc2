"""What a data set is: class names, colours, and where image and mask of an id lie. A table, no code per set."""

import re
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from semiseg.common.errors import ConfigError
from semiseg.common.text import did_you_mean
from semiseg.data.templates import MaskTemplate, mask_template

Color = tuple[int, int, int]
_PLAIN = frozenset(f"{string.ascii_letters}{string.digits}_-")  # no sign of a path, a quote or a gap among them
_BETWEEN = re.compile(r"[\s,;]")  # what may stand between an image's path and its mask's


@dataclass(frozen=True)
class DatasetSpec:
    """One data set, checked on construction.

    ``image`` and ``mask`` are paths below the data root with ``{id}`` where the sample's id goes
    ("JPEGImages/{id}.jpg"). Where ids carry the extension of their image (``image`` ends in "{id}"), the mask may say
    ``{stem}``: the id without it; ``{id:images=masks}`` calls a folder amid the id otherwise. ``mask_kind`` says
    whether masks hold class indices ("index") or ``palette`` colours ("color"); ``ignore_color`` is the colour of
    ignored pixels. ``folder`` names the data set below ckpt/. ``published_batch``: labelled images a step, over all
    devices, that the published learning rate belongs to.

    Raises: ConfigError where fields contradict each other.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    image: str
    mask: str
    mask_kind: str = "index"
    ignore_label: int = 255
    ignore_color: Color | None = None
    published_batch: int | None = None

    def __post_init__(self) -> None:
        _check_classes(self)
        _check_palette(self)
        _check_template(self, "image", self.image)
        _check_template(self, "mask", self.mask)
        if self.image == self.mask:
            raise ConfigError(f"dataset {self.name}: image and mask are the same path {self.image!r}")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def sample_id(self, line: str, roots: Collection[str] = ()) -> str:
        """The id that a line of a list means: the bare id, the image's path (with or without its folder), or "image
        mask", with a space, a tab, a comma or a semicolon between them.

        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png" and "train/aachen/aachen_000000_000019" are the
        same sample. So are absolute paths that begin with one of ``roots`` or hold the image's folder, and ./ in front.
        A mask may be named in another folder, as UniMatch's lists do, if its file name is the one of the image's mask.
        """
        line = line.strip()
        if "\\" in line and "/" not in line:  # written on Windows
            line = line.replace("\\", "/")
        for between in _BETWEEN.finditer(line):
            sample = self._strip(_bare(line[: between.start()], roots))
            if self._is_mask_of(sample, _bare(line[between.end() :], roots).lstrip("/")):
                return sample
        return self._strip(_bare(line, roots))

    def are_ids(self, characters: Collection[str]) -> bool:
        """Whether every text of these characters alone is its own ``sample_id``; False where that is not certain."""
        return _PLAIN.issuperset(characters) and not _PLAIN.issuperset(self._around_id[1])

    def _is_mask_of(self, sample: str, text: str) -> bool:
        expected = self.mask_path(sample)
        name = PurePosixPath(expected).name
        return text == expected or (PurePosixPath(sample).stem in name and PurePosixPath(text).name == name)

    def _strip(self, text: str) -> str:
        prefix, suffix = self._around_id
        absolute = text.startswith(("/", "../")) or text[1:3] == ":/"
        text = text.lstrip("/")
        if not text.endswith(suffix):
            return text
        body = text[: len(text) - len(suffix)]
        at = f"/{body}".rfind(f"/{prefix}") if absolute and "/" in prefix else -1
        return body[at + len(prefix) :] if at > 0 else body.removeprefix(prefix)

    @cached_property
    def _around_id(self) -> tuple[str, str]:
        """What stands before and after the id in the path of an image."""
        before, after = self.image.split("{id}")
        return before, after

    def image_path(self, sample: str) -> str:
        """Path of the image below the data root."""
        return self.image.replace("{id}", sample)

    def mask_path(self, sample: str) -> str:
        """Path of the mask below the data root."""
        return self.mask_template.path(sample)

    @cached_property
    def mask_template(self) -> MaskTemplate:
        """``mask``, read."""
        return mask_template(self.mask)

    def full_palette(self) -> np.ndarray:
        """uint8 256 x 3 for an indexed PNG: class colours, ``ignore_color`` or white at the ignore label."""
        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = self.palette
        table[self.ignore_label] = self.ignore_color or (255, 255, 255)
        return table


def _bare(text: str, roots: Collection[str]) -> str:
    """A path without quotes, ./ and a root in front."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    for root in roots:
        if text.startswith(f"{root}/"):
            return text[len(root) + 1 :]
    while text.startswith("./"):
        text = text[2:].lstrip("/")
    return text


def _check_classes(spec: DatasetSpec) -> None:
    where = f"dataset {spec.name}"
    if not spec.name or spec.folder in ("", ".", "..") or any(c in spec.folder for c in "/\\"):
        raise ConfigError(f"{where}: name and folder must be plain names, got {spec.name!r} and {spec.folder!r}")
    if len(spec.classes) < 2 or not all(isinstance(c, str) and c for c in spec.classes):
        raise ConfigError(f"{where}: classes must be a list of at least two names, got {list(spec.classes)!r}")
    repeated = sorted({c for c in spec.classes if spec.classes.count(c) > 1})
    if repeated:
        raise ConfigError(f"{where}: class names occur twice: {', '.join(repeated)}")
    if len(spec.classes) > 255:
        raise ConfigError(f"{where}: {len(spec.classes)} classes, but a mask byte has room for 255 and an ignore label")
    if type(spec.ignore_label) is not int or not 0 <= spec.ignore_label <= 255:
        raise ConfigError(f"{where}: ignore_label must be an integer from 0 to 255, got {spec.ignore_label!r}")
    if spec.ignore_label < len(spec.classes):
        raise ConfigError(
            f"{where}: ignore_label {spec.ignore_label} is also the index of class "
            f"{spec.classes[spec.ignore_label]!r}; take a value from {len(spec.classes)} to 255"
        )


def _check_palette(spec: DatasetSpec) -> None:
    where = f"dataset {spec.name}"
    if spec.mask_kind not in ("index", "color"):
        raise ConfigError(f'{where}: mask_kind must be "index" or "color", got {spec.mask_kind!r}')
    if len(spec.palette) != len(spec.classes):
        raise ConfigError(
            f"{where}: {len(spec.palette)} colors for {len(spec.classes)} classes; give one color per class"
        )
    colors = [*spec.palette, *([spec.ignore_color] if spec.ignore_color is not None else [])]
    for color in colors:
        if len(color) != 3 or any(type(v) is not int or not 0 <= v <= 255 for v in color):
            raise ConfigError(f"{where}: a color is three integers from 0 to 255 (red, green, blue), got {color!r}")
    if spec.mask_kind == "color":
        repeated = sorted({c for c in colors if colors.count(c) > 1})
        if repeated:
            raise ConfigError(
                f"{where}: color masks need a different color for each class; {repeated[0]} is used twice"
            )


def _check_template(spec: DatasetSpec, key: str, value: str) -> None:
    example = {"image": "images/{id}.jpg", "mask": "masks/{id}.png"}[key]
    try:
        mask_template(value)
        fits = key == "mask" or "{id}" in value
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ConfigError(f"dataset {spec.name}: {key} must hold {{id}} once, such as {example!r}, got {value!r}")
    if value.startswith("/") or ".." in PurePosixPath(value).parts:
        raise ConfigError(f"dataset {spec.name}: {key} must be a path below the data root, got {value!r}")


def index_palette(count: int) -> tuple[Color, ...]:
    """The first colours of PASCAL VOC's official table: bits of the index spread over the high bits of R, G, B."""
    colors = []
    for index in range(count):
        color = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                color[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        colors.append(tuple(color))
    return tuple(colors)


_PASCAL = DatasetSpec(
    name="pascal",
    folder="voc",
    classes=(
        *(
            "background",
            "aeroplane",
            "bicycle",
            "bird",
            "boat",
            "bottle",
            "bus",
            "car",
            "cat",
            "chair",
            "cow",
            "diningtable",
        ),
        *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    ),
    palette=index_palette(21),
    image="JPEGImages/{id}.jpg",
    mask="SegmentationClassAug/{id}.png",
    ignore_color=(224, 224, 192),
    published_batch=16,
)

_CITYSCAPES_COLORS = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}

_CITYSCAPES = DatasetSpec(
    name="cityscapes",
    folder="city",
    classes=tuple(_CITYSCAPES_COLORS),
    palette=tuple(_CITYSCAPES_COLORS.values()),
    image="leftImg8bit/{id}_leftImg8bit.png",
    mask="gtFine/{id}_gtFine_labelTrainIds.png",
    ignore_color=(0, 0, 0),
    published_batch=16,
)

_SYNTHETIC = DatasetSpec(
    name="synthetic",
    folder="synthetic",
    classes=("background", "disk", "ring", "triangle", "cross", "bar"),
    palette=((38, 50, 56), (239, 83, 80), (66, 165, 245), (102, 187, 106), (255, 202, 40), (171, 71, 188)),
    image="JPEGImages/{id}.jpg",
    mask="SegmentationClassAug/{id}.png",
    ignore_color=(224, 224, 192),
)

_SYNTHETIC_LONGTAIL = replace(_SYNTHETIC, name="synthetic_longtail", folder="synthetic_longtail")

_CAMVID_COLORS = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "sidewalk": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}

_CAMVID = DatasetSpec(
    name="camvid",
    folder="camvid",
    classes=tuple(_CAMVID_COLORS),
    palette=tuple(_CAMVID_COLORS.values()),
    image="images/{id}.png",
    mask="masks/{id}.png",
    ignore_color=(0, 0, 0),
)

SPECS: dict[str, DatasetSpec] = {
    spec.name: spec for spec in (_PASCAL, _CITYSCAPES, _CAMVID, _SYNTHETIC, _SYNTHETIC_LONGTAIL)
}
_ALIASES = {"voc": "pascal", "pascal_semi": "pascal", "cityscapes_semi": "cityscapes"}


def get_spec(type_name: str) -> DatasetSpec:
    """The built-in data set of that name, or of one of the field's other names for it (voc, pascal_semi,
    cityscapes_semi).

    Raises: ConfigError with the nearest known name.
    """
    name = _ALIASES.get(type_name, type_name)
    if name in SPECS:
        return SPECS[name]
    hint = did_you_mean(str(type_name).lower(), [*SPECS, *_ALIASES])
    raise ConfigError(f"unknown data set {type_name!r}{hint} (docs/datasets.md: your own data)")


def custom_spec(
    name: str, classes: Sequence[str], image: str, mask: str, colors: Sequence[Sequence[int]] | None = None, **labels
) -> DatasetSpec:
    """A spec for a user's own data from plain values, as YAML gives them.

    ``image`` and ``mask`` are folder and suffix in one ("images/{id}.jpg"). Without ``colors`` predictions are drawn in
    VOC's colours. ``labels``: mask_kind, ignore_label, ignore_color of DatasetSpec.

    Raises: ConfigError on contradictions, such as colour masks without colours.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise ConfigError(
            f"dataset {name}: classes must be a list of names in the order of their index, got {classes!r}"
        )
    if colors is None:
        if labels.get("mask_kind") == "color":
            raise ConfigError(f'dataset {name}: mask_kind "color" needs colors, one [red, green, blue] per class')
        colors = index_palette(len(classes))
    palette = tuple(_color(name, color) for color in colors)
    if labels.get("ignore_color") is not None:
        labels["ignore_color"] = _color(name, labels["ignore_color"])
    return DatasetSpec(name, name, tuple(classes), palette, image, mask, **labels)


def _color(name: str, value: Sequence[int]) -> Color:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(f"dataset {name}: a color is three integers from 0 to 255 (red, green, blue), got {value!r}")
    return tuple(value)
