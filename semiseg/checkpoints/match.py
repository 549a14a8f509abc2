"""What differs between the network in a file and the one that should be filled, as a table for people.

Shapes are known by parameter names: ours, with or without ``student.`` or ``teacher.`` before them.
"""

from collections.abc import Mapping

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
_ROWS = 4  # parameters shown


def misfit_table(found: Shapes, expected: Shapes) -> str:
    """Lines of a table: what is different about the networks as a whole, then the first parameters that differ.

    Empty if all names and shapes agree.
    """
    names = [name for name in (*expected, *(n for n in found if n not in expected)) if _differs(name, found, expected)]
    if not names:
        return ""
    in_file, here = facts(found), facts(expected)
    rows = [("", "in the file", "expected here")]
    rows += [(fact, in_file[fact], here[fact]) for fact in here if in_file[fact] != here[fact]]
    rows += [(name, _shape(found.get(name)), _shape(expected.get(name))) for name in names[:_ROWS]]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    if len(names) > _ROWS:
        lines.append(f"  and {len(names) - _ROWS} other parameters")
    return "\n".join(lines)


def facts(shapes: Shapes) -> dict[str, str]:
    """The properties of a network that its shapes tell; "-" where they tell nothing."""
    bare = {name.removeprefix("teacher.").removeprefix("student."): tuple(shape) for name, shape in shapes.items()}
    classifier = bare.get("decoder.classifier.8.weight")
    prototypes = bare.get("proto_net.proto_list")
    per_class = None
    if classifier and prototypes and prototypes[0] % classifier[0] == 0:
        per_class = prototypes[0] // classifier[0]
    blocks = [_count(bare, f"encoder.layer{stage}.") for stage in (1, 2, 3, 4)]
    kind = "bottleneck" if "encoder.layer1.0.conv3.weight" in bare else "basic"
    return {
        "classes": _text(classifier and classifier[0]),
        "prototypes of a class": _text(per_class),
        "channels of a prototype": _text(prototypes and prototypes[-1]),
        "encoder blocks": f"{'-'.join(map(str, blocks))} {kind}" if any(blocks) else "-",
        "encoder width": _text(_first(bare, "encoder.conv1.0.weight")),
        "decoder channels": _text(_first(bare, "decoder.head.0.weight")),
        "ASPP branches": _text(_count(bare, "decoder.aspp.conv") or None),
        "auxiliary head": _text("yes" if any(name.startswith("auxor.") for name in bare) else None),
        "representation head": _text(
            "yes" if any(name.startswith("decoder.representation.") for name in bare) else None
        ),
    }


def _differs(name: str, found: Shapes, expected: Shapes) -> bool:
    return name not in found or name not in expected or tuple(found[name]) != tuple(expected[name])


def _shape(shape: Shape | None) -> str:
    return "-" if shape is None else " x ".join(map(str, shape)) or "one number"


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _first(shapes: Shapes, name: str) -> int | None:
    return shapes[name][0] if shapes.get(name) else None


def _count(names: Shapes, prefix: str) -> int:
    """How many different numbers follow ``prefix`` directly."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})
