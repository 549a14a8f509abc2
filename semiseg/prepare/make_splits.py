"""Labelled and unlabelled parts of any data set: ``semiseg make-splits --config F --ratio 0.125``.

Writes <splits>/<name>/{labeled,unlabeled}.txt and split.json, which records seed, command and counts. The same seed on
the same images draws the same parts, here and with dataset.labeled_ratio in a configuration.
"""

import argparse
import hashlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from semiseg import cli
from semiseg.common.errors import ConfigError, DataError
from semiseg.common.files import replace_file
from semiseg.common.rng import generator
from semiseg.common.text import counted
from semiseg.config import load
from semiseg.config.keys import Config
from semiseg.data import build
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.ids import Ids
from semiseg.data.lists import Pool, cleaner, read_pool
from semiseg.data.masks import read_mask
from semiseg.data.paths import data_root, roots_of
from semiseg.data.read_ahead import default_workers, over_files
from semiseg.data.scored import alike_notes, scored
from semiseg.data.specs import DatasetSpec
from semiseg.data.splits import labeled_count, read_list, write_list, written_list


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("make-splits")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", metavar="F", help="a configuration: its data set is split")
    source.add_argument("--list", type=Path, metavar="FILE", help="a list of ids, one per line, is split (needs --out)")
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--count", type=int, metavar="N", help="labelled images")
    amount.add_argument("--ratio", type=float, metavar="R", help="share of labelled images, rounded up")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other images (%(default)s)")
    parser.add_argument("--class-aware", action="store_true", help="every class occurs in the labelled part if it can")
    parser.add_argument("--val-count", type=int, metavar="N", help="first draw val.txt, where there is none yet")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the splits (the configuration's)")
    parser.add_argument("--name", help="folder of this split (the number of labelled images)")
    parser.add_argument("--overwrite", action="store_true", help="replace a split of this name that differs")
    parser.add_argument(
        "--workers", type=cli.at_least(0), default=default_workers(), help="threads that read masks (%(default)s)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_intermixed_args(arguments)
    if args.list and (args.class_aware or args.overrides):
        parser.error("--class-aware and key=value need --config: a list alone has no masks")
    if args.list and not args.out:
        parser.error("--list needs --out")
    if args.name is not None and (args.name in ("", ".", "..") or "/" in args.name):
        parser.error(f"--name is the name of a folder in that of the splits, got {args.name!r}")
    if args.seed < 0 or (args.val_count is not None and args.val_count < 1):
        parser.error("--seed must be 0 or more, --val-count at least 1")
    return args


def draw_val(
    pool: list[str], count: int, seed: int, classes_of: Mapping[str, Collection[int]] | None = None
) -> tuple[list[str], list[str]]:
    """(validation, the rest), both in the order of ``pool``. With the classes of each image, the last one that shows a
    class goes to the rest, while there are others. Raises: DataError if nothing would be left to train on.
    """
    if count >= len(pool):
        raise DataError(f"--val-count {count}: only {len(pool)} images have masks, and some must be left to train on")
    order = generator(seed, "split.val").permutation(len(pool))
    classes = [(classes_of or {}).get(sample, ()) for sample in pool]
    left = Counter(label for here in classes for label in here)
    chosen, kept_back = [], []
    for index in order.tolist():
        if len(chosen) == count or any(left[label] == 1 for label in classes[index]):
            kept_back.append(index)
        else:
            chosen.append(index)
            left.subtract(classes[index])
    chosen = {*chosen, *kept_back[: count - len(chosen)]}
    return [s for i, s in enumerate(pool) if i in chosen], [s for i, s in enumerate(pool) if i not in chosen]


def classes_of(config: Config, spec: DatasetSpec, pool: list[str], workers: int) -> dict[str, list[int]]:
    """id -> class indices in its mask. Raises: DataError for the first mask that cannot be read."""
    part = SegmentationDataset(spec, data_root(config, spec, "train"), Ids(pool), max_pixels=config.dataset.max_pixels)

    def look(index: int) -> list[int]:
        mask = read_mask(part.mask_path(index), spec, part.max_pixels)
        return [int(v) for v in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)) if v < spec.num_classes]

    classes_in = {}
    for index, classes in over_files(look, range(len(part)), workers, "reading masks"):
        if isinstance(classes, DataError):
            raise classes
        classes_in[part.ids[index]] = classes
    return classes_in


def is_there(folder: Path, lists: dict[str, list[str]], overwrite: bool) -> bool:
    """Whether these very lists are there already. Raises: DataError if others are and may not be replaced."""
    there = {name: read_list(folder / name) for name in ("labeled.txt", "unlabeled.txt") if (folder / name).is_file()}
    if there and there != lists and not overwrite:
        shown = ", ".join(f"{name} with {len(ids)} ids" for name, ids in there.items())
        raise DataError(f"{folder}: holds another split ({shown}); choose another --name, or --overwrite replaces it")
    return there == lists


def split_record(
    pool: Pool,
    labeled: Sequence[str],
    seed: int,
    command: str,
    ratio: float | None = None,
    class_aware: bool = True,
) -> dict[str, object]:
    """What split.json says of a draw from ``pool``: enough to make it again."""
    return {
        "seed": seed,
        "count": len(labeled),
        "ratio": ratio,
        "class_aware": class_aware,
        "pool": len(pool.ids),
        "pool_sha256": hashlib.sha256(os.fsencode("\n".join(sorted(pool.ids)))).hexdigest(),
        "without_mask": len(pool.extra),
        "command": command,
    }


def pool_of(args: argparse.Namespace, config: Config | None, spec: DatasetSpec | None, val: Path) -> tuple[Pool, int]:
    """What may be drawn, with notes on what may not, and how many images the list ``val`` of the scored ones has."""
    known = read_list(val, cleaner(config, spec, "val") if config else None) if val.is_file() else []
    if not config:
        used = {*known}
        return Pool([sample for sample in read_list(args.list) if sample not in used], []), len(known)
    pool = read_pool(config, spec, known)
    used = scored(roots_of(config), spec, pool.ids, known)
    ids = [sample for sample in pool.ids if sample not in used]
    alike = {*known}.intersection([*ids, *pool.extra])
    return Pool(ids, pool.extra, (*pool.notes, *alike_notes(sorted(alike)))), len(known)


def main(arguments: Sequence[str]) -> int:
    """Draw, write, say what was written."""
    args = parse(arguments)
    config = load(args.config, args.overrides) if args.config else None
    spec = build.data_spec(config) if config else None
    out = args.out or config.dataset.splits
    if not out:
        raise ConfigError(f"{args.config}: dataset.splits is not set; --out names the folder of the splits")
    val_path = (config and config.dataset.val.data_list) or out / "val.txt"
    pool, known = pool_of(args, config, spec, val_path)
    for note in pool.notes:
        print(f"note: {note}")
    val = []
    if args.val_count and not known:
        val, rest = draw_val(pool.ids, args.val_count, args.seed)
        pool = replace(pool, ids=rest)
    elif args.val_count not in (None, known):
        print(f"note: {val_path} has {counted(known, 'image')} and stays; --val-count {args.val_count} is not used")
    count = args.count if args.count is not None else labeled_count(len(pool.ids), args.ratio)
    seen = classes_of(config, spec, pool.ids, args.workers) if args.class_aware else None
    labeled, unlabeled = pool.draw(count, args.seed, seen)
    folder = out / (args.name or str(len(labeled)))
    # Without a rest there is no list of it: an empty one would only stop training (see dataset.train.unlabeled_dir).
    lists = {"labeled.txt": labeled} | ({"unlabeled.txt": unlabeled} if unlabeled else {})
    if config:  # as they can be read back, before anything is written
        lists = {
            name: written_list(folder / name, members, cleaner(config, spec, "train"))
            for name, members in lists.items()
        }
        val = written_list(val_path, val, cleaner(config, spec, "val"))
    there = is_there(folder, lists, args.overwrite)
    if val:
        write_list(val_path, val)
        print(f"{val_path}: {len(val)} validation images")
    if there:
        print(f"{folder}: up to date ({len(labeled)} labelled, {len(unlabeled)} unlabelled images)")
        return 0
    (folder / "unlabeled.txt").unlink(missing_ok=True)
    for name, members in lists.items():
        write_list(folder / name, members)
    command = f"{cli.program('make-splits')} {shlex.join(arguments)}"
    record = split_record(pool, labeled, args.seed, command, args.ratio, args.class_aware)
    if seen is not None:
        missing = {c for s in pool.ids for c in seen[s]} - {c for s in labeled for c in seen[s]}
        record["classes_without_label"] = [spec.classes[c] for c in sorted(missing)]
        if missing:
            print(f"note: {len(labeled)} images do not show {', '.join(record['classes_without_label'])}")
    replace_file(folder / "split.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"{folder}: {len(labeled)} labelled, {len(unlabeled)} unlabelled images, seed {args.seed}")
    return 0
