"""ImageNet weights for encoders: ``semiseg weights`` lists them, ``semiseg weights NAME ...`` brings them into
data/weights, where ``net.encoder.pretrained: NAME`` finds them.

Files come from their publishers, or from one that you have: --from FILE. They are compared with the SHA-256 that their
publisher states, in full or by its first digits.
"""

import argparse
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pooch

from semiseg import cli
from semiseg.common.errors import DataError
from semiseg.common.files import replacing
from semiseg.config.weights import WEIGHTS, Weights, find_weights, weights_folder, weights_path
from semiseg.prepare.fetch import Patience, add_patience, check_patience, fetch

_OTHERWISE = "check the network, or bring a file that you have with --from FILE"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to bring here; without: list all")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="a file that you have, of one NAME")
    parser.add_argument("--overwrite", action="store_true", help="replace a file in data/weights that has other bytes")
    add_patience(parser)
    args = parser.parse_args(arguments)
    check_patience(parser, args)
    if args.source and len(args.names) != 1:
        parser.error("--from FILE needs one NAME, whose weights the file holds")
    return args


def table() -> list[str]:
    """Every known file in a line: name, encoder, stem, source, size, licence, hash, whether it is there."""
    rows = [("name", "encoder", "stem", "source", "MB", "licence", "SHA-256", "here")]
    for weights in WEIGHTS.values():
        here = "yes" if weights_path(weights).is_file() else "-"
        digits = weights.sha256[:8] or "-"
        row = (weights.name, weights.encoder, weights.stem or "-", weights.source, str(weights.megabytes))
        rows.append((*row, weights.licence, digits, here))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def install(weights: Weights, source: Path | None, patience: Patience, overwrite: bool = False) -> bool:
    """Brings the file into data/weights, from its publisher or from ``source``; False if it is there already.

    Raises:
        DataError: another file is there and ``overwrite`` is not asked for; ``source`` is not there or holds other
            bytes; the publisher does not answer or gives other bytes. What was there stays.
    """
    target = weights_path(weights)
    if target.is_file() and not overwrite:
        problem = _wrong_bytes(target, weights)
        if problem:
            raise DataError(f"{target}: {problem}; move it away, or --overwrite replaces it")
        return False
    with replacing(target, "free some space, or mend the rights of the folder", DataError) as partial:
        if source:
            _copy(source, partial, weights)
        else:
            _download(weights, partial, patience)
        problem = _wrong_bytes(partial, weights)
        if problem:
            raise DataError(f"{source or weights.url}: {problem}; nothing was written")
    return True


def _download(weights: Weights, target: Path, patience: Patience) -> None:
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
        path = Path(folder) / weights.url.rpartition("/")[2]
        fetch([weights.url], path, None, patience=patience, otherwise=_OTHERWISE)
        _copy(path, target, weights)


def _copy(source: Path, target: Path, weights: Weights) -> None:
    """The file itself, or out of the archive that its publisher packs it in."""
    if not source.is_file():
        raise DataError(f"{source}: no such file")
    if weights.member and zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            if weights.member in archive.namelist():
                with archive.open(weights.member) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out)
                return
    shutil.copyfile(source, target)


def _wrong_bytes(path: Path, weights: Weights) -> str:
    """How the file differs from the published one; "" if it does not or its hash is not known."""
    digest = pooch.file_hash(str(path)) if weights.sha256 else ""
    if digest.startswith(weights.sha256):
        return ""
    return f"other bytes than {weights.file_name} (SHA-256 {digest[:8]}..., published {weights.sha256[:8]}...)"


def main(arguments: Sequence[str]) -> int:
    """Lists, or fetches and says what to write into the configuration."""
    args = parse(arguments)
    wanted = [find_weights(name) for name in args.names]  # all names are right before the first is fetched
    if not wanted:
        print("\n".join(table()))
        print(
            f"semiseg weights NAME brings one into {weights_folder()}; net.encoder.pretrained=NAME takes it from there"
        )
        return 0
    for weights in wanted:
        written = install(weights, args.source, Patience(args.tries, args.wait), args.overwrite)
        stem = f" net.encoder.kwargs.stem={weights.stem}" if weights.stem else ""
        unchecked = "" if weights.sha256 else " (its publisher states no hash: not compared)"
        print(f"{weights_path(weights)}: {'written' if written else 'right already'}{unchecked}")
        print(f"  net.encoder.type={weights.encoder}{stem} net.encoder.pretrained={weights.name}")
    return 0
