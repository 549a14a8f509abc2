"""A synthetic data set in VOC layout: real JPEG images, indexed PNG masks, id lists for several label counts.

::

    OUT/JPEGImages/{id}.jpg   OUT/SegmentationClassAug/{id}.png   OUT/synthetic.json
    OUT/splits/val.txt        OUT/splits/<n>/{labeled,unlabeled}.txt       and further label draws <n>_s1, <n>_s2, ...

The pool holds ``unlabeled + max(labels)`` images. A draw takes n of them as labelled and exactly ``unlabeled`` of the
rest, so an epoch has the same number of steps at every label count. Masks of unlabelled images serve monitoring only.

synthetic.json is written first as unfinished and last as complete. It names every file of the set, and nothing that
it does not name is ever replaced or removed.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from tqdm import tqdm

from semiseg.common.errors import ConfigError, DataError
from semiseg.common.files import cannot_write, replace_file
from semiseg.common.rng import generator
from semiseg.data.pictures import index_png
from semiseg.data.specs import SPECS
from semiseg.prepare.synthetic_scene import MODES_PER_CLASS, Rendering, render

VERSION = 3  # of the recipe: raise it whenever the same options give other bytes
MANIFEST = "synthetic.json"
JPEG_QUALITY = 92
_SPEC = SPECS["synthetic"]
_FIRST_VAL_INDEX = 500_000  # validation images stay the same whatever the size of the pool
_DRAW_ATTEMPTS = 5000


@dataclass(frozen=True)
class SyntheticOptions:
    """What determines a set, byte for byte (with the same library versions).

    ``size`` is the side of the images in pixels, ``labels`` the label counts, ``draws`` the label draws of each count.
    """

    seed: int = 5
    size: int = 96
    unlabeled: int = 300
    val: int = 100
    labels: tuple[int, ...] = (8, 16, 32, 64)
    draws: int = 5
    long_tailed: bool = False  # classes of very different frequency: the set "synthetic_longtail"

    def __post_init__(self) -> None:
        limits = {"seed": (0, 2**32 - 1), "size": (32, 2048), "unlabeled": (1, 100_000), "val": (1, 100_000)}
        for name, (low, high) in {**limits, "draws": (1, 100)}.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name}: expected a whole number from {low} to {high}, got {value}")
        if not self.labels or not all(1 <= n <= 100_000 for n in self.labels):
            raise ConfigError(f"labels: expected label counts from 1 to 100000, got {list(self.labels)}")
        object.__setattr__(self, "labels", tuple(sorted(set(self.labels))))

    @property
    def pool(self) -> int:
        """Number of training images, labelled and unlabelled together."""
        return self.unlabeled + max(self.labels)


@dataclass(frozen=True)
class Draw:
    """One split: sorted pool positions of the labelled and unlabelled images, and how many modes the labels miss."""

    labeled: tuple[int, ...]
    unlabeled: tuple[int, ...]
    missing_modes: int


def generate(out: str | Path, options: SyntheticOptions, overwrite: bool = False, progress: bool = True) -> bool:
    """Write the set into ``out``; True when it was written, False when it was there already.

    Raises:
        DataError: ``out`` holds something else, or an unfinished or damaged set of other options.
        UserError: it cannot be written.
    """
    out = Path(out)
    try:
        manifest = _manifest(options)
        old = _inspect(out)
        if old is not None and not overwrite:
            if not _same_set(old, manifest):
                raise DataError(_difference(out, old, manifest))
            if old["complete"] and all((out / name).is_file() for name in old["files"]):
                return False
        _prepare(out, old, manifest)
        _write_set(out, options, manifest, progress)
    except OSError as error:
        raise cannot_write(Path(error.filename or out), error) from error
    return True


def image_id(index: int) -> str:
    """The name of image ``index``, without folder and ending."""
    return f"syn_{index:06d}"


def val_index(position: int) -> int:
    """The image index of the ``position``-th validation image (pool images simply count from 0)."""
    return _FIRST_VAL_INDEX + position


def draw_labels(seen: np.ndarray, count: int, draw: int, options: SyntheticOptions) -> Draw:
    """Choose ``count`` labelled and ``options.unlabeled`` unlabelled images.

    ``seen`` (pool, modes) says which appearance modes an image shows. Whole draws are repeated until one shows every
    mode, which keeps it uniform among the draws that do; when none does (very few labels), the best one is taken.
    """
    rng = generator(options.seed, "synthetic labels", count, draw)
    reachable, best, best_shown = int(seen.any(axis=0).sum()), None, -1
    for _ in range(_DRAW_ATTEMPTS):
        order = rng.permutation(len(seen))
        shown = int(seen[order[:count]].any(axis=0).sum())
        if shown > best_shown:
            best, best_shown = order, shown
        if shown == reachable:
            break
    labeled, rest = best[:count], best[count : count + options.unlabeled]
    return Draw(tuple(sorted(map(int, labeled))), tuple(sorted(map(int, rest))), seen.shape[1] - best_shown)


def _image_files(index: int) -> tuple[str, str]:
    """Names of the image and the mask file, relative to the root of the set."""
    return _SPEC.image_path(image_id(index)), _SPEC.mask_path(image_id(index))


def _split_names(options: SyntheticOptions) -> list[tuple[int, int, str]]:
    """(count, draw, folder name) of every split."""
    return [(n, s, str(n) if s == 0 else f"{n}_s{s}") for n in options.labels for s in range(options.draws)]


def _manifest(options: SyntheticOptions) -> dict:
    """The content of synthetic.json; a plain JSON value, so that it compares with one that was read."""
    indices = [*range(options.pool), *map(val_index, range(options.val))]
    files = [name for index in indices for name in _image_files(index)]
    for _, _, name in _split_names(options):
        files += [f"splits/{name}/labeled.txt", f"splits/{name}/unlabeled.txt"]
    return {
        "generator": "semiseg synthetic",
        "version": VERSION,
        "complete": True,
        "options": {**asdict(options), "labels": list(options.labels)},
        "classes": list(_SPEC.classes),
        "counts": {"pool": options.pool, "unlabeled": options.unlabeled, "val": options.val},
        "files": [*files, "splits/val.txt"],
    }


def _inspect(out: Path) -> dict | None:
    """The manifest of the set in ``out``; None when there is nothing yet; DataError when it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    foreign = DataError(
        f"{out}: expected a new or empty folder or an earlier synthetic set, found something else; choose another"
    )
    if not (out / MANIFEST).is_file():
        raise foreign
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        paths = [PurePosixPath(name) for name in manifest["files"]]
        known = manifest["generator"] == "semiseg synthetic" and isinstance(manifest["complete"], bool)
        known = known and isinstance(manifest["options"], dict)
    except (ValueError, TypeError, KeyError) as error:
        raise foreign from error
    # Removal follows this list: a name that leads out of the folder is not one that we wrote.
    if not known or any(path.is_absolute() or ".." in path.parts for path in paths):
        raise foreign
    return manifest


def _same_set(old: dict, new: dict) -> bool:
    return all(old.get(key) == new[key] for key in ("version", "options"))


def _difference(out: Path, old: dict, new: dict) -> str:
    """One line that says what differs between the set that is there and the one that was asked for."""
    was, wanted = old["options"], new["options"]
    parts = [
        f"{f.name} {was.get(f.name)} not {wanted[f.name]}"
        for f in fields(SyntheticOptions)
        if was.get(f.name) != wanted[f.name]
    ]
    if old.get("version") != new["version"]:
        parts.append(f"generator version {old.get('version')} not {new['version']}")
    return (
        f"{out}: holds a synthetic set of other options ({', '.join(parts)}); add --overwrite or choose another --out"
    )


def _prepare(out: Path, old: dict | None, new: dict) -> None:
    """Mark the folder as unfinished and remove the old set's files; whatever the old manifest does not name stays."""
    old_files = old["files"] if old else []
    ours = set(old_files)
    for name in new["files"]:
        if name not in ours and (out / name).exists():
            raise DataError(
                f"{out / name}: is in the way and was not written by the generator; move it or choose another --out"
            )
    for folder in {(out / name).parent for name in new["files"]}:
        folder.mkdir(parents=True, exist_ok=True)
    # Both sets' names: after an interruption the next run still knows which files are ours.
    unfinished = {**new, "complete": False, "files": [*new["files"], *sorted(ours - set(new["files"]))]}
    replace_file(out / MANIFEST, _json(unfinished))
    for name in old_files:
        (out / name).unlink(missing_ok=True)
    for folder in {(out / name).parent for name in ours - set(new["files"])}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _write_set(out: Path, options: SyntheticOptions, manifest: dict, progress: bool) -> None:
    """Render and write every image, then the lists, then the manifest that calls the set complete."""
    indices = [*range(options.pool), *map(val_index, range(options.val))]
    seen = np.zeros((options.pool, (_SPEC.num_classes - 1) * MODES_PER_CLASS), bool)
    for position, index in enumerate(tqdm(indices, desc="synthetic", unit="image", disable=not progress)):
        rendering = render(options.seed, index, options.size, options.long_tailed)
        _write_pair(out, index, rendering)
        if position < options.pool:
            for kind, mode in rendering.modes:
                seen[position, (kind - 1) * MODES_PER_CLASS + mode] = True
    missing = {}
    for count, draw_number, name in _split_names(options):
        draw = draw_labels(seen, count, draw_number, options)
        missing[name] = draw.missing_modes
        replace_file(out / "splits" / name / "labeled.txt", _lines(draw.labeled))
        replace_file(out / "splits" / name / "unlabeled.txt", _lines(draw.unlabeled))
    replace_file(out / "splits" / "val.txt", _lines(map(val_index, range(options.val))))
    # For the reader of the file: no method can learn an appearance that no labelled image shows.
    replace_file(out / MANIFEST, _json({**manifest, "missing_modes": missing}))


def _write_pair(out: Path, index: int, rendering: Rendering) -> None:
    """Write the JPEG image and the indexed PNG mask of one rendering."""
    image_name, mask_name = _image_files(index)
    done, jpeg = cv2.imencode(".jpg", rendering.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "OpenCV encodes every uint8 image"
    replace_file(out / image_name, jpeg.tobytes())
    replace_file(out / mask_name, index_png(rendering.label, _SPEC.full_palette()))


def _lines(indices: Iterable[int]) -> bytes:
    return "".join(f"{image_id(index)}\n" for index in indices).encode()


def _json(value: dict) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
