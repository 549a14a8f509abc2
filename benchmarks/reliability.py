"""Prints the table of docs/reliability.md: faults that were tried on real runs, and what came of them.

``python benchmarks/reliability.py [--times 8] [--device-times 2] [--damages 400] [--seed 0] [--json FILE]``: minutes.
A tiny network is trained on tiny images again and again, killed at random and chosen moments, its disk is filled, its
checkpoints are damaged; what is left at the end is compared with a run that nothing disturbed. As root this fills a
real file system of its own (tmpfs).
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import survival  # isort: skip  (it makes the package and the tests' helpers importable)
import faults
import numpy as np
from survival import STEPS, Place, Row
from tiny import network_of, settings_of
from tqdm import tqdm

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.run import Checkpoints, Progress
from semiseg.common.errors import CheckpointError
from semiseg.config.keys import SaverConfig
from semiseg.interop.network_files import fill, read_network


def damages(place: Place, count: int, rng: np.random.Generator, row: Row) -> None:
    """last.ckpt damaged at random; it must be passed over for the one before, or refused, never be taken."""
    whole = place.folder / "whole/checkpoints"
    content, older = (whole / "last.ckpt").read_bytes(), (whole / f"step_{STEPS - 2:08d}.ckpt").read_bytes()
    arrays, _ = checkpoint_io.read(whole / "last.ckpt")
    folder = place.folder / "damaged"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / f"step_{STEPS - 2:08d}.ckpt").write_bytes(older)
    for _ in tqdm(range(count), desc="damages", unit="file"):
        kind, damaged = damage(content, rng)
        (folder / "checkpoints/last.ckpt").write_bytes(damaged)
        state = {name: Stored(array) for name, array in arrays.items()}
        progress, _ = Checkpoints(folder, SaverConfig(), state).resume(Progress(images=2))
        row.add(f"{kind}: passed over for the one before", progress.step != STEPS - 2)


class Stored:
    """A place for an array of a checkpoint."""

    def __init__(self, array: np.ndarray):
        self.shape, self.dtype = array.shape, array.dtype

    def set_data(self, value: object) -> None:
        """Taken; nothing is done with it."""


def damage(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """(what was done, the damaged content)."""
    kind, at = str(rng.choice(["one bit", "cut off", "zeros", "pieces swapped"])), int(rng.integers(len(content)))
    damaged = bytearray(content)
    if kind == "one bit":
        damaged[at] ^= 1 << int(rng.integers(8))
    elif kind == "cut off":
        damaged = damaged[:at]
    elif kind == "zeros":
        at = min(at, len(content) - 512)
        damaged[at : at + 512] = bytes(512)
    else:
        half = len(content) // 2
        damaged = damaged[half:] + damaged[:half]
    return (kind, bytes(damaged)) if bytes(damaged) != content else damage(content, rng)


STRANGERS = {
    "other classes": ["net.num_classes=7"],
    "other K": ["net.proto_head.num_micro_proto=3"],
    "no prototype head": ["net.proto_head=null"],
    "another depth": ["net.encoder.type=resnet50"],
    "another width": ["net.encoder.kwargs.width=8"],
    "another decoder": ["net.decoder.kwargs.inner_planes=16"],
    "fewer branches": ["net.decoder.kwargs.dilations=[1, 2]"],
    "an auxiliary head": ["net.aux_loss={}"],
    "a representation head": ["net.decoder.kwargs.rep_head=true"],
}


def strangers(place: Place, row: Row) -> None:
    """Checkpoints of other networks must be refused with a table; a file with code in it must not run it."""
    mine = dict(network_of(settings_of()).parameters_and_names())
    for overrides in STRANGERS.values():
        path = place.folder / "stranger.ckpt"
        checkpoint_io.save(path, checkpoint_io.network_arrays(network_of(settings_of(*overrides))), {})
        told = refused(lambda path=path: fill(mine, read_network(path), path), "expected here")
        row.add("refused with a table of what differs", not told)
    proof = place.folder / "code was run"
    payload = b"cposix\nsystem\n(S'touch " + str(proof).encode() + b"'\ntR."
    for suffix in (".pth", ".ckpt", ".pt"):
        path = place.folder / f"evil{suffix}"
        path.write_bytes(payload)
        told = refused(lambda path=path: read_network(path), "")
        row.add("with code in it: refused, code not run", not told or proof.exists())


def refused(work: Callable[[], object], words: str) -> bool:
    """Whether it raises our error with these words."""
    try:
        work()
    except CheckpointError as error:
        return words in str(error)
    return False


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown."""
    found = ["| fault | tried | lost | what came of it |", "|---|---|---|---|"]
    for row in rows:
        seen = "; ".join(f"{words} ({count})" for words, count in sorted(row.seen.items()))
        found.append(f"| {row.fault} | {row.tried} | {row.lost} | {seen} |")
    return [*found, f"| **all** | **{sum(r.tried for r in rows)}** | **{sum(r.lost for r in rows)}** | |"]


def main(argv: Sequence[str]) -> int:
    """The command line; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(description="Tries faults on real runs.")
    parser.add_argument("--times", type=int, default=8, help="how often each kind of fault is tried")
    parser.add_argument("--device-times", type=int, default=2, help="the same on two devices")
    parser.add_argument("--damages", type=int, default=400, help="damaged checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(args.seed)
    rows = {name: Row(f"killed: {name}" if name in faults.MOMENTS else name) for name in survival.KINDS}
    rows["disk full"].fault = "disk full (limit on file sizes)"
    more = [
        Row("disk full (a real, small file system)"),
        Row("two devices"),
        Row("last.ckpt damaged"),
        Row("strangers"),
    ]
    with tempfile.TemporaryDirectory(prefix="reliability") as folder:
        place = Place(Path(folder))
        survival.kills(place, args.times, rng, rows)
        survival.full_file_system(place, args.times, rng, more[0])
        survival.two_devices(place, args.device_times, rng, more[1])
        damages(place, args.damages, rng, more[2])
        strangers(place, more[3])
    rows = [*rows.values(), *more]
    print("\n".join(table(rows)))
    if args.json:
        args.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return int(any(row.lost for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
