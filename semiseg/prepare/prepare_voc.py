"""SegmentationClassAug from PASCAL VOC 2012 and SBD: ``semiseg prepare-voc --voc DIR --sbd DIR``.

Writes indexed PNG masks; what VOC and SBD gave is never changed. Can be stopped and started again.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from semiseg import cli
from semiseg.common.checkout import home
from semiseg.common.errors import DataError
from semiseg.common.files import matching, real_path
from semiseg.common.text import first_lines
from semiseg.data.read_ahead import default_workers, over_files
from semiseg.data.splits import read_list, write_list
from semiseg.prepare import archives, voc


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("prepare-voc")
    parser.add_argument("--voc", type=Path, default=home() / "data" / "VOC2012", help="VOC2012 or VOCdevkit")
    parser.add_argument("--sbd", type=Path, metavar="DIR", help="SBD's benchmark_RELEASE (its .mat files)")
    parser.add_argument(
        "--masks", type=Path, metavar="DIR", help="masks you have already, e.g. in colors, for images without others"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="another folder than SegmentationClassAug in VOC2012")
    parser.add_argument("--splits", type=Path, metavar="DIR", help="also write the lists VOC itself holds: val, 1464")
    parser.add_argument("--overwrite", action="store_true", help="replace masks in the output folder that differ")
    parser.add_argument("--strict", action="store_true", help="exit code 1 unless all 12,031 masks are there")
    parser.add_argument("--workers", type=cli.at_least(0), default=default_workers(), help="threads (%(default)s)")
    parser.add_argument(
        "--download", type=Path, metavar="DIR", help="fetch both archives into DIR (3.3 GB) and unpack them there first"
    )
    parser.add_argument("--accept-terms", action="store_true", help="needed for --download: you accept the terms")
    return parser.parse_args(arguments)


def download(folder: Path, accepted: bool) -> tuple[Path, Path]:
    """VOC2012 and SBD unpacked below ``folder``. Raises: DataError without consent, network or the right bytes."""
    wanted = (archives.VOC, archives.SBD)
    print(archives.VOC_TERMS)
    for archive in wanted:
        print(f"  {archive.url} ({archive.size})")
    if not accepted:
        raise DataError("nothing was fetched; to accept these terms and fetch, add --accept-terms")
    for archive in wanted:
        archives.unpack(archives.download(archive, folder), folder)
    return voc.find_voc(folder), voc.find_sbd(folder)


def make_masks(args: argparse.Namespace, voc_folder: Path, out: Path, sources: dict[str, Path]) -> list[str]:
    """Writes what is missing, prints the counts, and returns what could not be made, one sentence each."""
    writer = voc.MaskWriter(voc_folder, out, sources, args.overwrite)
    done, problems = Counter(), []
    for _, result in over_files(writer, list(sources), args.workers, "masks"):
        if isinstance(result, DataError):
            problems.append(str(result))
        else:
            done[result] += 1
    print(f"{out}: {done['written']} masks written, {done['kept']} right already, {len(problems)} problems")
    return problems


def official_list(voc_folder: Path, name: str) -> list[str]:
    """VOC's own list, empty where it is not there."""
    path = voc_folder / "ImageSets" / "Segmentation" / f"{name}.txt"
    return read_list(path) if path.is_file() else []


def what_is_missing(masks: set[str], train: list[str], val: list[str], has_sbd: bool) -> list[str]:
    """Differences from the published counts, each with where to get the rest."""
    train_aug = len(masks.difference(val))
    lines = []
    if len(masks.intersection(val)) != voc.VAL or not masks.issuperset(train) or len(train) != voc.TRAIN:
        lines.append(
            f"of VOC's own masks {len(masks.intersection(train)):,} of {voc.TRAIN:,} (train) and "
            f"{len(masks.intersection(val)):,} of {voc.VAL:,} (val) are there: unpack {archives.VOC.url} "
            f"({archives.VOC.size})"
        )
    if train_aug != voc.TRAIN_AUG:
        where = "" if has_sbd else " and give its folder as --sbd"
        lines.append(
            f"train_aug has {train_aug:,} of {voc.TRAIN_AUG:,} masks: the others come from SBD, unpack "
            f"{archives.SBD.url} ({archives.SBD.size}){where}"
        )
    return lines


def write_lists(folder: Path, lists: dict[str, list[str]]) -> None:
    """The lists that are not there yet. Raises: DataError if one is there with other ids; then none is written."""
    missing = {}
    for name, ids in lists.items():
        path = folder / name
        if path.is_file():
            before = read_list(path)
            if set(before) != set(ids):
                raise DataError(f"{path}: holds {len(before)} ids, VOC's folder gives {len(ids)}; move the file away")
        elif ids:
            missing[path] = ids
    for path, ids in missing.items():
        write_list(path, ids)
    print(f"{folder}: {len(missing)} lists written, {len(lists) - len(missing)} right already or empty")


def main(arguments: Sequence[str]) -> int:
    """Make the masks, then count."""
    args = parse(arguments)
    if args.download:
        args.voc, args.sbd = download(args.download, args.accept_terms)
    voc_folder = voc.find_voc(args.voc)
    sbd = voc.find_sbd(args.sbd) if args.sbd else None
    out = args.out or voc_folder / "SegmentationClassAug"
    if args.masks and not args.masks.is_dir():
        raise DataError(f"{args.masks}: no such folder of masks")
    for original in (sbd, args.masks, voc_folder / "SegmentationClass"):
        if original and real_path(original) == real_path(out):
            raise DataError(f"{out}: --out must not be a folder the masks are made from; originals stay as they are")
    sources = voc.mask_sources(voc_folder, sbd, args.masks)
    there = {path.stem for path in matching(out, "*.png")}
    if not sources and not there:
        raise DataError(
            f"{voc_folder}: neither SegmentationClass nor SBD's masks are here; unpack {archives.VOC.url} and "
            f"{archives.SBD.url} (give the latter's folder as --sbd), or use --download DIR"
        )
    problems = make_masks(args, voc_folder, out, sources)
    masks = {path.stem for path in matching(out, "*.png")}
    train, val = official_list(voc_folder, "train"), official_list(voc_folder, "val")
    missing = what_is_missing(masks, train, val, sbd is not None)
    if args.splits:
        if not train or not val:
            raise DataError(f"{voc_folder / 'ImageSets/Segmentation'}: train.txt and val.txt are needed for --splits")
        write_lists(args.splits, voc.classic_lists(train, val, sorted(masks)))
    for line in first_lines((f"problem: {problem}" for problem in problems), 20):
        print(line)
    for line in missing:
        print(f"incomplete: {line}")
    if not missing:
        print(f"complete: {voc.MASKS:,} masks = {voc.TRAIN_AUG:,} train_aug + {voc.VAL:,} val")
    return 1 if problems or (missing and args.strict) else 0
