"""Which training images are scored as well: by their ids, or by files where both parts have data roots of their own."""

import filecmp
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from semiseg.common.text import counted, shortened
from semiseg.data.ids import Ids, compact, shared
from semiseg.data.presence import RealFiles, real_files
from semiseg.data.specs import DatasetSpec


class Roots(NamedTuple):
    """The data roots of both parts, there or not."""

    train: Path | None
    val: Path | None

    @property
    def differ(self) -> bool:
        """Whether both parts lie in folders of their own, where one id may be two pictures."""
        return all(self) and os.path.realpath(self.train) != os.path.realpath(self.val)


def scored(roots: Roots, spec: DatasetSpec, ids: Sequence[str], val: Sequence[str]) -> set[str]:
    """Those of the training ``ids`` whose images are scored: the ids of ``val``; where ``roots`` differ, the images
    that are its files, and copies of them under the same id.
    """
    ids, val = compact(ids), compact(val)
    alike = Ids(shared(ids, val))
    if not roots.differ:
        return set(alike)
    files = set(_images(roots.val, spec, val))
    same = {sample for sample, file in zip(ids, _images(roots.train, spec, ids), strict=True) if file in files}
    pairs = zip(*(_images(root, spec, alike) for root in roots), strict=True)
    return same.union(sample for sample, pair in zip(alike, pairs, strict=True) if _are_copies(*pair))


def alike_notes(ids: Collection[str]) -> list[str]:
    """A note on training ``ids`` that name other pictures than the same ids do in the validation list, if any do."""
    if not ids:
        return []
    return [
        f"{counted(len(ids), 'training image')} named as validation images ({shortened(ids, 2)}) count as other "
        "pictures, as dataset.train.data_root and dataset.val.data_root differ; if they show the same in another size, "
        "leave them out of the training lists"
    ]


def real_paths(root: Path, names: Ids) -> RealFiles:
    """Files below ``root``, there or not, links resolved."""
    looks = real_files((f"{root}/{name}" for name in names), len(names))
    there = enumerate(zip(names, looks, strict=True))
    links = {index: real for index, (name, real) in there if real not in (None, f"{root}/{name}")}
    return RealFiles(root, names, "{id}", links)


def _images(root: Path, spec: DatasetSpec, ids: Ids) -> RealFiles:
    return real_paths(root, Ids(map(spec.image_path, ids)))


def _are_copies(one: str, other: str) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:  # one is not there: it is said elsewhere
        return False
