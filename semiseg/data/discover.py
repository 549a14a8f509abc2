"""What is an image, and which ones a folder holds where no list names them.

One rule for lists that are drawn, folders of unlabelled images, make-splits and predict: ``scan`` applies it.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from semiseg.common.errors import DataError
from semiseg.common.os_errors import how_to_mend, reason
from semiseg.common.text import counted, shortened
from semiseg.data.ids import Ids, compact
from semiseg.data.presence import are_files
from semiseg.data.specs import DatasetSpec
from semiseg.data.templates import mask_template

# Every format that ``semiseg.data.decode`` reads, by all endings that are in use for it.
IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"),
        *(".gif", ".jp2", ".j2k", ".j2c", ".jpx", ".jpf", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
    }
)
MASK, HIDDEN, OTHER, BROKEN = "masks", "hidden", "other files", "broken links"
NAME = "names that no list can hold"
_NO_LINE = re.compile(r"[\r\n]|^\s|\s$|^# ")


@dataclass
class Found:
    """What a folder holds: its images, and ``left_out``: reason -> the others."""

    folder: Path
    images: "Images"
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, names: Collection[str]) -> None:
        """These are not to be used after all."""
        if names:
            self.left_out.setdefault(reason, []).extend(names)
            self.images = self.images.without(names)

    def notes(self) -> tuple[str, ...]:
        """One line that counts and names what was left out, or none."""
        count = sum(map(len, self.left_out.values()))
        if not count:
            return ()
        reasons = (f"{reason}: {len(names)} ({shortened(names, 2)})" for reason, names in self.left_out.items())
        return (f"{count} of {count + len(self.images)} files in {self.folder} are left out ({'; '.join(reasons)})",)


@dataclass(frozen=True, eq=False)
class Images:
    """Images of a folder by ``names``, sorted: paths below it. Their real files are made when they are asked for.

    ``folders``: folder of images, by its path below -> the real one. ``links``: name of a linked image -> its file.
    """

    names: Ids = field(default_factory=Ids)
    folders: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def items(self) -> Iterator[tuple[str, str]]:
        """(name, real file) of each."""
        for name in self.names:
            folder, _, last = name.rpartition("/")
            yield name, self.links.get(name) or f"{self.folders[folder]}/{last}"

    def without(self, names: Iterable[str]) -> "Images":
        """The others."""
        gone = set(names)
        return Images(Ids(name for name in self.names if name not in gone), self.folders, self.links)


class MaskFiles:
    """Tells masks from images by the paths that ``spec`` describes, below ``root`` and, by name, anywhere else.

    A file that both descriptions fit is of the kind whose description says more. Where masks have a folder of their
    own, at the start of their paths or amid them, nothing below it is an image. Elsewhere a mask is told by what its
    name has beside the id ("_mask").
    """

    def __init__(self, spec: DatasetSpec, root: Path | None) -> None:
        self._root = os.path.realpath(root) + "/" if root else None
        self._image, self._mask, self._template = spec.image, spec.mask, spec.mask_template
        self._folder = spec.mask.partition("{")[0].rpartition("/")[0] + "/"
        image_folder = spec.image.partition("{")[0].rpartition("/")[0] + "/"
        self._own_folder = self._folder != "/" and not image_folder.startswith(self._folder)
        self._names = [PurePosixPath(template).name for template in (spec.mask, spec.image)]
        self._telling = "{" in self._names[0] and bool("".join(_around_field(self._names[0])).rpartition(".")[0])

    def __call__(self, real_path: str) -> bool:
        """Whether a file, by its path without links, is a mask."""
        if self._root and real_path.startswith(self._root):
            below = real_path[len(self._root) :]
            if self._own_folder and below.startswith(self._folder):
                return True
            if self._template.mask_folder:
                return self._template.in_mask_folder(below)
            if _fits(below, self._mask) > -1:
                return _fits(below, self._mask) >= _fits(below, self._image)
        name = real_path.rpartition("/")[2]
        return self._telling and _fits(name, self._names[0]) > max(-1, _fits(name, self._names[1]))


def _fits(text: str, template: str) -> int:
    """How many letters a path has in common with a description, -1 where it is another."""
    before, after = _around_field(template)
    fits = text.startswith(before) and text.endswith(after) and len(text) > len(before) + len(after)
    return len(before) + len(after) if fits else -1


@cache
def _around_field(template: str) -> tuple[str, str]:
    return mask_template(template)[:2] if "{" in template else (template, "")


def why_no_image(real_path: str, masks: MaskFiles | None = None) -> str | None:
    """Why a file is no image to use, or None where it is one: the one place that decides it."""
    name = real_path.rpartition("/")[2]
    if name.startswith("."):  # also ._x.jpg, which macOS puts beside x.jpg
        return HIDDEN
    _, dot, ending = name.rpartition(".")
    if not dot or f".{ending.lower()}" not in IMAGE_SUFFIXES:
        return OTHER
    return MASK if masks and masks(real_path) else None


def scan(folder: str | os.PathLike, masks: MaskFiles | None = None) -> Found:
    """All images below a folder. Linked folders are followed, each folder once, by its own path where it has one.

    Raises: DataError if there is no such folder, or one below it may not be listed.
    """
    folder = Path(folder)
    if not _is_folder(folder):
        raise DataError(f"{folder}: no such folder of images")
    return _Scan(folder, masks).run()


def _is_folder(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError as error:  # below a folder that may not be entered
        raise _not_listed(folder, error) from None


def _not_listed(folder: Path, error: OSError) -> DataError:
    mend = "allow it (chmod u+rx), or move it away" if isinstance(error, PermissionError) else how_to_mend(error)
    return DataError(f"{folder}: this folder cannot be listed ({reason(error)}); {mend}")


@dataclass
class _Scan:
    folder: Path
    masks: MaskFiles | None
    waiting: list[str] = field(default_factory=lambda: [""])  # folders below ``folder``, "" or with a / at the end
    linked: list[str] = field(default_factory=list)  # linked ones, for when no other is left
    names: list[str] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)  # as ``Images`` has them
    links: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def run(self) -> Found:
        seen = set()
        while self.waiting or self.linked:
            prefix = self.waiting.pop() if self.waiting else self.linked.pop(0)
            folder = self.folder / prefix
            real = os.path.realpath(folder)
            if real not in seen:
                seen.add(real)
                self.folders[prefix.removesuffix("/")] = real
                self._list(folder, prefix, real)
        self.names.sort()
        left_out = {reason: sorted(names) for reason, names in sorted(self.left_out.items())}
        return Found(self.folder, Images(Ids(self.names), self.folders, self.links), left_out)

    def _list(self, folder: Path, prefix: str, real: str) -> None:
        """Names and kinds of what is there: the file system is not asked for each file."""
        below = []  # folders
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is(entry.is_dir) and not entry.name.startswith("."):
                        below.append((entry.name, entry.is_symlink()))
                    else:
                        self._place(entry, prefix, real)
        except OSError as error:
            raise _not_listed(folder, error) from None
        for name, is_link in sorted(below):
            (self.linked if is_link else self.waiting).append(f"{prefix}{name}/")

    def _place(self, entry: os.DirEntry, prefix: str, real_folder: str) -> None:
        name, real = f"{prefix}{entry.name}", f"{real_folder}/{entry.name}"
        is_folder, is_file = _is(entry.is_dir), _is(entry.is_file)
        reason = why_no_image(real, self.masks) if is_file or is_folder else BROKEN if entry.is_symlink() else OTHER
        if not reason and _NO_LINE.search(name):  # a list of this run could not be read back
            reason, name = NAME, repr(name)[1:-1]
        if reason:
            self.left_out.setdefault(reason, []).append(f"{name}/" if is_folder else name)
            return
        self.names.append(name)
        if entry.is_symlink():
            self.links[name] = os.path.realpath(real)


def _is(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link to itself, or into a folder that may not be entered
        return False


def list_images(folder: str | os.PathLike, masks: MaskFiles | None = None) -> list[str]:
    """Paths, relative to ``folder``, of all images below it, sorted: unlabelled data may be simply a folder.

    Raises: DataError if there is no such folder or no image in it.
    """
    return list(find_images(folder, masks).images)


def find_images(folder: str | os.PathLike, masks: MaskFiles | None = None) -> Found:
    """``scan`` of a folder that must hold an image. Raises: DataError, see there, or if there is none."""
    found = scan(folder, masks)
    if not found.images:
        because = f" ({found.notes()[0]})" if found.left_out else ""
        raise DataError(f"{folder}: no image in this folder{because}; looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


def find_samples(spec: DatasetSpec, root: Path) -> tuple[Ids, Found]:
    """Ids of all images below ``root`` that ``spec.image`` describes, sorted; and what the folder holds beside them.

    Raises: DataError if there is none.
    """
    before, after = spec.image.split("{id}")
    folder, _, start = before.rpartition("/")  # images/left_{id}.png: in images/, names that start with left_
    found = scan(root / folder, MaskFiles(spec, root)) if (root / folder).is_dir() else Found(root, Images())
    template = f"{start}{{id}}{after}"
    found.leave_out(f"not named {spec.image}", [name for name in found.images if _fits(name, template) < 0])
    if not found.images:
        because = f" ({found.notes()[0]})" if found.left_out else ""
        raise DataError(
            f"{root}: no image {spec.image!r} here{because}; check dataset.data_root and dataset.custom.image"
        )
    return Ids(sorted(name[len(start) : len(name) - len(after)] for name in found.images)), found


def with_masks(spec: DatasetSpec, root: Path, ids: Iterable[str]) -> Ids:
    """Those of the ids that have a mask. Raises: DataError if none has."""
    ids = compact(ids)
    masked = ids.take(are_files(str(root), Ids(map(spec.mask_path, ids))))
    if not masked:
        raise DataError(
            f"{root}: none of {counted(len(ids), 'image')} {spec.image!r} has a mask {spec.mask!r}; check "
            "dataset.data_root and dataset.custom.mask"
        )
    masks = Ids(map(spec.mask_path, masked))
    for mask, (first, second, *_) in masks.twice().items():
        raise DataError(
            f"{root}: {spec.image_path(masked[first])} and {spec.image_path(masked[second])} have one mask {mask}: the "
            "same picture twice, which labelled and validation images would share; move one of each two away"
        )
    return masked
