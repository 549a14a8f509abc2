"""Prints the table of docs/distributed.md: memory and time of a step, whole or in micro-batches.

``python benchmarks/accumulate.py [--side 97] [--images 8]``: method ours, ResNet-101, so many labelled and as many
unlabelled images a step; each division in a process of its own. Minutes, several GB.
"""

import clone  # noqa: F401  # isort: skip  (it makes what follows importable)

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence


def measure(side: int, images: int, accumulate: int) -> None:
    """Prints peak memory in GB and the seconds of a step (the faster of two, after one to warm up)."""
    import inputs
    import ours

    settings = ours.setting("ours", side, images // accumulate, jit=False, accumulate=accumulate)
    step = ours.trainer_of("ours", settings)
    batches = inputs.batch(0, images, side, True), inputs.batch(0, images, side, False)
    seconds = []
    for number in range(3):
        began = time.perf_counter()
        step(number, *batches)
        seconds.append(time.perf_counter() - began)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, min(seconds[1:]))


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Memory and time of a step in micro-batches.")
    parser.add_argument("--side", type=int, default=97, help="of the crop, in pixels")
    parser.add_argument("--images", type=int, default=8, help="labelled, and as many unlabelled, a step")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        measure(args.side, args.images, args.one)
        return 0
    head = ("dataset.batch_size", "trainer.accumulate", "images a step", "peak memory", "time of a step")
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for parts in (n for n in (1, 2, 4, 8, 16) if args.images % n == 0):
        command = [
            sys.executable,
            __file__,
            "--side",
            str(args.side),
            "--images",
            str(args.images),
            "--one",
            str(parts),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        memory, seconds = map(float, done.stdout.split()[-2:])
        images = f"{args.images} + {args.images}"
        print(f"| {args.images // parts} | {parts} | {images} | {memory:.1f} GB | {seconds:.1f} s |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
