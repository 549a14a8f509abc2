"""What the values and colours of masks stand for: indices, colours or gray levels, which of them is ignored.

A value is a whole number of a picture with one band, a colour three of them (red, green, blue).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from semiseg.common.errors import ConfigError, DataError
from semiseg.common.text import counted, shortened
from semiseg.data.masks import MaskContent
from semiseg.data.specs import Color

_MOST = 64  # colours or gray levels; index masks may hold up to 255 classes
_FEW = 8  # classes; more that are counted up in each mask are numbers of objects
_EDGES = 8  # so many colours with hardly a pixel are the smoothed edges between others
_HARDLY = 0.005  # of all pixels
_WHITE = 255


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


class Wishes(NamedTuple):
    """What was said on the command line. ignore: a value, a colour, "none", or None where nothing was said."""

    classes: tuple[str, ...] = ()
    colors: tuple[Color, ...] = ()
    ignore: int | Color | str | None = None


class Classes(NamedTuple):
    """The classes of a data set, in order. colors: as ``dataset.custom.colors``, or None for VOC's.

    key: a mask's value (kind index) or colour -> the class. why: topic -> one sentence. notes: what may surprise.
    """

    names: tuple[str, ...]
    kind: str
    colors: tuple[Color, ...] | None
    ignore_label: int
    ignore_color: Color | None
    key: Mapping[int | Color, int]
    why: Mapping[str, str]
    named: bool
    notes: tuple[str, ...] = ()

    def of(self, mask: MaskContent) -> list[int]:
        """Indices of the classes that a mask shows."""
        there = mask.colors if self.kind == "color" else mask.values or {}
        return sorted({self.key[value] for value in there if value in self.key})


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
        numbers = (mask.values or {}).keys() - {_WHITE}
        tops.add(max(numbers, default=0))
        gaps += max(numbers, default=-1) + 1 != len(numbers)
        for index, color in mask.palette.items():
            palette[index].add(color)
    if values is not None:
        values += of_one_bit if 1 in values else Counter({value * _WHITE: n for value, n in of_one_bit.items()})
    shown_in = {index: frozenset(seen) for index, seen in palette.items()}
    return MasksSeen(count, values, not gaps and len(tops) > 2, colors, shown_in, solid)


def decide(seen: MasksSeen, wishes: Wishes) -> Classes:
    """Indices where the values look like indices, else colours (of which gray levels are some).

    Raises:
        DataError: the values cannot be classes (one alone, hundreds, smoothed edges).
        ConfigError: names, colours or the ignored value do not fit what the masks hold.
    """
    return _by_index(seen, wishes) or _by_color(seen, wishes)


def question_of_kinds(masks: Mapping[str, MaskContent], classes: Classes, wishes: Wishes) -> str | None:
    """Whether 255 is what 1 is in other index masks, where no mask that holds 255 unasked holds more than 0 beside it;
    of gray levels, whether some masks hold indices for the levels of others.

    ``masks``: by their files' names.
    """
    if classes.kind != "index":
        return _question_of_levels(masks, wishes)
    if wishes.ignore is not None:
        return None
    black_and_white = [name for name, mask in masks.items() if mask.values.keys() == {0, _WHITE}]
    others = {name: max(mask.values.keys() - {_WHITE}, default=0) for name, mask in masks.items()}
    with_class = [name for name, value in others.items() if value > 0]
    if not black_and_white or not with_class or any(_WHITE in masks[name].values for name in with_class):
        return None
    first, other = black_and_white[0], with_class[0]
    return (
        f"are these masks of two kinds? 0 and 255 in {len(black_and_white)} (first {first}), classes in "
        f"{len(with_class)} others (first {other}: {_spread(sorted(masks[other].values))}), in no mask both; 255 is "
        "ignored: if it is a class, save all masks with one value for it; if it does not count, --ignore 255 says so"
    )


def _question_of_levels(masks: Mapping[str, MaskContent], wishes: Wishes) -> str | None:
    """Where some gray masks hold 0, 1, 2, ... alone, the others none of these but 0, and nobody named the classes."""
    levels = {name: {*mask.values} - {0} for name, mask in masks.items() if mask.values and max(mask.values)}
    most = len(set().union(*levels.values()))  # an index is no larger than the number of classes
    with_indices = {name: held for name, held in levels.items() if max(held) <= most}
    others = {name: held for name, held in levels.items() if name not in with_indices}
    indices = set().union(*with_indices.values())
    alike = any(indices & held for held in others.values())
    if wishes.classes or not (with_indices and others) or alike or not _like_indices([0, *sorted(indices)]):
        return None
    unlike = sorted({0}.union(*others.values()))
    return (
        f"are these masks of two kinds? {_spread(sorted({0, *indices}))} in {len(with_indices)} (first "
        f"{next(iter(with_indices))}), {_spread(unlike)} in {len(others)} others (first {next(iter(others))}); here "
        "each value is a class of its own: if they mean the same, save all masks with one value for each class, else "
        "name them (--classes)"
    )


def _by_index(seen: MasksSeen, wishes: Wishes) -> Classes | None:
    """None where the values are no indices of classes."""
    values = seen.values
    renumbered = any(len(colors) > 1 for colors in seen.palette.values())
    if values is None or max(values) > _WHITE or renumbered or isinstance(wishes.ignore, tuple):
        return None
    if wishes.colors and seen.palette and _shown(seen.palette) <= {*wishes.colors}:
        return None
    ignore = _ignored_value(values, wishes)
    labels = sorted(values.keys() - {ignore})
    count = max([*labels, len(wishes.classes) - 1]) + 1
    told = count == len(wishes.classes)
    are_indices = labels[:1] == [0] and _like_indices(labels) and len(wishes.classes) != len(labels)
    # One value alone, and an ignored one among the classes, are told in the words of colours.
    if not (told or are_indices) or min(labels) < 0 or count < 2 or (ignore is not None and ignore < count):
        return None
    if not told:
        _refuse_edges(values, "values", seen.masks)
        if seen.counted_up and not wishes.classes and count > _FEW:
            raise DataError(
                f"each mask holds 0, 1, 2, ... up to a number of its own, at most {count - 1}: numbers of single "
                "objects? classes are wanted, e.g. 1 for every object; if these are classes, name them with --classes"
            )
        if wishes.classes:
            raise ConfigError(
                f"--classes: {counted(len(wishes.classes), 'name')}, but masks hold {_spread(labels)}; name all "
                f"{count} in the order of their index, and with --ignore what does not count"
            )
    names = _named(wishes, count, first_is_zero=True)
    colors = wishes.colors or _colors_of(seen.palette, count)
    if colors and len(colors) != count:
        raise ConfigError(f"--colors: {len(colors)} colors for {count} classes (index 0 to {count - 1}); give one each")
    never = [f"{index}" for index in range(count) if index not in values]
    shares = _shares([(names[label], label, values[label]) for label in labels], values.total())
    missing = f"; {', '.join(never)} in no mask" if never else ""
    why = {
        "masks": f"{counted(seen.masks, 'mask')} of indices ({'palette' if seen.palette else 'gray'})",
        "classes": f"{count}, as masks hold {_spread(labels)}: {shares}{missing}",
        "ignore": _why_ignored(ignore, values, wishes),
    }
    label = _WHITE if ignore is None else ignore
    key, notes = {i: i for i in range(count)}, _notes_on_ignored(ignore, seen, wishes)
    return Classes(names, "index", colors, label, None, key, why, bool(wishes.classes), notes)


def _by_color(seen: MasksSeen, wishes: Wishes) -> Classes:
    gray = seen.values is not None and not seen.palette
    _refuse_colorless(seen)
    order = _index_of(seen)
    ignore = _ignored_color(seen, order, wishes)
    colors = tuple(sorted(seen.colors.keys() - {ignore}, key=order.get if order else None))
    if wishes.colors:
        others = sorted(set(colors) - set(wishes.colors))
        if others:
            raise ConfigError(
                f"--colors: masks also hold {shortened(map(_said, others))}; give every class's color, or that of "
                f"pixels that do not count as --ignore {_option(others[0], order)}"
            )
        colors = wishes.colors
    else:
        _refuse_many(seen, "gray levels" if gray else "colors")
        if gray and len(wishes.classes) != len(colors):
            _refuse_thin(seen, colors)
    _refuse_unseen(ignore, seen, wishes)
    if len(colors) < 2:
        only = _said(colors[0]) if colors else "what is ignored"
        raise DataError(
            f"{counted(seen.masks, 'mask')} hold one value alone ({only}): there is nothing to tell apart; are these "
            "the masks, and is every class drawn in them?"
        )
    names = _named(wishes, len(colors), first_is_zero=not any(colors[0]))
    if len(names) != len(colors):
        raise ConfigError(
            f"--classes: {len(names)} names, but masks hold {shortened(map(_said, colors), 8)}; name one class for each"
            ", and with --ignore what does not count"
        )
    if wishes.classes and not wishes.colors and seen.palette and not order:
        raise ConfigError(
            f"--classes: {_why_without_order(seen)}, so that the names' order is not known; say which is which with "
            f"--colors, one for each name in their order (of {shortened(map(_said, colors), 8)})"
        )
    shown = [_with_index(color, order) for color in colors]
    pairs = [(names[i], shown[i], seen.colors[color]) for i, color in enumerate(colors)]
    kind = "gray levels, read as colors" if gray else "colors, in the order of their palette" if order else "colors"
    why = {
        "masks": f"{counted(seen.masks, 'mask')} of {kind}",
        "classes": f"{len(colors)}, one for each: {_shares(pairs, seen.colors.total())}",
        "ignore": _why_ignored(ignore, seen.colors, wishes, order),
    }
    if max(map(max, colors)) < 2 * _MOST:
        why["classes"] += "; predictions are drawn in these dark colors too"
    key = {color: index for index, color in enumerate(colors)}
    return Classes(names, "color", colors, _WHITE, ignore, key, why, bool(wishes.classes))


def _refuse_many(seen: MasksSeen, what: str) -> None:
    """Hundreds of values are no classes. Raises: DataError."""
    values = seen.values or Counter()
    if not seen.palette and len(seen.colors) < len(values):  # of more than 8 bits
        raise DataError(
            f"masks hold {len(values)} values up to {max(values)}: numbers of single objects? a mask holds one value "
            "for each class, at most 255 of them, in 8 bits"
        )
    _refuse_edges(seen.colors, what, seen.masks, _MOST)


def _refuse_thin(seen: MasksSeen, levels: Sequence[Color]) -> None:
    """Levels between others that nowhere fill 2 x 2 pixels are no classes, unless all are named. Raises: DataError."""
    solid = levels if seen.solid is None else seen.solid
    thin = [level for level in levels if level not in solid and min(levels) < level < max(levels)]
    if thin and len(levels) - len(thin) > 1:
        raise DataError(
            f"gray levels {shortened(map(_said, thin))} of {shortened(map(_said, levels), 8)} nowhere fill 2 x 2 "
            "pixels: smoothed edges, as of masks that were resized? make them anew without smoothing (nearest "
            f"neighbour); if they are classes, name all {len(levels)} with --classes"
        )


def _refuse_edges(pixels: Counter, what: str, masks: int, most: int = _WHITE) -> None:
    """More than ``most`` values, or many with hardly a pixel, are no classes. Raises: DataError."""
    ordered = sorted(pixels.values())
    allowance, edges = pixels.total() * _HARDLY, 0
    while edges < len(ordered) and ordered[edges] <= allowance:
        allowance -= ordered[edges]
        edges += 1
    major = len(ordered) - edges
    if len(ordered) <= most and (edges < _EDGES or edges < major):
        return
    of_which = f", of which {major} hold all but {_HARDLY:.1%} of the pixels" if major <= most else ""
    raise DataError(
        f"{len(ordered)} {what} in {counted(masks, 'mask')}{of_which}: no classes, but smoothed edges or what JPEG "
        "left; export masks anew as PNG without smoothing, or say what the classes are with "
        f"{'--classes' if what == 'values' else '--colors'}"
    )


def _like_indices(labels: Sequence[int]) -> bool:
    """Whether sorted values could be counted from 0 or 1: few are left out."""
    return labels[-1] + 1 - len(labels) <= max(labels[0], (len(labels) - 1) // 2) and labels[0] <= 1


def _ignored_value(values: Collection[int], wishes: Wishes, are_indices: bool = False) -> int | None:
    """255 in index masks, unless it was said otherwise or the names say that it is a class."""
    if isinstance(wishes.ignore, int):
        return wishes.ignore
    others = sorted({*values} - {_WHITE})
    as_class = wishes.ignore == "none" or len(wishes.classes) == len(values)
    if as_class or _WHITE not in values or len(others) < 2 or not (are_indices or _like_indices(others)):
        return None
    return _WHITE


def _ignored_color(seen: MasksSeen, order: Mapping[Color, int] | None, wishes: Wishes) -> Color | None:
    """A plain number is an index where one palette has all colours, see ``_index_of``, else a gray level."""
    if isinstance(wishes.ignore, tuple):
        return wishes.ignore
    if order:
        color_of = {index: color for color, index in order.items()}
        are_grays = all(color == (index,) * 3 for index, color in color_of.items())  # a gray picture with a palette
        value = _ignored_value(color_of, wishes, are_indices=not are_grays)
        if value is not None and value not in color_of:
            raise _unseen(str(value), [_with_index(color_of[index], order) for index in sorted(color_of)], "index")
        color = color_of.get(value)
        return None if wishes.ignore is None and color in wishes.colors else color
    grays = Counter({color[0]: count for color, count in seen.colors.items() if len(set(color)) == 1})
    gray = len(grays) == len(seen.colors) and not wishes.colors
    value = _ignored_value(grays if gray else Counter(), wishes)
    return None if value is None else (value, value, value)


def _index_of(seen: MasksSeen) -> dict[Color, int] | None:
    """Index of each colour, where one palette has all of them; None where palettes differ or there is none."""
    known = {color: index for index, colors in seen.palette.items() for color in colors}
    one_palette = len(known) == len(seen.palette) == sum(map(len, seen.palette.values()))
    return known if known and one_palette and seen.colors.keys() <= known.keys() else None


def _why_without_order(seen: MasksSeen) -> str:
    """Why ``_index_of`` knows no index of each colour of masks with a palette."""
    for index, colors in sorted(seen.palette.items()):
        if len(colors) > 1:
            return f"the masks' palettes differ (index {index} is {' and '.join(map(_said, sorted(colors)))})"
    first: dict[Color | None, int] = {}
    for index, (color,) in sorted(seen.palette.items()):
        if first.setdefault(color, index) != index:
            return f"the masks' palette shows index {first[color]} and {index} in one color, {_said(color)}"
    return "some masks have a palette, and others hold colors that it has not"


def _refuse_colorless(seen: MasksSeen) -> None:
    """Raises: DataError for an index that its palette does not reach: as a colour it would be another one's."""
    beyond = sorted(index for index, colors in seen.palette.items() if None in colors)
    if beyond:
        raise DataError(
            f"masks hold index {_spread(beyond)} beyond the end of their palette, which has no color; save them as "
            "8-bit gray, or with a palette that has all indices"
        )


def _refuse_unseen(ignore: Color | None, seen: MasksSeen, wishes: Wishes) -> None:
    """Raises: ConfigError where no pixel has what was said to be ignored: what was meant would be a class."""
    if ignore is not None and wishes.ignore is not None and ignore not in seen.colors:
        raise _unseen(_said(ignore), map(_said, sorted(seen.colors)), "value" if seen.values else "color")


def _unseen(said: str, there: Iterable[str], what: str) -> ConfigError:
    return ConfigError(
        f"--ignore {said}: no pixel of the masks has this {what}; they hold {shortened(there, 8)}; name that of the "
        "pixels that do not count, or leave --ignore out"
    )


def _notes_on_ignored(ignore: int | None, seen: MasksSeen, wishes: Wishes) -> tuple[str, ...]:
    """Index masks may do without a label for what does not count; where it was named it may be meant otherwise."""
    if wishes.ignore is None or ignore is None or ignore in seen.values:
        return ()
    same_gray = [index for index, colors in seen.palette.items() if (ignore,) * 3 in colors]
    instead = f"; the palette shows index {same_gray[0]} in this gray: --ignore {same_gray[0]}" if same_gray else ""
    return (
        f"--ignore {ignore}: no pixel of the masks has this index; they hold {_spread(sorted(seen.values))}{instead}",
    )


def _colors_of(palette: Mapping[int, frozenset[Color | None]], count: int) -> tuple[Color, ...] | None:
    """The palette's colours where they tell all classes apart."""
    colors = [color for index in range(count) for color in palette.get(index, (None,))]
    return tuple(colors) if None not in colors and len(set(colors)) == count else None


def _shown(palette: Mapping[int, frozenset[Color | None]]) -> set[Color | None]:
    return set().union(*palette.values())


def _named(wishes: Wishes, count: int, first_is_zero: bool) -> tuple[str, ...]:
    if wishes.classes:
        return wishes.classes
    if count == 2 and first_is_zero:
        return ("background", "foreground")
    return tuple(f"class_{index}" for index in range(count))


def _why_ignored(
    ignore: int | Color | None, pixels: Counter, wishes: Wishes, order: Mapping[Color, int] | None = None
) -> str:
    if ignore is None:
        white = next((value for value in (_WHITE, (_WHITE,) * 3) if len(pixels) > 2 and value in pixels), None)
        if white is None:
            return "nothing"
        return f"nothing; white is a class (--ignore {_option(white, order)} if it marks pixels that do not count)"
    said = "as you said" if wishes.ignore is not None else "--ignore none makes it a class"
    return f"{_with_index(ignore, order)}, {pixels[ignore] / pixels.total():.1%} of the pixels ({said})"


def _with_index(value: int | Color, order: Mapping[Color, int] | None) -> str:
    """ "index 15 = 192,128,128" of a palette; a value or colour alone as it is."""
    return f"index {order[value]} = {','.join(map(str, value))}" if order and value in order else _said(value)


def _option(value: int | Color, order: Mapping[Color, int] | None) -> str:
    """As --ignore takes it."""
    return str(order[value]) if order else _said(value)


def _shares(pairs: Sequence[tuple[str, object, int]], total: int) -> str:
    shown = [f"{name} ({value}) {count / total:.1%}" for name, value, count in pairs]
    return shortened(shown, 6)


def _spread(labels: Sequence[int]) -> str:
    return ", ".join(map(str, labels)) if len(labels) <= 8 else f"{labels[0]} to {labels[-1]}"


def _said(value: int | Color) -> str:
    """As --ignore and --colors take it: 255, or 60,180,75."""
    if isinstance(value, int):
        return str(value)
    return str(value[0]) if len(set(value)) == 1 else ",".join(map(str, value))
