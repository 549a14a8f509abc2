"""What all masks of a data set hold together: values, colours, palettes, and how they are said.

A value is a whole number of a picture with one band, a colour three of them (red, green, blue).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from semiseg.data.masks import MaskContent
from semiseg.data.specs import Color

WHITE = 255


class MasksSeen(NamedTuple):
    """All masks together, each with its number of pixels.

    values: None where one mask is a colour picture; white of 1 bit is 1 where other masks hold a 1, else 255.
    counted_up: each mask holds 0, 1, 2, ... without a gap, up to numbers that differ. palette: the colours that each
    index of indexed masks was seen in. solid: colours that fill 2 x 2 pixels in some mask; None where it is not known.
    """

    masks: int
    values: Counter[int] | None
    counted_up: bool
    colors: Counter[Color]
    palette: Mapping[int, frozenset[Color | None]]
    solid: frozenset[Color] | None = None


def together(masks: Iterable[MaskContent]) -> MasksSeen:
    """The sums over masks."""
    count, colors, palette, gaps, tops = 0, Counter(), defaultdict(set), 0, set()
    solid: frozenset[Color] | None = frozenset()
    values: Counter[int] | None = Counter()
    of_one_bit: Counter[int] = Counter()
    for mask in masks:
        count += 1
        colors.update(mask.colors)
        solid = None if solid is None or mask.solid is None else solid | mask.solid
        if mask.one_bit:
            of_one_bit.update(mask.values)
        else:
            values = None if values is None or mask.values is None else values + mask.values
        numbers = (mask.values or {}).keys() - {WHITE}
        tops.add(max(numbers, default=0))
        gaps += max(numbers, default=-1) + 1 != len(numbers)
        for index, color in mask.palette.items():
            palette[index].add(color)
    if values is not None:
        values += of_one_bit if 1 in values else Counter({value * WHITE: n for value, n in of_one_bit.items()})
    shown_in = {index: frozenset(seen) for index, seen in palette.items()}
    return MasksSeen(count, values, not gaps and len(tops) > 2, colors, shown_in, solid)


def index_of(seen: MasksSeen) -> dict[Color, int] | None:
    """Index of each colour, where one palette has all of them; None where palettes differ or there is none."""
    known = {color: index for index, colors in seen.palette.items() for color in colors}
    one_palette = len(known) == len(seen.palette) == sum(map(len, seen.palette.values()))
    return known if known and one_palette and seen.colors.keys() <= known.keys() else None


def why_without_order(seen: MasksSeen) -> str:
    """Why ``index_of`` knows no index of each colour of masks with a palette."""
    for index, colors in sorted(seen.palette.items()):
        if len(colors) > 1:
            return f"the masks' palettes differ (index {index} is {' and '.join(map(said, sorted(colors)))})"
    first: dict[Color | None, int] = {}
    for index, (color,) in sorted(seen.palette.items()):
        if first.setdefault(color, index) != index:
            return f"the masks' palette shows index {first[color]} and {index} in one color, {said(color)}"
    return "some masks have a palette, and others hold colors that it has not"


def like_indices(labels: Sequence[int]) -> bool:
    """Whether sorted values could be counted from 0 or 1: few are left out."""
    return labels[-1] + 1 - len(labels) <= max(labels[0], (len(labels) - 1) // 2) and labels[0] <= 1


def spread(labels: Sequence[int]) -> str:
    """Sorted values in words: all of a few, the first and the last of many."""
    return ", ".join(map(str, labels)) if len(labels) <= 8 else f"{labels[0]} to {labels[-1]}"


def said(value: int | Color) -> str:
    """As --ignore and --colors take it: 255, or 60,180,75."""
    if isinstance(value, int):
        return str(value)
    return str(value[0]) if len(set(value)) == 1 else ",".join(map(str, value))
