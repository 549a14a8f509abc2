"""Lists of sample ids: reading, writing, drawing the labelled part, and proving that parts do not overlap."""

import codecs
import math
import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Protocol

import numpy as np

from semiseg.common.errors import DataError
from semiseg.common.files import read_file, replace_file
from semiseg.common.os_errors import how_to_mend, reason
from semiseg.common.rng import generator
from semiseg.common.text import counted, not_utf8, shortened
from semiseg.data.ids import Hashed, Ids, compact, shared

_LONGEST = 10_000  # characters of a line: two paths have 4,096 bytes each
_PIECE = 2**20  # bytes of a list that are strings at once


def read_list(path: str | os.PathLike, clean: Callable[[str], str] | None = None, may_be_empty: bool = False) -> Ids:
    """The ids of a list file, one per line, in the file's order; spaces inside names are kept.

    Blank lines and lines that begin with "# " are skipped. ``clean`` turns a line into an id before
    duplicates are looked for, usually ``DatasetSpec.sample_id``; it raises UnicodeError for a line that is no UTF-8 and
    names nothing. Where it has ``keeps``, lines of characters that it keeps are taken without looking at each.

    Raises: DataError if the file is missing, not text, empty (unless ``may_be_empty``), names a sample twice, or is a
        table or JSON.
    """
    path = Path(path)
    numbers = array("L")  # the line of each id
    ids = Ids(_ids_of(path, _content_of(path), clean, numbers))
    if not ids and not may_be_empty:
        raise DataError(f"{path}: the list is empty; expected one sample id per line")
    twice = ids.twice()
    if twice:
        shown = shortened(
            (f"{s!r} on lines {', '.join(str(numbers[i]) for i in indices)}" for s, indices in twice.items()),
            separator="; ",
        )
        raise DataError(f"{path}: {counted(len(twice), 'id')} in more than one line: {shown}; keep one line of each")
    return ids


def _ids_of(path: Path, content: bytes, clean: Callable[[str], str] | None, numbers: array) -> Iterator[str]:
    """The id of each line that holds one; the line's number is added to ``numbers`` before."""
    number = 0
    for piece in _pieces(content):
        lines = piece.split("\n")
        if _are_ids(piece, lines, clean):
            numbers.extend(range(number + 1, number + 1 + len(lines)))
            yield from lines
        else:
            yield from _ids_of_lines(path, enumerate(lines, start=number + 1), clean, numbers)
        number += len(lines)


def _are_ids(piece: str, lines: Sequence[str], clean: Callable[[str], str] | None) -> bool:
    """Whether each line surely is an id as it stands. So are those of most long lists, which are then read three times
    as fast.
    """
    keeps = getattr(clean, "keeps", None)
    return bool(keeps and keeps(set(piece) - {"\n"}) and all(lines) and max(map(len, lines)) <= _LONGEST)


def _ids_of_lines(
    path: Path, lines: Iterable[tuple[int, str]], clean: Callable[[str], str] | None, numbers: array
) -> Iterator[str]:
    for number, raw in lines:
        line = raw.strip()
        if not line or line == "#" or line.startswith("# "):
            continue
        if len(line) > _LONGEST:
            raise DataError(
                f"{path}: line {number} has {len(line)} characters, more than two paths can have; expected an id a line"
            )
        try:
            sample = clean(line) if clean else line
        except UnicodeError:
            form = not_utf8(line.encode(errors="surrogateescape")).replace("line 1", f"line {number}")
            raise DataError(f"{path}: {form}") from None
        first = not numbers
        form = _other_form(line, sample, first) if clean else _other_beginning(line) if first else None
        if form:
            raise DataError(
                f"{path}: line {number} {form}; expected an id a line, an image's path, or an image's path and its "
                "mask's"
            )
        if not sample:
            raise DataError(
                f"{path}: line {number} ({line!r}) names no image; expected an id a line, or an image's path"
            )
        numbers.append(number)
        yield sample


def _pieces(content: bytes) -> Iterator[str]:
    """Whole lines of a list's bytes, some at a time, without the last line's end. What is no UTF-8 is as in names of
    files (os.fsdecode).
    """
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n")
    start = 0
    while start <= len(content):
        end = content.find(b"\n", start + _PIECE)
        end = len(content) if end < 0 else end
        yield content[start:end].decode(errors="surrogateescape")
        start = end + 1


def _content_of(path: Path) -> bytes:
    """A list's bytes, which may be text."""
    try:
        content = read_file(path)
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such list; check the split's name, or make the list with tools/make_splits.py"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: this list cannot be read ({reason(error)}); {how_to_mend(error)}") from None
    if b"\0" in content or content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: {not_utf8(content)}; expected a list of ids, one per line")
    return content.removeprefix(codecs.BOM_UTF8)


_HEADER = {"id", "ids", "image", "images", "img", "mask", "masks", "label", "labels", "path", "file", "filename"}
_HEADER |= {"name", "image_path", "mask_path", "label_path", "image_id", "split", "set", "subset", "fold", ""}
_TWO_PATHS = re.compile(r"\.(jpe?g|png|tiff?|bmp|webp|npy|mat)[\"']?\s*[\s,;|]\s*\S", re.IGNORECASE)


def _other_form(line: str, sample: str, first: bool) -> str | None:
    """What a line is that is no id in a form that is understood, or None."""
    if first and (beginning := _other_beginning(line)):
        return beginning
    if "." not in sample:
        return None
    if _TWO_PATHS.search(sample):
        return f"({line!r}) holds several columns, and the second is not the mask of the first"
    if ".." in sample.split("/"):
        return f"({line!r}) leaves the data root"
    return None


def _other_beginning(line: str) -> str | None:
    """What a file is that begins so and is no list."""
    if line[0] in "[{":
        return "begins JSON"
    if _is_header(line):
        return f"({line!r}) is the header of a CSV table: remove it, and every column but image and mask"
    return None


def _is_header(line: str) -> bool:
    cells = [cell.strip(" \"'").lower() for cell in re.split("[,;\t]", line)]
    return len(cells) > 1 and set(cells) <= _HEADER


class Clean(Protocol):
    """From a line of a list to the id it means, and from an id to what surely means it: its image's path."""

    def __call__(self, line: str) -> str: ...

    def path(self, sample: str) -> str: ...

    def keeps(self, characters: Collection[str]) -> bool: ...


def written_list(path: str | os.PathLike, ids: Iterable[str], clean: Clean) -> Ids:
    """The lines of a list at ``path`` that ``read_list`` with ``clean`` reads as ``ids``: an id as it stands, or the
    path of its image where the id alone would be read as another one (photo.jpg of photo.jpg.jpg).

    Raises: DataError for an id that no line can mean.
    """
    return Ids(sample if clean.keeps(sample) else _line_of(sample, Path(path), clean) for sample in ids)


def _line_of(sample: str, path: Path, clean: Clean) -> str:
    image = clean.path(sample)
    for line in (sample, image, f"./{image}"):
        try:
            if list(_ids_of_lines(path, [(1, line)], clean, array("L"))) == [sample]:
                return line
        except DataError:
            continue
    raise DataError(
        f"{path}: cannot be written, as no line of a list would be read as {sample!r}; give the image {image} a "
        "plainer name"
    )


def write_list(path: str | os.PathLike, ids: Iterable[str]) -> None:
    """Write one id per line, so that a reader never sees half a list. Raises: UserError if it cannot be written."""
    replace_file(Path(path), compact(ids).lines())


def labeled_count(total: int, ratio: float) -> int:
    """Number of labelled samples of a ratio in (0, 1], rounded up: 1/16 of VOC's 10,582 is the published 662.

    Raises: DataError if the ratio is outside (0, 1].
    """
    if not 0 < ratio <= 1:
        raise DataError(f"labeled ratio must be above 0 and at most 1, got {ratio}")
    return max(1, math.ceil(total * ratio - 1e-9))


def draw_labeled(
    ids: Sequence[str], count: int, seed: int, classes_of: Mapping[str, Collection[int]] | None = None
) -> tuple[Ids, Ids]:
    """Split ``ids`` into (labeled, unlabeled), both in the order of ``ids``; the draw depends on the set of ids, not
    its order.

    With ``classes_of`` (id -> class indices in its mask) each class that occurs at all also occurs in the labelled
    part: always if ``count`` is at least the number of classes, else as many as a greedy choice reaches. The rest of
    the draw stays uniform.

    Raises: DataError if ``count`` is not between 1 and the number of ids, or ``classes_of`` misses an id.
    """
    if not 1 <= count <= len(ids):
        raise DataError(f"cannot label {count} of {len(ids)} samples; the count must be from 1 to {len(ids)}")
    ids = compact(ids)
    in_order = np.array(sorted(range(len(ids)), key=list(ids).__getitem__))
    order = in_order[generator(seed, "split.draw").permutation(len(ids))]
    labeled = np.zeros(len(ids), bool)
    if classes_of is not None:
        labeled[ids.positions(_cover_classes(list(ids.take(order)), count, classes_of))] = True
    free = order[~labeled[order]]
    labeled[free[: count - np.count_nonzero(labeled)]] = True
    return ids.take(labeled), ids.take(~labeled)


def _cover_classes(order: Sequence[str], count: int, classes_of: Mapping[str, Collection[int]]) -> list[str]:
    """At most ``count`` samples that show every class: the rarest missing one first, its first sample in ``order``."""
    without = [s for s in order if s not in classes_of]
    if without:
        raise DataError(f"classes unknown for {len(without)} samples, first {without[0]!r}")
    frequency = Counter(c for s in order for c in set(classes_of[s]))
    missing, chosen = set(frequency), []
    while missing and len(chosen) < count:
        if count - len(chosen) >= len(missing):
            rarest = min(missing, key=lambda c: (frequency[c], c))
            pick = next(s for s in order if rarest in classes_of[s])
        else:  # too few picks left for one each: take the sample that shows most
            pick = max(order, key=lambda s: len(missing.intersection(classes_of[s])))
        chosen.append(pick)
        missing.difference_update(classes_of[pick])
    return chosen


def check_disjoint(**parts: Sequence[str]) -> None:
    """``check_disjoint(labeled=..., unlabeled=..., val=...)``: no sample may be in two parts (ids in the spec's own
    form).

    Raises: DataError with the number of common samples and the first few.
    """
    for problem in overlaps({name: compact(ids) for name, ids in parts.items()}, "list", "sample"):
        raise DataError(problem)


def overlaps(parts: Mapping[str, Hashed], kind: str, noun: str) -> list[str]:
    """One sentence for each two of the parts that share members. ``kind``: what a part is; ``noun``: what a member."""
    sentences = []
    for (first, members), (second, others) in combinations(parts.items(), 2):
        common = shared(members, others)
        if common:
            sentences.append(
                f"the {first} and the {second} {kind} share {counted(len(common), noun)}: {shortened(common)}; "
                "remove them from one"
            )
    return sentences
