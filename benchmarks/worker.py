"""One side of one benchmark in a process of its own: times a function and prints the result as one JSON line."""

import argparse
import json
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

STARTED = time.perf_counter()  # run.py starts a process and imports this first


@dataclass(frozen=True)
class Work:
    """What is timed. ``once``: does the work; a number that it returns is taken for the seconds."""

    once: Callable[[], float | None]
    warm_up: int = 2
    repeat: int = 3


def main(works: Mapping[str, Callable[[dict[str, Any]], Work]]) -> None:
    """``NAME PARAMETERS``: makes the work of that name, times it, prints {"seconds": [...], "mib": peak}."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=works)
    parser.add_argument("parameters", type=json.loads)
    args = parser.parse_args()
    work = works[args.name](args.parameters)
    for _ in range(work.warm_up):
        work.once()
    seconds = [timed(work.once) for _ in range(work.repeat)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mib": peak}), flush=True)


def timed(once: Callable[[], float | None]) -> float:
    """Seconds of one call: what it says itself, else by the clock."""
    before = time.perf_counter()
    said = once()
    return time.perf_counter() - before if said is None else said


def cpu_seconds() -> float:
    """Processor time of this process and of its finished children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
