"""Files among the images that are none: other pictures of images with a mask, and masks that no image has."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from semiseg.common.text import counted, shortened
from semiseg.prepare.own.affixes import called_masks, cuts_a_word, stem_of

_OF_PICTURES = re.compile(
    r"overlays?|superpixels?|vis|viz|visuali[sz]ations?|previews?|thumb(nail)?s?|trimaps?|instances?|edges?|"
    r"contours?|boundar(y|ies)|depth|pred(iction)?s?|results?|outputs?|heatmaps?",
    re.IGNORECASE,
)
_RENAME = "if they are images of their own, rename them"


class NoImages:
    """Ids that are no images, with a sentence for each kind of them. ``add`` takes an id once."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.notes: list[str] = []

    def add(self, ids: Collection[str], noun: str, name: str, why: str) -> None:
        new = sorted(set(ids) - self.ids)
        if new:
            self.ids.update(new)
            self.notes.append(f"{counted(len(new), noun)} {name} ({shortened(new, 2)}) left out: {why}")


def no_images(ids: Sequence[str], masked: Collection[str], inside: Collection[str], mask: str) -> NoImages:
    """Which of the images without a mask are none. ``inside``: those in the folder of masks. ``mask``: its template."""
    found, masked = NoImages(), set(masked)
    rest = [sample for sample in ids if sample not in masked]
    found.add(set(inside) - masked, "file", "in the folder of masks", f"none is an image's mask {mask}")
    for name, samples in _other_views(ids, masked).items():
        found.add(samples, "picture", name, f"other pictures of images that have a mask; {_RENAME}")
    for folder, samples in _same_names(rest, masked).items():
        if _OF_PICTURES.fullmatch(folder.rpartition("/")[2]):
            found.add(samples, "picture", f"of {folder}", f"named like images that have a mask; {_RENAME}")
    called = set(called_masks(ids))
    if len(called & masked) < len(masked) / 2:
        found.add(called - masked, "file", "called masks", f"none is an image's mask {mask}; {_RENAME}")
    return found


def doubtful_names(rest: Sequence[str], masked: Collection[str]) -> list[str]:
    """A sentence on each folder whose images have the names of images with a mask in another one."""
    enough = max(2, len(set(masked)) / 2)
    return [
        f"{counted(len(samples), 'unlabelled image')} of {folder} are named like images with a mask ({samples[0]}); if "
        "they show the same, move them away"
        for folder, samples in _same_names(rest, masked).items()
        if len(samples) >= enough
    ]


def _same_names(rest: Iterable[str], masked: Iterable[str]) -> dict[str, list[str]]:
    """Folder -> ids without a mask in it whose names are those of images with a mask in other folders."""
    names = {stem_of(sample).rpartition("/")[2] for sample in masked}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for sample in sorted(rest):
        folder, _, name = stem_of(sample).rpartition("/")
        if folder and name in names:
            found[folder].append(sample)
    return dict(found)


def within(folder: Path, root: Path, paths: Mapping[str, str]) -> list[str]:
    """Ids whose images (id -> path below ``root``) really lie in a folder, which does not hold all of the images."""
    inside = f"{os.path.realpath(folder)}/"
    real = {
        place: f"{os.path.realpath(root / place)}/" for place in {path.rpartition("/")[0] for path in paths.values()}
    }
    found = [sample for sample, path in paths.items() if real[path.rpartition("/")[0]].startswith(inside)]
    return found if len(found) < len(paths) else []


def _other_views(ids: Iterable[str], masked: Collection[str]) -> dict[str, list[str]]:
    """Images without a mask that are other pictures of images: a second mask, superpixels, an overlay. How they are
    named ("{id}_viz") -> their ids.

    Told by an id with something added, the same for at least half of the images with a mask and for two. Ids may carry
    an ending, which is no part of what is compared.
    """
    ids = list(ids)
    known, with_mask = ({stem_of(sample) for sample in some} for some in (ids, masked))
    views: defaultdict[str, list[str]] = defaultdict(list)
    bases: defaultdict[str, set[str]] = defaultdict(set)
    for sample in set(ids).difference(masked):
        text = stem_of(sample)
        for at in range(1, len(text)):
            front, back = text[:at], text[at:]
            for base, name in ((front, "{id}" + back), (back, front + "{id}")):
                # unlabeled/1.jpg, unlabeled/frame_1.jpg beside 1.jpg: numbered anew
                anew = name.endswith("/{id}") or (base is back and base.isdigit() and "/" in front)
                start, stop = (0, at) if base is front else (at, len(text))
                if base in known and not anew and not cuts_a_word(text, start, stop):
                    views[name].append(sample)
                    bases[name].add(base)
    enough = max(2, len(with_mask) / 2)
    return {name: sorted(found) for name, found in sorted(views.items()) if len(bases[name] & with_mask) >= enough}
