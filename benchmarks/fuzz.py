"""Prints the table of docs/reliability.md on damaged files: images, masks, lists, configurations, checkpoints.

``python benchmarks/fuzz.py [--inputs 22000] [--seed 0] [--kinds png yaml ...] [--out FOLDER]``: minutes. Every file
goes through the real reader, see benchmarks/fuzz_judge.py; one that is read wrongly is kept in FOLDER, with a note on
what is wrong. ``--replay KIND NUMBER`` makes an input again and reads it in this process, with the traceback.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import clone  # noqa: F401, isort: skip  (it makes the package and the tests' helpers importable)
from fuzz_inputs import SOUND
from fuzz_judge import Fuzzer, Row, run
from tqdm import tqdm


def fuzz(fuzzer: Fuzzer, indices: Sequence[int], out: Path | None = None) -> Row:
    """Judges the inputs of a kind; faults are kept below ``out``."""
    row = Row(fuzzer.kind)
    bar = tqdm(run(fuzzer, indices), total=len(indices), desc=fuzzer.kind, unit="file", disable=None)
    for index, verdict, wrong in bar:
        if verdict != "fault":
            row.counts[verdict] += 1
            continue
        item = fuzzer.input(index)
        row.faults[index] = f"{item.sound.name} ({item.damaged.how}): {wrong}"
        if out:
            out.mkdir(parents=True, exist_ok=True)
            path = out / f"{fuzzer.kind.replace(' ', '_')}_{index}"
            path.write_bytes(item.damaged.data)
            path.with_name(f"{path.name}.txt").write_text(row.faults[index] + "\n", encoding="utf-8")
    return row


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown."""
    lines = ["| kind | inputs | refused | read, unchanged | read, changed | faults |", "|---|---|---|---|---|---|"]
    verdicts = ("refused", "unchanged", "changed")
    for row in rows:
        cells = [row.inputs, *(row.counts[verdict] for verdict in verdicts), len(row.faults)]
        lines.append(f"| {row.kind} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    sums = [sum(row.inputs for row in rows), *(sum(r.counts[v] for r in rows) for v in verdicts)]
    sums.append(sum(len(row.faults) for row in rows))
    return [*lines, f"| **all** | {' | '.join(f'**{cell:,}**' for cell in sums)} |"]


def main(argv: Sequence[str]) -> int:
    """The command line; exit code 1 if there was a fault."""
    parser = argparse.ArgumentParser(description="Reads damaged files.")
    parser.add_argument("--inputs", type=int, default=22_000, help="of all kinds together (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other inputs (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=list(SOUND), default=list(SOUND), metavar="KIND", help="(all)")
    parser.add_argument("--out", type=Path, default=Path("fuzz-faults"), help="folder for faults (%(default)s)")
    parser.add_argument("--replay", nargs=2, metavar=("KIND", "NUMBER"), help="read one input again, here")
    args = parser.parse_args(argv)
    if args.replay:
        fuzzer = Fuzzer(args.replay[0], args.seed)
        item = fuzzer.input(int(args.replay[1]))
        print(f"{item.sound.name} ({item.damaged.how}), {len(item.damaged.data)} bytes")
        with tempfile.TemporaryDirectory() as folder:
            print(fuzzer._read(item.damaged.data, item.sound.name, Path(folder)))
        return 0
    print(f"seed {args.seed}")
    each = -(-args.inputs // len(args.kinds))
    rows: list[Row] = []
    for kind in args.kinds:
        rows.append(fuzz(Fuzzer(kind, args.seed), range(each), args.out))
        print("\n".join(table(rows)[:-1] if len(rows) == 1 else table(rows)[-2:-1]), flush=True)
    print(table(rows)[-1])
    for row in rows:
        for index, wrong in row.faults.items():
            print(f"fault: {row.kind} {index}: {wrong}")
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
