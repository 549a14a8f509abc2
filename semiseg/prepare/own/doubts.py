"""Masks that can hold no classes: hundreds of values, smoothed edges, indices without a colour."""

from collections import Counter
from collections.abc import Sequence

from semiseg.common.errors import DataError
from semiseg.common.text import counted, shortened
from semiseg.data.specs import Color
from semiseg.prepare.own.masks import WHITE, MasksSeen, said, spread

MOST = 64  # colours or gray levels; index masks may hold up to 255 classes
_PHOTOGRAPHS = 4096  # no mask's smoothed edges have so many
_EDGES = 8  # so many colours with hardly a pixel are the smoothed edges between others
_HARDLY = 0.005  # of all pixels


def refuse_many(seen: MasksSeen, what: str) -> None:
    """Hundreds of values are no classes. Raises: DataError."""
    values = seen.values or Counter()
    if not seen.palette and len(seen.colors) < len(values):  # of more than 8 bits
        raise DataError(
            f"masks hold {len(values)} values up to {max(values)}: numbers of single objects? a mask holds one value "
            "for each class, at most 255 of them, in 8 bits"
        )
    refuse_edges(seen.colors, what, seen.masks, MOST)


def refuse_thin(seen: MasksSeen, levels: Sequence[Color]) -> None:
    """Levels between others that nowhere fill 2 x 2 pixels are no classes, unless all are named. Raises: DataError."""
    solid = levels if seen.solid is None else seen.solid
    thin = [level for level in levels if level not in solid and min(levels) < level < max(levels)]
    if thin and len(levels) - len(thin) > 1:
        raise DataError(
            f"gray levels {shortened(map(said, thin))} of {shortened(map(said, levels), 8)} nowhere fill 2 x 2 "
            "pixels: smoothed edges, as of masks that were resized? make them anew without smoothing (nearest "
            f"neighbour); if they are classes, name all {len(levels)} with --classes"
        )


def refuse_edges(pixels: Counter, what: str, masks: int, most: int = WHITE) -> None:
    """More than ``most`` values, or many with hardly a pixel, are no classes. Raises: DataError."""
    ordered = sorted(pixels.values())
    allowance, edges = pixels.total() * _HARDLY, 0
    while edges < len(ordered) and ordered[edges] <= allowance:
        allowance -= ordered[edges]
        edges += 1
    major = len(ordered) - edges
    if len(ordered) <= most and (edges < _EDGES or edges < major):
        return
    photographs = "; are these the masks? so many are in photographs" if len(ordered) > _PHOTOGRAPHS else ""
    of_which = f", of which {major} hold all but {_HARDLY:.1%} of the pixels" if major <= most else ""
    raise DataError(
        f"{len(ordered)} {what} in {counted(masks, 'mask')}{of_which}: no classes, but smoothed edges or what JPEG "
        "left; export masks anew as PNG without smoothing, or say what the classes are with "
        f"{'--classes' if what == 'values' else '--colors'}{photographs}"
    )


def refuse_colorless(seen: MasksSeen) -> None:
    """Raises: DataError for an index that its palette does not reach: as a colour it would be another one's."""
    beyond = sorted(index for index, colors in seen.palette.items() if None in colors)
    if beyond:
        raise DataError(
            f"masks hold index {spread(beyond)} beyond the end of their palette, which has no color; save them as "
            "8-bit gray, or with a palette that has all indices"
        )
