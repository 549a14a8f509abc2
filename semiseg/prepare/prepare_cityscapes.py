"""Cityscapes' labelTrainIds: ``semiseg prepare-cityscapes --root DIR``.

Converts gtFine's labelIds (or draws its polygons where only those are there) by the official table of 19 classes. The
originals are never changed. Can be stopped and started again.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from semiseg import cli
from semiseg.common.checkout import home
from semiseg.common.errors import DataError
from semiseg.common.text import counted, first_lines, shortened
from semiseg.data.read_ahead import default_workers, over_files
from semiseg.data.specs import SPECS
from semiseg.prepare import cityscapes
from semiseg.prepare.archives import CITYSCAPES_STEPS


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("prepare-cityscapes")
    parser.add_argument(
        "--root",
        type=Path,
        default=home() / "data" / "cityscapes",
        help="holds gtFine and leftImg8bit (data/cityscapes)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="another folder than gtFine itself")
    parser.add_argument("--parts", nargs="+", default=["train", "val"], metavar="PART", help="(train val)")
    parser.add_argument("--overwrite", action="store_true", help="replace labelTrainIds that differ")
    parser.add_argument("--strict", action="store_true", help="exit code 1 unless all 2,975 + 500 are there")
    parser.add_argument("--workers", type=cli.at_least(0), default=default_workers(), help="threads (%(default)s)")
    parser.add_argument("--download", action="store_true", help="tell how to get Cityscapes, and stop")
    return parser.parse_args(arguments)


def convert(args: argparse.Namespace, root: Path, part: str) -> tuple[Counter, list[str]]:
    """One part: how many were written and kept, and what could not be made."""
    sources = cityscapes.annotations(root, part)
    writer = cityscapes.TrainIdWriter(root, args.out or root / "gtFine", args.overwrite)
    done, problems = Counter(), []
    for _, result in over_files(writer, list(sources.items()), args.workers, part):
        if isinstance(result, DataError):
            problems.append(str(result))
        else:
            done[result] += 1
    polygons = [path for path in sources.values() if path.suffix == ".json"]
    images = sum((root / SPECS["cityscapes"].image_path(sample)).is_file() for sample in sources)
    note = f" ({len(polygons)} drawn from polygons)" if polygons else ""
    print(
        f"{part}: {done['written']} written{note}, {done['kept']} right already, {len(problems)} problems; "
        f"{images} of {len(sources)} have their image in leftImg8bit"
    )
    empty = [f"{path.name}: {thing}" for path in polygons for thing in cityscapes.without_area(path)]
    if empty:
        print(f"note: {counted(len(empty), 'object')} of fewer than 2 points left out: {shortened(empty, 2)}")
    return done, problems


def main(arguments: Sequence[str]) -> int:
    """Convert every part, then count."""
    args = parse(arguments)
    if args.download:
        print(CITYSCAPES_STEPS)
        raise DataError("this tool cannot fetch Cityscapes for you: it needs your own account (steps above)")
    root = cityscapes.find_cityscapes(args.root)
    problems, missing, total = [], [], 0
    for part in args.parts:
        done, bad = convert(args, root, part)
        problems += bad
        total += done.total() + len(bad)
        expected = cityscapes.IMAGES.get(part)
        if expected and done.total() != expected:
            missing.append(f"{part} has {done.total():,} of {expected:,}: unpack gtFine_trainvaltest.zip into {root}")
    if not total:
        raise DataError(
            f"{root / 'gtFine'}: no labelIds and no polygons in {', '.join(args.parts)}; --download tells where to get "
            "gtFine_trainvaltest.zip"
        )
    for line in first_lines((f"problem: {problem}" for problem in problems), 20):
        print(line)
    for line in missing:
        print(f"incomplete: {line}")
    if not missing:
        print("complete: " + " + ".join(f"{cityscapes.IMAGES.get(part, 'all')} {part}" for part in args.parts))
    return 1 if problems or (missing and args.strict) else 0
