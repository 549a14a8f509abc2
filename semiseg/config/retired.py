"""Keys that old and published files write and that nobody needs: one value is legal, or the value follows from others.

They still load. A legal value is dropped. A number that must equal a derived one is kept in ``Config.stated`` until
what it is derived from is known: ``check_stated`` then compares the two.
"""

from collections.abc import Mapping
from typing import NamedTuple

from semiseg.common.errors import ConfigError
from semiseg.config.keys import Config
from semiseg.config.schema import Leaf, Node
from semiseg.config.yaml_text import describe


class Retired(NamedTuple):
    """``legal``: what may stand there. ``expected``: the same in words. ``differs``: what ``check_stated`` says; ""
    where the legal values are all there is to check.
    """

    legal: tuple[str, ...] | range
    expected: str
    differs: str = ""


_CHANNELS = Retired(
    range(1, 10**6),
    "a whole number or null",
    "{key}: {of} has {derived} channels there, got {written}; leave the key out or mend it",
)
RETIRED = {
    "dataset.train.crop.type": Retired(("rand",), "rand (training draws its crops)"),
    "dataset.val.crop.type": Retired(("center",), "center (evaluation draws nothing)"),
    "trainer.optimizer.type": Retired(("SGD",), "SGD (there is no other)"),
    "trainer.lr_scheduler.mode": Retired(("poly",), "poly (there is no other)"),
    "net.aux_loss.aux_plane": _CHANNELS,
    "net.proto_head.in_planes": _CHANNELS,
    "net.num_classes": Retired(
        range(2, 256),
        "2..255 or null",
        "net.num_classes: {of} has {derived} classes, got {written}; leave the key out",
    ),
    "dataset.n_sup": Retired(
        range(10**9),
        "a whole number or null",
        "dataset.n_sup is {written}, but the labelled list has {derived} ids; to change the label ratio change "
        "dataset.split (or dataset.labeled_ratio) and leave n_sup out",
    ),
}


def take_out(tree: Mapping) -> tuple[Node, dict[str, Leaf]]:
    """(the tree without retired keys, those of them that are to be compared with what is derived).

    Raises:
        ConfigError: a value that may not stand there.
    """
    stated: dict[str, Leaf] = {}
    for dotted, rule in RETIRED.items():
        tree, leaf = _without(tree, dotted.split("."))
        if leaf is None:
            continue
        value = getattr(leaf, "value", leaf)
        derived = isinstance(rule.legal, range)
        if not ((derived and value is None) or (type(value) is type(rule.legal[0]) and value in rule.legal)):
            got = describe(value) if isinstance(leaf, Leaf) else "a mapping"
            raise ConfigError(f"{leaf.origin}: {dotted}: expected {rule.expected}, got {got}")
        if derived and value is not None:
            stated[dotted] = leaf
    return tree, stated


def check_stated(config: Config, key: str, derived: int, of: str = "") -> None:
    """Compares what a file states with the number that it must equal; ``of`` names the thing whose number it is.

    Raises:
        ConfigError: they differ.
    """
    leaf = config.stated.get(key)
    if leaf is not None and leaf.value != derived:
        text = RETIRED[key].differs.format(key=key, derived=derived, written=leaf.value, of=of)
        raise ConfigError(f"{leaf.origin}: {text}")


def _without(tree: Mapping, path: list[str]) -> tuple[Mapping, Leaf | Node | None]:
    """(the tree without the key at ``path``, what stood there)."""
    below = tree.get(path[0])
    if len(path) == 1:
        return Node({key: node for key, node in tree.items() if key != path[0]}, tree.origin), below
    if not isinstance(below, Node):
        return tree, None
    inner, taken = _without(below, path[1:])
    return Node({**tree, path[0]: inner}, tree.origin), taken
