"""Bring the published lists of labelled and unlabelled images into data/splits: python tools/fetch_splits.py (--help).

Sources are U2PL's repository (classic and blended VOC splits, Cityscapes) and the authors' (the *_cps splits), each at
a fixed commit. Every file is compared with a SHA-256 that this project knows; one wrong byte and nothing is written.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works in a clone that was never installed

from tqdm import tqdm  # noqa: E402

from semiseg import cli  # noqa: E402
from semiseg.common.errors import DataError  # noqa: E402
from semiseg.prepare.fetch import GITHUB, Server, from_folder, install  # noqa: E402
from semiseg.prepare.published_splits import PUBLISHED, PublishedList  # noqa: E402


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="fetch_splits.py", description="Bring the published lists into place.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--from-dir", type=Path, metavar="DIR", help="a folder with pascal/ and cityscapes/ as published, or a checkout"
    )
    source.add_argument(
        "--mirror", metavar="URL", default=GITHUB, help="stands for %(default)s, or holds pascal/ and cityscapes/"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "splits", help="where to (data/splits)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=[], help="data sets or splits: pascal, cityscapes/186, 662_cps"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that differ from the published ones")
    parser.add_argument("--tries", type=int, default=3, help="for each file, if the connection breaks (%(default)s)")
    parser.add_argument("--wait", type=float, default=1.0, help="seconds before the second try, then doubled")
    args = parser.parse_args(arguments)
    if args.tries < 1 or args.wait < 0:
        parser.error("--tries must be at least 1 and --wait not negative")
    return args


def select(names: Sequence[str]) -> list[PublishedList]:
    """The lists of the named data sets or splits (and the validation list of their data set); all without names.

    Raises: DataError for a name that fits none.
    """
    if not names:
        return list(PUBLISHED)
    chosen: dict[str, PublishedList] = {}
    for name in (name.strip("/") for name in names):
        fits = [p for p in PUBLISHED if name in (p.split, p.split.partition("/")[0], p.split.rpartition("/")[2])]
        if not fits:
            known = sorted({p.split for p in PUBLISHED})
            raise DataError(f"--only {name}: no such data set or split; known: {', '.join(known)}")
        datasets = {p.split.partition("/")[0] for p in fits}
        chosen |= {p.target: p for p in PUBLISHED if p in fits or p.split in datasets}
    return list(chosen.values())


def main(arguments: Sequence[str]) -> int:
    """Fetch, check, write, and say what is there now."""
    args = parse(arguments)
    lists = select(args.only)
    with tqdm(total=len(lists), unit="list", desc="lists", dynamic_ncols=True) as bar:
        folder, server = args.from_dir, Server(args.mirror, args.tries, args.wait, say=bar.write)
        source = from_folder(folder) if folder else server

        def counted(wanted: PublishedList) -> bytes | None:
            content = source(wanted)
            bar.update()
            return content

        outcome = install(lists, counted, args.out, args.overwrite)
    print(f"{args.out}: {len(outcome.written)} lists written, {len(outcome.kept)} right already")
    if len(outcome.absent) == len(lists):
        raise DataError(f"{args.from_dir}: holds none of the {len(lists)} lists that were asked for")
    if outcome.absent:
        missing = sorted({target.rpartition("/")[0] for target in outcome.absent})
        print(f"not in {args.from_dir}: {', '.join(missing)}; without --from-dir they come from the network")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
