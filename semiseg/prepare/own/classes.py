"""What the values and colours of masks stand for: indices, colours or gray levels, which of them is ignored.

A value is a whole number of a picture with one band, a colour three of them (red, green, blue).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from semiseg.common.errors import ConfigError, DataError
from semiseg.common.text import counted, shortened
from semiseg.data.masks import MaskContent
from semiseg.data.specs import Color
from semiseg.prepare.own.doubts import refuse_colorless, refuse_edges, refuse_many, refuse_thin
from semiseg.prepare.own.masks import WHITE, MasksSeen, index_of, like_indices, said, spread, why_without_order

_DARK = 128  # a color without a brighter part is hard to tell from black
_FEW = 8  # classes; more that are counted up in each mask are numbers of objects


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
    black_and_white = [name for name, mask in masks.items() if mask.values.keys() == {0, WHITE}]
    others = {name: max(mask.values.keys() - {WHITE}, default=0) for name, mask in masks.items()}
    with_class = [name for name, value in others.items() if value > 0]
    if not black_and_white or not with_class or any(WHITE in masks[name].values for name in with_class):
        return None
    first, other = black_and_white[0], with_class[0]
    return (
        f"are these masks of two kinds? 0 and 255 in {len(black_and_white)} (first {first}), classes in "
        f"{len(with_class)} others (first {other}: {spread(sorted(masks[other].values))}), in no mask both; 255 is "
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
    if wishes.classes or not (with_indices and others) or alike or not like_indices([0, *sorted(indices)]):
        return None
    unlike = sorted({0}.union(*others.values()))
    return (
        f"are these masks of two kinds? {spread(sorted({0, *indices}))} in {len(with_indices)} (first "
        f"{next(iter(with_indices))}), {spread(unlike)} in {len(others)} others (first {next(iter(others))}); here "
        "each value is a class of its own: if they mean the same, save all masks with one value for each class, else "
        "name them (--classes)"
    )


def _by_index(seen: MasksSeen, wishes: Wishes) -> Classes | None:
    """None where the values are no indices of classes."""
    values = seen.values
    renumbered = any(len(colors) > 1 for colors in seen.palette.values())
    if values is None or max(values) > WHITE or renumbered or isinstance(wishes.ignore, tuple):
        return None
    if wishes.colors and seen.palette and _shown(seen.palette) <= {*wishes.colors}:
        return None
    ignore = _ignored_value(values, wishes)
    labels = sorted(values.keys() - {ignore})
    count = max([*labels, len(wishes.classes) - 1]) + 1
    told = count == len(wishes.classes)
    are_indices = labels[:1] == [0] and like_indices(labels) and len(wishes.classes) != len(labels)
    # One value alone, and an ignored one among the classes, are told in the words of colours.
    if not (told or are_indices) or min(labels) < 0 or count < 2 or (ignore is not None and ignore < count):
        return None
    if not told:
        refuse_edges(values, "values", seen.masks)
        if seen.counted_up and not wishes.classes and count > _FEW:
            raise DataError(
                f"each mask holds 0, 1, 2, ... up to a number of its own, at most {count - 1}: numbers of single "
                "objects? classes are wanted, e.g. 1 for every object; if these are classes, name them with --classes"
            )
        if wishes.classes:
            raise ConfigError(
                f"--classes: {counted(len(wishes.classes), 'name')}, but masks hold {spread(labels)}; name all "
                f"{count} in the order of their index, and with --ignore what does not count"
            )
    colors = wishes.colors or _colors_of(seen.palette, count)
    names = _named(wishes, count, first_is_zero=not colors or not any(colors[0]))
    if colors and len(colors) != count:
        raise ConfigError(f"--colors: {len(colors)} colors for {count} classes (index 0 to {count - 1}); give one each")
    never = [f"{index}" for index in range(count) if index not in values]
    shares = _shares([(names[label], label, values[label]) for label in labels], values.total())
    missing = f"; {', '.join(never)} in no mask" if never else ""
    why = {
        "masks": f"{counted(seen.masks, 'mask')} of indices ({'palette' if seen.palette else 'gray'})",
        "classes": f"{count}, as masks hold {spread(labels)}: {shares}{missing}",
        "ignore": _why_ignored(ignore, values, wishes),
    }
    label = WHITE if ignore is None else ignore
    key, notes = {i: i for i in range(count)}, _notes_on_ignored(ignore, seen, wishes)
    return Classes(names, "index", colors, label, None, key, why, bool(wishes.classes), notes)


def _by_color(seen: MasksSeen, wishes: Wishes) -> Classes:
    gray = seen.values is not None and not seen.palette
    refuse_colorless(seen)
    order = index_of(seen)
    ignore = _ignored_color(seen, order, wishes)
    colors = tuple(sorted(seen.colors.keys() - {ignore}, key=order.get if order else None))
    if wishes.colors:
        others = sorted(set(colors) - set(wishes.colors))
        if others:
            raise ConfigError(
                f"--colors: masks also hold {shortened(map(said, others))}; give every class's color, or that of "
                f"pixels that do not count as --ignore {_option(others[0], order)}"
            )
        colors = wishes.colors
    else:
        refuse_many(seen, "gray levels" if gray else "colors")
        if gray and len(wishes.classes) != len(colors):
            refuse_thin(seen, colors)
    _refuse_unseen(ignore, seen, wishes)
    if len(colors) < 2:
        only = said(colors[0]) if colors else "what is ignored"
        raise DataError(
            f"{counted(seen.masks, 'mask')} hold one value alone ({only}): there is nothing to tell apart; are these "
            "the masks, and is every class drawn in them?"
        )
    names = _named(wishes, len(colors), first_is_zero=not any(colors[0]))
    if len(names) != len(colors):
        raise ConfigError(
            f"--classes: {len(names)} names, but masks hold {shortened(map(said, colors), 8)}; name one class for each"
            ", and with --ignore what does not count"
        )
    if wishes.classes and not wishes.colors and seen.palette and not order:
        raise ConfigError(
            f"--classes: {why_without_order(seen)}, so that the names' order is not known; say which is which with "
            f"--colors, one for each name in their order (of {shortened(map(said, colors), 8)})"
        )
    shown = [_with_index(color, order) for color in colors]
    pairs = [(names[i], shown[i], seen.colors[color]) for i, color in enumerate(colors)]
    kind = "gray levels, read as colors" if gray else "colors, in the order of their palette" if order else "colors"
    why = {
        "masks": f"{counted(seen.masks, 'mask')} of {kind}",
        "classes": f"{len(colors)}, one for each: {_shares(pairs, seen.colors.total())}",
        "ignore": _why_ignored(ignore, seen.colors, wishes, order),
    }
    if max(map(max, colors)) < _DARK:
        why["classes"] += "; predictions are drawn in these dark colors too"
    key = {color: index for index, color in enumerate(colors)}
    return Classes(names, "color", colors, WHITE, ignore, key, why, bool(wishes.classes))


def _ignored_value(values: Collection[int], wishes: Wishes, are_indices: bool = False) -> int | None:
    """255 in index masks, unless it was said otherwise or the names say that it is a class."""
    if isinstance(wishes.ignore, int):
        return wishes.ignore
    others = sorted({*values} - {WHITE})
    as_class = wishes.ignore == "none" or len(wishes.classes) == len(values)
    if as_class or WHITE not in values or len(others) < 2 or not (are_indices or like_indices(others)):
        return None
    return WHITE


def _ignored_color(seen: MasksSeen, order: Mapping[Color, int] | None, wishes: Wishes) -> Color | None:
    """A plain number is an index where one palette has all colours, see ``index_of``, else a gray level."""
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


def _refuse_unseen(ignore: Color | None, seen: MasksSeen, wishes: Wishes) -> None:
    """Raises: ConfigError where no pixel has what was said to be ignored: what was meant would be a class."""
    if ignore is not None and wishes.ignore is not None and ignore not in seen.colors:
        raise _unseen(said(ignore), map(said, sorted(seen.colors)), "value" if seen.values else "color")


def _unseen(value: str, there: Iterable[str], what: str) -> ConfigError:
    return ConfigError(
        f"--ignore {value}: no pixel of the masks has this {what}; they hold {shortened(there, 8)}; name that of the "
        "pixels that do not count, or leave --ignore out"
    )


def _notes_on_ignored(ignore: int | None, seen: MasksSeen, wishes: Wishes) -> tuple[str, ...]:
    """Index masks may do without a label for what does not count; where it was named it may be meant otherwise."""
    if wishes.ignore is None or ignore is None or ignore in seen.values:
        return ()
    same_gray = [index for index, colors in seen.palette.items() if (ignore,) * 3 in colors]
    instead = f"; the palette shows index {same_gray[0]} in this gray: --ignore {same_gray[0]}" if same_gray else ""
    return (
        f"--ignore {ignore}: no pixel of the masks has this index; they hold {spread(sorted(seen.values))}{instead}",
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
        white = next((value for value in (WHITE, (WHITE,) * 3) if len(pixels) > 2 and value in pixels), None)
        if white is None:
            return "nothing"
        return f"nothing; white is a class (--ignore {_option(white, order)} if it marks pixels that do not count)"
    because = "as you said" if wishes.ignore is not None else "--ignore none makes it a class"
    return f"{_with_index(ignore, order)}, {pixels[ignore] / pixels.total():.1%} of the pixels ({because})"


def _with_index(value: int | Color, order: Mapping[Color, int] | None) -> str:
    """ "index 15 = 192,128,128" of a palette; a value or colour alone as it is."""
    return f"index {order[value]} = {','.join(map(str, value))}" if order and value in order else said(value)


def _option(value: int | Color, order: Mapping[Color, int] | None) -> str:
    """As --ignore takes it."""
    return str(order[value]) if order else said(value)


def _shares(pairs: Sequence[tuple[str, object, int]], total: int) -> str:
    shown = [f"{name} ({value}) {count / total:.1%}" for name, value, count in pairs]
    return shortened(shown, 6)
