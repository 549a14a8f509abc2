"""Which images a command line names, and the name that each one's results get."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from semiseg.common.errors import DataError
from semiseg.common.files import real_path
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.discover import MaskFiles, find_images

_ENDINGS = (".png", ".jpg", ".json", ".npz")  # of an image's results, see inference/outputs.py


@dataclass(frozen=True)
class Item:
    """An image and the name of its results, without extension; the name may hold folders."""

    path: Path
    name: str


class ListedItems(Sequence[Item]):
    """The images of a data set, named by their ids; made when asked for, so that a long list takes no memory."""

    def __init__(self, samples: SegmentationDataset):
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Item:
        return Item(self._samples.image_path(index), self._samples.ids[index])

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))


def find_items(
    inputs: Sequence[Path],
    out: Path,
    masks: MaskFiles | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> list[Item]:
    """The images that ``inputs`` (files and folders) mean, each once, in order; a folder means all images below it.

    Images in folders keep their path below the folder as their name. Where names would be equal the extension, then
    the folder's name, is added. Earlier results in ``out`` are no input, nor are ``masks`` in folders; ``say`` is
    given a line on what a folder holds beside images.

    Raises:
        DataError: an input is not there, a folder holds no image or may not be listed, a named file lies in ``out``,
            or two images cannot be told apart by name.
    """
    # Path, its folder resolved and links of files left as they are -> path with the input folder's name in front.
    below_input: dict[Path, Path] = {}
    inside = real_path(out)
    for path in inputs:
        if path.is_dir():
            found = find_images(path, masks)
            results = [name for name, real in found.images.items() if Path(real).is_relative_to(inside)]
            found.leave_out(f"in the output folder {out}", results)
            if not found.images:
                raise DataError(f"{path}: all images here lie in the output folder {out}; name the images' own folder")
            for note in found.notes():
                say(note)
            free = [Path(name) for name in found.images]
            folder = real_path(path)
            below_input.update({folder / name: Path(folder.name or "root") / name for name in free})
        elif not path.is_file():
            raise DataError(f"{path}: no such image or folder")
        elif real_path(path).is_relative_to(inside):
            raise DataError(f"{path}: lies in the output folder {out}, where results could replace it; name another")
        else:
            folder = real_path(path.parent)
            below_input[folder / path.name] = Path(folder.name or "root") / path.name
    return _named(below_input)


def _named(below_input: Mapping[Path, Path]) -> list[Item]:
    """Names as short as they can be while all are different, from the paths with the input folder's name in front."""
    ways: tuple[Callable[[Path], str], ...] = (
        lambda path: str(Path(*path.parts[1:]).with_suffix("")),
        lambda path: str(Path(*path.parts[1:])),
        str,
    )
    for way in ways:
        names = [way(path) for path in below_input.values()]
        counts = Counter(name.lower() for name in names)  # some file systems hold no two names that differ in case
        below = {PurePosixPath(name.rpartition("/")[0]) for name in counts}
        folders = {folder for path in below for folder in (path, *path.parents)}
        in_the_way = any(folder.suffix in _ENDINGS and str(folder.with_suffix("")) in counts for folder in folders)
        if len(counts) == len(names) and not in_the_way:
            return [Item(path, name) for path, name in zip(below_input, names, strict=True)]
    twins = [path for path, name in zip(below_input, names, strict=True) if counts[name.lower()] > 1][:2]
    if not twins:
        raise DataError("a folder is named as the results of an image beside it; predict the two into others (--out)")
    raise DataError(
        f"{twins[1]}: has the same name and folder name as {twins[0]}; predict one of the folders into another --out"
    )
