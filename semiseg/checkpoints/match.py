"""How the names and shapes in a file fit those that a network expects, in a sentence and as a table for people.

Shapes are known by parameter names: ours, with or without ``student.`` or ``teacher.`` before them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from semiseg.common.errors import CheckpointError
from semiseg.common.text import first_lines

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
_ROWS = 4  # parameters shown in the table of differences


class Shaped(Protocol):
    """An array, a Tensor or a Parameter."""

    shape: Shape


def shapes_of(arrays: Mapping[str, Shaped]) -> dict[str, Shape]:
    """The shape of each array by its name."""
    return {name: tuple(array.shape) for name, array in arrays.items()}


@dataclass(frozen=True)
class MatchReport:
    """How a checkpoint fits a network, by parameter name; names stay in the order of the network or the file."""

    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    wrong_shape: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)  # name -> (in the file, in the network)

    @property
    def complete(self) -> bool:
        """Every parameter of the network got a value and nothing unexpected was left over."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.wrong_shape)

    def table(self, limit: int = 10) -> str:
        """A count per kind, and below it the first ``limit`` names of what is not simply matched."""
        lines = []
        for kind in ("matched", "missing", "unexpected", "ignored", "wrong_shape"):
            names = getattr(self, kind)
            lines.append(f"{kind.replace('_', ' '):<12}{len(names):>6}")
            if kind != "matched":
                lines += [f"  {line}" for line in first_lines(map(self._line, names), limit)]
        return "\n".join(lines)

    def require_complete(self, source: str, table: str = "") -> None:
        """Raise CheckpointError with the first name of each kind of mismatch, unless the file fits completely.

        ``source``: the file's name. ``table``: lines to be shown below.
        """
        if self.complete:
            return
        parts = [f"{len(self.matched)} parameters fit"]
        for kind in ("missing", "unexpected", "wrong_shape"):
            if names := getattr(self, kind):
                parts.append(f"{len(names)} {kind.replace('_', ' ')} (first: {self._line(next(iter(names)))})")
        what = f"{source}: does not fit the network: {', '.join(parts)}; check classes, heads and depth"
        raise CheckpointError(f"{what}\n{table}".rstrip())

    def _line(self, name: str) -> str:
        if name not in self.wrong_shape:
            return name
        in_file, in_network = self.wrong_shape[name]
        return f"{name}: {list(in_file)} in the file, {list(in_network)} in the network"


def match(in_file: Shapes, expected: Shapes, ignorable: Iterable[str] = ()) -> MatchReport:
    """Compare the shapes in a file with those of the parameters that should get a value.

    Args:
        ignorable: patterns (``decoder.representation.*``) of names that may be in the file but not in the network.
            They never excuse a missing parameter or a wrong shape.
    """
    patterns = tuple(ignorable)
    common = [name for name in expected if name in in_file]
    wrong = {n: (tuple(in_file[n]), tuple(expected[n])) for n in common if tuple(in_file[n]) != tuple(expected[n])}
    left = [name for name in in_file if name not in expected]
    ignored = {name: None for name in left if any(fnmatchcase(name, pattern) for pattern in patterns)}
    return MatchReport(
        matched=tuple(name for name in common if name not in wrong),
        missing=tuple(name for name in expected if name not in in_file),
        unexpected=tuple(name for name in left if name not in ignored),
        ignored=tuple(ignored),
        wrong_shape=wrong,
    )


def require_match(in_file: Shapes, expected: Shapes, source: str, ignorable: Iterable[str] = ()) -> MatchReport:
    """``match``, where everything must fit. ``source``: the file's name.

    Raises:
        CheckpointError: names or shapes differ; says how many, the first of each kind, and a table of what differs.
    """
    report = match(in_file, expected, ignorable)
    compared = {name: shape for name, shape in in_file.items() if name not in report.ignored}
    report.require_complete(source, mismatch_table(compared, expected))
    return report


def mismatch_table(in_file: Shapes, expected: Shapes) -> str:
    """Lines of a table: what is different about the networks as a whole, then the first parameters that differ.

    Empty if all names and shapes agree.
    """
    report = match(in_file, expected)
    differing = {*report.missing, *report.unexpected, *report.wrong_shape}
    names = [name for name in (*expected, *report.unexpected) if name in differing]
    if not names:
        return ""
    facts_in_file, facts_here = facts(in_file), facts(expected)
    rows = [("", "in the file", "expected here")]
    rows += [(fact, facts_in_file[fact], here) for fact, here in facts_here.items() if facts_in_file[fact] != here]
    rows += [(name, _shape(in_file.get(name)), _shape(expected.get(name))) for name in names[:_ROWS]]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    if len(names) > _ROWS:
        lines.append(f"  and {len(names) - _ROWS} other parameters")
    return "\n".join(lines)


def facts(shapes: Shapes) -> dict[str, str]:
    """The properties of a network that its shapes tell; "-" where they tell nothing."""
    bare = {name.removeprefix("teacher.").removeprefix("student."): tuple(shape) for name, shape in shapes.items()}
    classifier = bare.get("decoder.classifier.8.weight") or bare.get("decoder.classifier.weight")
    prototypes = bare.get("proto_net.proto_list")
    per_class = None
    if classifier and prototypes and prototypes[0] % classifier[0] == 0:
        per_class = prototypes[0] // classifier[0]
    blocks, bottleneck = resnet_blocks(bare)
    resnet = f"{'-'.join(map(str, blocks))} {'bottleneck' if bottleneck else 'basic'}" if any(blocks) else ""
    inverted = count_numbered(bare, "encoder.blocks.")
    return {
        "classes": _text(classifier and classifier[0]),
        "prototypes of a class": _text(per_class),
        "channels of a prototype": _text(prototypes and prototypes[-1]),
        "encoder blocks": resnet or (f"{inverted} of efficientnet_lite0" if inverted else "-"),
        "encoder stem": stem_of(bare) or ("3x3" if "encoder.conv_stem.weight" in bare else "-"),
        "encoder width": _text(
            _first_side(bare, "encoder.conv1.0.weight") or _first_side(bare, "encoder.conv1.weight")
        ),
        "decoder channels": _text(
            _first_side(bare, "decoder.head.0.weight") or _first_side(bare, "decoder.head.project.0.weight")
        ),
        "ASPP branches": _text(
            count_numbered(bare, "decoder.aspp.conv") or count_numbered(bare, "decoder.head.b") or None
        ),
        "image pooling": {True: "with BatchNorm", False: "with a bias", None: "-"}[pool_norm_in(bare)],
        "auxiliary head": _yes_if_any(bare, "auxor."),
        "representation head": _yes_if_any(bare, "decoder.representation."),
    }


def pool_norm_in(names: Collection[str]) -> bool | None:
    """Whether the pooling branch of either decoder's pyramid has BatchNorm, else a bias; None without such a branch."""
    last = f"decoder.head.b{count_numbered(names, 'decoder.head.b') - 1}.gap"
    for branch in ("decoder.aspp.conv1", last):
        if f"{branch}.1.weight" in names:
            return f"{branch}.1.bias" not in names
    return None


def stem_of(names: Iterable[str]) -> Literal["deep", "conv7"] | None:
    """The stem of the ResNet in a network, by our names; None where there is none."""
    if "encoder.conv1.weight" in names:
        return "conv7"
    return "deep" if "encoder.conv1.0.weight" in names else None


def resnet_blocks(names: Collection[str]) -> tuple[tuple[int, ...], bool]:
    """Blocks in each stage of the ResNet in a network, 0 where there is none; whether these are bottlenecks."""
    blocks = tuple(count_numbered(names, f"encoder.layer{stage}.") for stage in (1, 2, 3, 4))
    return blocks, "encoder.layer1.0.conv3.weight" in names


def count_numbered(names: Iterable[str], prefix: str) -> int:
    """How many different numbers follow ``prefix`` directly."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


def _shape(shape: Shape | None) -> str:
    return "-" if shape is None else " x ".join(map(str, shape)) or "one number"


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _first_side(shapes: Shapes, name: str) -> int | None:
    return shapes[name][0] if shapes.get(name) else None


def _yes_if_any(names: Iterable[str], prefix: str) -> str:
    return "yes" if any(name.startswith(prefix) for name in names) else "-"
