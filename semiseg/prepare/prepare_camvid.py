"""CamVid in our layout, with lists: ``semiseg prepare-camvid --from DIR | --download``."""

import argparse
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from semiseg import cli
from semiseg.common.checkout import home
from semiseg.common.errors import DataError
from semiseg.common.files import cannot_write
from semiseg.prepare import camvid
from semiseg.prepare.fetch import fetch

_URL = f"https://codeload.github.com/{camvid.REPOSITORY}/zip/{camvid.COMMIT}"
_BYTES = 190_000_000  # about; for the progress bar


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("prepare-camvid")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help=f"a checkout of {camvid.REPOSITORY}, or its CamVid"
    )
    source.add_argument("--download", action="store_true", help="fetch that repository first (about 190 MB)")
    parser.add_argument("--url", default=_URL, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=home() / "data" / "camvid", help="(data/camvid)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Copies, converts, draws the splits, and says what is there."""
    args = parse(arguments)
    if args.source:
        return _prepare(args.source, args.out)
    with tempfile.TemporaryDirectory(prefix="semiseg-camvid-") as folder:
        archive = Path(folder) / "camvid.zip"
        otherwise = f"clone {camvid.REPOSITORY} yourself and name it with --from"
        fetch([args.url], archive, None, _BYTES, otherwise=otherwise)
        return _prepare(_unpacked(archive), args.out)


def _unpacked(archive: Path) -> Path:
    """The pictures of the archive beside it; names that lead elsewhere are left out by zipfile itself."""
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if "/CamVid/" in name]
            packed.extractall(archive.parent, names)
    except OSError as error:
        raise cannot_write(archive.parent, error, error_type=DataError) from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive.name}: cannot be unpacked ({error}); fetch it again") from None
    if not names:
        raise DataError(f"{archive.name}: holds no CamVid; is it {camvid.REPOSITORY}?")
    return archive.parent / names[0].split("/")[0]


def _prepare(source: Path, out: Path) -> int:
    samples = camvid.find_samples(source)
    if camvid.digest(samples) != camvid.SHA256:
        print(f"note: the pictures are not byte for byte those of {camvid.REPOSITORY} at {camvid.COMMIT[:10]}")
    classes_in: dict[str, list[int]] = {}
    of_part: dict[str, list[str]] = {part: [] for part in camvid.COUNTS}
    for sample, classes in tqdm(camvid.convert(samples, out), total=len(samples), desc="camvid", disable=None):
        classes_in[sample.id] = classes
        of_part[sample.part].append(sample.id)
    names = camvid.write_splits(out, classes_in, of_part)
    counts = ", ".join(f"{len(ids)} {part}" for part, ids in of_part.items())
    print(f"{out}: {counts} images; splits {' '.join(names)}")
    return 0
