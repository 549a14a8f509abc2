"""The published lists of labelled and unlabelled images, brought into data/splits: ``semiseg fetch-splits``.

Sources are U2PL's repository (classic and blended VOC splits, Cityscapes), the authors' (the *_cps splits) and
UniMatch's (*_unimatch), each at a fixed commit. Every file is compared with a SHA-256 that this project knows; one
wrong byte and nothing is written.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from semiseg import cli
from semiseg.common.checkout import home
from semiseg.common.errors import DataError
from semiseg.common.files import read_file, replace_file
from semiseg.prepare.fetch import Patience, add_patience, check_patience, fetch
from semiseg.prepare.published_splits import PUBLISHED, PublishedList

GITHUB = "https://raw.githubusercontent.com"
_OTHERWISE = "nothing was written; check the network and --mirror, or use --from-dir with a checkout of U2PL"

# The bytes of a list, or None where the source has no such list.
Source = Callable[[PublishedList], bytes | None]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("fetch-splits")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--from-dir", type=Path, metavar="DIR", help="a folder with pascal/ and cityscapes/ as published, or a checkout"
    )
    source.add_argument(
        "--mirror",
        nargs="+",
        metavar="URL",
        default=[GITHUB],
        help=f"stands for {GITHUB}, or holds pascal/ and cityscapes/; of several the first that has a list",
    )
    parser.add_argument("--out", type=Path, default=home() / "data" / "splits", help="where to (data/splits)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=[], help="data sets or splits: pascal, cityscapes/186, 662_cps"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that differ from the published ones")
    add_patience(parser)
    args = parser.parse_args(arguments)
    check_patience(parser, args)
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


def from_folder(folder: Path) -> Source:
    """A folder that holds pascal/ and cityscapes/ as published, or a checkout with them in data/splits.

    Raises: DataError if neither is there.
    """
    for candidate in (folder, folder / "data" / "splits", folder / "splits"):
        if (candidate / "pascal").is_dir() or (candidate / "cityscapes").is_dir():
            root = candidate
            break
    else:
        raise DataError(f"{folder}: expected a folder that holds pascal/ or cityscapes/ (data/splits of a checkout)")

    of_unimatch = (root / "cityscapes" / "1_16").is_dir()  # its checkout has its own names, and other bytes under ours

    def read(wanted: PublishedList) -> bytes | None:
        if of_unimatch and not wanted.path.startswith("splits/"):
            return None
        path = root / (wanted.path.removeprefix("splits/") if of_unimatch else wanted.target)
        if not path.is_file():
            return None
        content = read_file(path)
        check(content, wanted, str(path))
        return content

    return read


@dataclass(frozen=True)
class Servers:
    """Lists from the first of ``bases`` that has them; the source of the command line without --from-dir.

    A base stands for https://raw.githubusercontent.com, or holds pascal/ and cityscapes/ itself.
    """

    bases: Sequence[str]
    patience: Patience

    def __call__(self, wanted: PublishedList) -> bytes:
        """Raises: DataError if none gives the published bytes."""
        urls = [url for base in self.bases for url in self._urls(base.rstrip("/"), wanted)]
        with tempfile.TemporaryDirectory(prefix="semiseg-fetch-") as folder:
            path = Path(folder) / Path(wanted.target).name
            fetch(urls, path, wanted.sha256, wanted.size, self.patience, _OTHERWISE)
            return path.read_bytes()

    @staticmethod
    def _urls(base: str, wanted: PublishedList) -> list[str]:
        urls = [f"{base}/{wanted.repo}/{wanted.commit}/{wanted.path}"]
        return urls if base == GITHUB else [*urls, f"{base}/{wanted.target}"]


def check(content: bytes, wanted: PublishedList, where: str) -> None:
    """Raises DataError if these are not the published bytes, and says what differs."""
    if hashlib.sha256(content).hexdigest() == wanted.sha256:
        return
    if len(content) < wanted.size:
        problem = f"{len(content)} of {wanted.size} bytes, cut off or another list"
    else:
        problem = f"SHA-256 differs from the published list of {wanted.ids} ids ({wanted.size} bytes)"
    plain = content.replace(b"\r\n", b"\n").rstrip(b"\n")
    if any(hashlib.sha256(plain + end).hexdigest() == wanted.sha256 for end in (b"", b"\n")):
        problem = "the published ids with other line ends (git's core.autocrlf?); check out with core.autocrlf=false"
    raise DataError(f"{where}: {problem}; nothing was written")


@dataclass
class Outcome:
    """Targets by what happened to them."""

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)  # the source has no such list


def install(lists: Sequence[PublishedList], source: Source, out: Path, overwrite: bool = False) -> Outcome:
    """Brings ``lists`` into ``out``. All are fetched and checked before the first is written.

    A file that already holds the published bytes is kept and not fetched.

    Raises: DataError if a file there differs and ``overwrite`` is not asked for, or the source gives other bytes, or
        half of a split. Nothing is written then.
    """
    outcome, wanted = Outcome(), []
    for entry in lists:
        path = out / entry.target
        if path.exists() or path.is_symlink():
            there = read_file(path) if path.is_file() else b""
            if hashlib.sha256(there).hexdigest() == entry.sha256:
                outcome.kept.append(entry.target)
                continue
            if not overwrite:
                raise DataError(
                    f"{path}: there is another file of this name; move it away, or --overwrite replaces it. Nothing "
                    "was written"
                )
        wanted.append(entry)
    contents = [(entry, source(entry)) for entry in wanted]
    outcome.absent = [entry.target for entry, content in contents if content is None]
    got = {entry.split for entry, content in contents if content is not None}
    for target in outcome.absent:
        if target.rpartition("/")[0] in got and not target.endswith("val.txt"):
            raise DataError(f"{target}: the source holds only half of this split; nothing was written")
    for entry, content in contents:
        if content is not None:
            replace_file(out / entry.target, content)
            outcome.written.append(entry.target)
    return outcome


def main(arguments: Sequence[str]) -> int:
    """Fetch, check, write, and say what is there now."""
    args = parse(arguments)
    lists = select(args.only)
    with tqdm(total=len(lists), unit="list", desc="lists", dynamic_ncols=True) as bar:
        patience = Patience(args.tries, args.wait, say=bar.write)
        source = from_folder(args.from_dir) if args.from_dir else Servers(args.mirror, patience)

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
