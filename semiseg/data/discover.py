"""Finding the samples that a folder holds, where no list names them."""

from pathlib import Path

from semiseg.common.errors import DataError
from semiseg.data.specs import DatasetSpec
from semiseg.data.splits import IMAGE_SUFFIXES


def find_ids(spec: DatasetSpec, root: Path, with_mask: bool = True) -> list[str]:
    """Ids of all images below ``root`` that ``spec.image`` describes, sorted; with ``with_mask`` those with a mask.

    Raises: DataError if there is none.
    """
    before, after = spec.image.split("{id}")
    folder = root / before.rpartition("/")[0]
    start = before.rpartition("/")[2]
    ids = []
    for path in folder.rglob(f"*{_escaped(after)}") if folder.is_dir() else ():
        relative = path.relative_to(folder).as_posix()
        if not relative.startswith(start) or path.name[0] == "." or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        sample = relative[len(start) : len(relative) - len(after)]
        if path.is_file() and sample and (not with_mask or (root / spec.mask_path(sample)).is_file()):
            ids.append(sample)
    if not ids:
        what = f"with a mask {spec.mask!r} " if with_mask else ""
        raise DataError(f"{root}: no image {spec.image!r} {what}here; check dataset.data_root and the two paths")
    return sorted(ids)


def _escaped(text: str) -> str:
    """``text`` for a glob pattern, taken literally."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
