"""A look at all data of a configuration before training: ``semiseg check-data --config F [key=value ...]``.

Exit code 0: nothing found; 1: problems, named below the tables; 2: the configuration itself is wrong.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from semiseg import cli
from semiseg.common.errors import DataError
from semiseg.common.text import first_lines
from semiseg.config import load
from semiseg.data import build
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.label_check import LabelsSeen, label_problem
from semiseg.data.lists import read_split
from semiseg.data.paths import how_to_get, split_name
from semiseg.data.presence import Presence
from semiseg.data.read_ahead import default_workers
from semiseg.data.specs import DatasetSpec
from semiseg.prepare.check import PartReport, content_overlaps, inspect_part

# An image twice in the training parts does little harm; one of them among the validation images spoils the score.
LEARNT = ("labeled", "unlabeled")
PAIRS = (LEARNT, ("labeled", "val"), ("unlabeled", "val"))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("check-data")
    parser.add_argument("--config", required=True, metavar="F", help="a config.yaml, or the folder that holds it")
    parser.add_argument("--quick", action="store_true", help="lists, existence and overlap only; no image is opened")
    parser.add_argument(
        "--show", type=cli.at_least(0), default=10, metavar="N", help="problems of each kind to name (%(default)s)"
    )
    parser.add_argument(
        "--workers", type=cli.at_least(0), default=default_workers(), help="threads that read (%(default)s)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    return parser.parse_intermixed_args(arguments)


def look(name: str, part: SegmentationDataset, seen: Presence, args: argparse.Namespace) -> PartReport:
    """The report of a part: everything, or with ``--quick`` what is missing."""
    if args.quick:
        return PartReport(name, len(part), missing=sorted(set(seen.missing)))
    return inspect_part(name, part, seen, args.workers)


def files_table(reports: Sequence[PartReport], quick: bool) -> list[str]:
    """A line for each part: files found, missing, unreadable, sizes, kinds."""
    lines = [f"{'part':<10} {'listed':>7} {'missing':>8} " + ("" if quick else f"{'unreadable':>11}  sizes, kinds")]
    for report in reports:
        line = f"{report.name:<10} {report.listed:>7} {len(report.missing):>8} "
        lines.append(line if quick else f"{line}{len(report.unreadable):>11}  {sizes(report)}")
    return lines


def sizes(report: PartReport) -> str:
    """ "281 x 500 to 500 x 375 (12 sizes), JPEG RGB 90, JPEG L 2", or the one size."""
    if not report.sizes:
        return "nothing readable"
    ordered = sorted(report.sizes, key=lambda size: size[0] * size[1])
    names = [f"{height} x {width}" for height, width in (ordered[0], ordered[-1])]
    span = names[0] if len(ordered) == 1 else f"{names[0]} to {names[1]} ({len(ordered)} sizes)"
    return ", ".join([span, *(f"{kind} {count}" for kind, count in report.kinds.most_common())])


def classes_table(reports: Sequence[PartReport], spec: DatasetSpec) -> list[str]:
    """Share of the pixels and number of images of every label value, for the parts with masks."""
    reports = [report for report in reports if report.pixels.sum()]
    if not reports:
        return []
    width = max(map(len, [*spec.classes, "(ignored)"]))
    lines = [f"{'value':>5}  {'class':<{width}}" + "".join(f"  {report.name:>9} {'images':>7}" for report in reports)]
    for value, name in [*enumerate(spec.classes), (spec.ignore_label, "(ignored)")]:
        cells = (
            f"  {report.pixels[value] / report.pixels.sum():>9.2%} {report.images[value]:>7}" for report in reports
        )
        lines.append(f"{value:>5}  {name:<{width}}" + "".join(cells))
    return lines


def notes(reports: Sequence[PartReport], spec: DatasetSpec) -> list[str]:
    """What is allowed and worth knowing."""
    lines = []
    for report in reports:
        if report.pixels.sum():
            never = [name for value, name in enumerate(spec.classes) if not report.images[value]]
            if never:
                lines.append(f"no pixel of {', '.join(never)} in the {report.name} part")
        if report.turned:
            lines.append(
                f"{len(report.turned)} images of the {report.name} part carry an EXIF rotation (first "
                f"{next(iter(report.turned))}); pixels are used as stored, unless only the turned image fits its mask"
            )
    return lines


def reading_problems(reports: Sequence[PartReport]) -> list[str]:
    """Images of one data set that are read in different ways, so that what looks alike in them is not."""
    problems, bits = [], Counter()
    for report in reports:
        bits.update(report.bits)
    if len(bits) > 1:
        shown = ", ".join(f"{used} bits in {count}" for used, count in sorted(bits.items()))
        problems.append(
            f"images of 16 bits of which different numbers are in use ({shown}): each file is scaled by its own, so "
            "that one gray is not the same everywhere; save all with 8 bits, scaled alike"
        )
    ways = {
        way: [name for r in reports for name, turn in r.turned.items() if turn == way] for way in ("to fit", "either")
    }
    if all(ways.values()):
        problems.append(
            f"{len(ways['to fit'])} masks were drawn on the upright picture of an image with an EXIF rotation (first "
            f"{ways['to fit'][0]}: nothing else fits), and {len(ways['either'])} images with one lie as stored under "
            f"theirs (first {ways['either'][0]}: both fit); turn the files themselves (mogrify -auto-orient)"
        )
    return problems


def label_problems(reports: Sequence[PartReport], spec: DatasetSpec) -> list[str]:
    """A class that is not labelled while ignored pixels are there; nothing labelled at all among what is scored."""
    labeled, val = (next(report for report in reports if report.name == name) for name in ("labeled", "val"))
    masks = sum(labeled.sizes.values())
    problem = label_problem(spec, LabelsSeen(labeled.pixels, masks, labeled.listed)) if masks else None
    problems = [problem.text] if problem else []
    if val.sizes and not val.pixels[: spec.num_classes].any():
        problems.append("no labelled pixel in the val part: nothing can be scored")
    return problems


def main(arguments: Sequence[str]) -> int:
    """Read, print the tables, name the problems."""
    args = parse(arguments)
    config, spec = build.complete(load(args.config, args.overrides))
    try:
        split = read_split(config, spec)
        parts = build.parts_of(config, spec, split)
    except DataError as error:
        print(f"problem: {error}")
        return 1
    name = split_name(config)
    print(f"{spec.name}, split {name}, {spec.num_classes} classes, ignore label {spec.ignore_label}")
    seen = {name: part.presence(title=f"looking for {name}") for name, part in parts.items()}
    reports = [look(name, part, seen[name], args) for name, part in parts.items()]
    print("\n".join(files_table(reports, args.quick)))
    print("\n".join(classes_table(reports, spec)))
    twins = {name: content_overlaps(*(r for r in reports if r.name in name)) for name in PAIRS}
    harmless = [twins[LEARNT]] if twins[LEARNT] else []
    for note in [*split.notes, *notes(reports, spec), *harmless]:
        print(f"note: {note}")
    problems = [*build.path_overlaps(parts, seen), *(twins[name] for name in PAIRS if name != LEARNT and twins[name])]
    problems += label_problems(reports, spec) + reading_problems(reports)
    for report in reports:
        missing = [f"{path}: not there{how_to_get(spec, Path(path))}" for path in report.missing]
        problems += first_lines(missing, args.show, f"{report.name} files not there")
        problems += first_lines(report.unreadable, args.show, f"unreadable {report.name} files")
    for problem in problems:
        print(f"problem: {problem}")
    print(f"{len(problems)} problems found" if problems else "no problems found")
    return 1 if problems else 0
