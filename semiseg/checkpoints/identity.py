"""What a checkpoint belongs to: the facts on a network and its preprocessing that leave no trace in names and shapes.

Weights fit a network of other dilations, or images that were normalised otherwise, without a word, and score less. The
record of a checkpoint therefore holds these facts under ``identity``, by the dotted keys of the configuration, with
``classes`` beside them; and what a command needs that has no configuration: how images are scored, and their sizes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semiseg.common.errors import CheckpointError
from semiseg.config.fields import value_text
from semiseg.config.schema import Leaf, Node, merge

Identity = Mapping[str, Any]  # dotted key -> value, as JSON holds it
RECORD = "identity"  # its name in the record of a checkpoint
CLASSES = "classes"
COLORS = "dataset.custom.colors"  # compared for colour masks alone, see ``_moved_colors``

# What must be the same for a score to mean anything. Of a section that may be null, whether it is.
SAME = (
    "net.encoder.type",
    "net.encoder.kwargs.width",
    "net.encoder.kwargs.stem",
    "net.encoder.kwargs.multi_grid",
    "net.encoder.kwargs.replace_stride_with_dilation",
    "net.encoder.kwargs.pool_ceil",
    "net.decoder.type",
    "net.decoder.kwargs.inner_planes",
    "net.decoder.kwargs.dilations",
    "net.decoder.kwargs.pool_norm",
    "net.aux_loss",
    "net.proto_head",
    "net.proto_head.num_micro_proto",
    "net.proto_head.temperature",
    "dataset.mean",
    "dataset.std",
    "dataset.ignore_label",
)
# What a checkpoint says beside them. Nothing here names a folder: files travel.
_RECORDED = (
    *("method", "net.", "dataset.type", "dataset.custom", "dataset.mean", "dataset.std", "dataset.ignore_label"),
    *("dataset.train.crop.", "dataset.val.crop.", "evaluation."),
)
_NOT_RECORDED = ("net.encoder.pretrained", "net.proto_head.init_proto_path")
_SET = "set"  # a section that is not null, in comparisons
_IGNORED = "ignored pixels"
_CLASS_ROWS = 3  # class names shown in the table of differences


class IdentityError(CheckpointError):
    """A checkpoint was trained as something else than the configuration says; the message is a table of both."""


def identity_of(flat: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint records of a run. ``flat``: every dotted key of its configuration; ``classes``: their names."""
    kept = {key: value for key, value in flat.items() if key.startswith(_RECORDED) and key not in _NOT_RECORDED}
    return {**{key: _plain(value) for key, value in kept.items()}, CLASSES: list(classes)}


def recorded(record: Mapping[str, Any], identity: Identity | None) -> dict[str, Any]:
    """A checkpoint's record with the identity in it, where there is one."""
    return {**record, **({RECORD: dict(identity)} if identity else {})}


def identity_in(record: Mapping[str, Any] | None) -> Identity | None:
    """The identity in a checkpoint's record; None where there is none: a published file, or one of an older version."""
    identity = (record or {}).get(RECORD)
    return identity if isinstance(identity, dict) and isinstance(identity.get(CLASSES), list) else None


def compared(identity: Identity) -> dict[str, Any]:
    """The part of an identity that must be the same, sections that are not null in one word."""
    facts = {key: identity[key] for key in SAME if key in identity}
    for key in SAME:
        if key not in facts and any(name.startswith(f"{key}.") for name in identity):
            facts[key] = _SET
    return facts | ({CLASSES: identity[CLASSES]} if CLASSES in identity else {})


def differing(trained: Identity, here: Identity) -> list[tuple[str, Any, Any]]:
    """(key, value in the checkpoint, value here) of all that must be the same and is not. A key that one side does not
    know is passed over: the section that it belongs to is compared, and other versions know other keys.

    Of ``COLORS`` the values are those of the classes that have another colour, by name.
    """
    first, second = compared(trained), compared(here)
    rows = [(key, first[key], second[key]) for key in first if key in second and first[key] != second[key]]
    same_classes = first.get(CLASSES) == second.get(CLASSES)
    return [*rows, *(_moved_colors(trained, here) if same_classes else [])]


def require_same(trained: Identity | None, here: Identity, source: str, advice: str) -> None:
    """Compares what a checkpoint was trained as with a configuration; a checkpoint that says nothing passes.

    Raises:
        IdentityError: they differ; ``source`` names the file, ``advice`` says what to do, below a table of both.
    """
    rows = differing(trained, here) if trained is not None else []
    if rows:
        what = "was trained with other values than this configuration has, so its scores would mean nothing"
        raise IdentityError(f"{source}: {what}:\n{_table(rows)}\n{advice}")


def tree_of(identity: Identity, origin: str, keys: Iterable[str] | None = None) -> Node:
    """The identity, or those of its keys that begin as one of ``keys``, as a tree of a configuration."""
    tree = Node({}, origin)
    for dotted, value in identity.items():
        if dotted == CLASSES or (keys is not None and not dotted.startswith(tuple(keys))):
            continue
        branch: Any = Leaf(value, origin)
        for part in reversed(dotted.split(".")):
            branch = Node({part: branch}, origin)
        tree = merge(tree, branch)
    return tree


def _moved_colors(trained: Identity, here: Identity) -> list[tuple[str, Any, Any]]:
    """The row of ``COLORS`` where a colour of the masks has another meaning here, be it a class or ignored pixels.

    Another data set may have masks of another kind or in other colours; then the names of the classes decide. Colours
    that change their meaning are wrong in the data set of the training, by its name, and wherever the classes have the
    same colours as there.
    """
    before, now = _by_color(trained), _by_color(here)
    moved = any(before[color] != now[color] for color in before.keys() & now.keys())
    same_data = trained.get("dataset.custom.name") == here.get("dataset.custom.name")
    if not moved or not (same_data or _class_colors(trained).keys() == _class_colors(here).keys()):
        return []
    first, second = ({name: list(color) for color, name in side.items()} for side in (before, now))
    other = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return [(COLORS, {name: first.get(name) for name in other}, {name: second.get(name) for name in other})]


def _class_colors(identity: Identity) -> dict[tuple[int, ...], str]:
    """Colour -> class; {} where masks hold indices, and colours are for drawing alone."""
    if identity.get("dataset.custom.mask_kind") != "color":
        return {}
    return dict(zip(map(tuple, identity.get(COLORS) or ()), identity[CLASSES], strict=False))


def _by_color(identity: Identity) -> dict[tuple[int, ...], str]:
    """As ``_class_colors``, with that of ignored pixels."""
    colors, ignored = _class_colors(identity), identity.get("dataset.custom.ignore_color")
    return {**colors, tuple(ignored): _IGNORED} if colors and ignored else colors


def _plain(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _table(rows: Sequence[tuple[str, Any, Any]]) -> str:
    lines = [("", "in the checkpoint", "in the configuration")]
    for key, trained, here in rows:
        rows_of = {CLASSES: _class_rows, COLORS: _color_rows}.get(key)
        lines += rows_of(trained, here) if rows_of else [(key, _text(trained), _text(here))]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    return "\n".join(f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in lines)


def _class_rows(trained: Sequence[str], here: Sequence[str]) -> list[tuple[str, str, str]]:
    """How many classes there are, where that differs, and the first names that do."""
    rows = [("number of classes", str(len(trained)), str(len(here)))] if len(trained) != len(here) else []
    longest = max(len(trained), len(here))
    names = [[*side, *["-"] * (longest - len(side))] for side in (trained, here)]
    other = [(f"class {index}", str(a), str(b)) for index, (a, b) in enumerate(zip(*names, strict=True)) if a != b]
    return [*rows, *_first_rows(other)]


def _color_rows(
    trained: Mapping[str, Sequence[int] | None], here: Mapping[str, Sequence[int] | None]
) -> list[tuple[str, str, str]]:
    return _first_rows([(f"color of {name}", _text(trained[name]), _text(here[name])) for name in trained])


def _first_rows(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The first ones, and how many more there are."""
    rest = [("other classes that differ", str(len(rows) - _CLASS_ROWS), "")] if len(rows) > _CLASS_ROWS else []
    return [*rows[:_CLASS_ROWS], *rest]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return value_text(value)
