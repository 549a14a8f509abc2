"""How cost grows: python benchmarks/scaling.py [--only steps|start] [--latency MS] [--png FILE].

Steps: seconds and peak memory of ``ours`` with the small network of the synthetic experiments, one size varied at a
time. Start: from the lists to the first batch with 10^4 to 10^7 unlabelled images, on a file system that takes
``--latency`` milliseconds for each look at a file. Without PyTorch. Each point is a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import start
from run import Item, machine, once
from tqdm import tqdm

matplotlib.use("Agg")
from matplotlib import pyplot as plt

USUAL = {"side": 96, "batch": 4, "classes": 6, "per_class": 2}
VARIED = {
    "side": (64, 128, 256),
    "batch": (2, 4, 8, 16),
    "classes": (6, 21, 150),
    "per_class": (1, 4, 16),
}
TITLES = {
    "side": "side of the crop, px",
    "batch": "images a step (labelled, and as many unlabelled)",
    "classes": "classes",
    "per_class": "prototypes a class",
    "ids": "unlabelled images: seconds to the first batch",
}
STARTS = [("list", 10**power) for power in (4, 5, 6, 7)] + [("folder", 10**power) for power in (4, 5, 6)]
PARTS = ("lists", "checks", "first_batch")


def point(work: str, parameters: dict) -> tuple[float, float]:
    """(median seconds, peak MiB) of one piece of work. Raises RuntimeError if it fails."""
    found = once("ours", Item(work, work, work, parameters))
    return found["seconds"], found["mib"]


def measure_steps() -> dict[str, list[tuple[int, float, float]]]:
    """What was varied -> (value, seconds, MiB)."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    with tqdm(total=sum(map(len, VARIED.values())), unit="point") as bar:
        for name, values in VARIED.items():
            for value in values:
                bar.set_postfix_str(f"{name} {value}")
                found.setdefault(name, []).append((value, *point("small_step", USUAL | {name: value})))
                bar.update()
    return found


def measure_start(kind: str, count: int, latency: float) -> dict[str, float]:
    """What ``start.py`` says, and its kind and count. Raises: RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as name:
        start.write(Path(name), count, kind)
        parameters = json.dumps({"folder": name, "kind": kind, "latency": latency})
        command = [sys.executable, str(Path(start.__file__)), parameters]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{kind} of {count}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return {"kind": kind, "count": count} | json.loads(done.stdout.splitlines()[-1])


def start_table(rows: list[dict]) -> str:
    """Markdown: a line a start."""
    lines = [
        "| unlabelled images | named by a | lists, s | checks, s | first batch, s | together, s | processor, s | peak "
        "memory, MiB | looks at files |",
        "|---" * 9 + "|",
    ]
    for row in rows:
        seconds = [row[part] for part in PARTS]
        cells = " | ".join(f"{value:.2f}" for value in (*seconds, sum(seconds), row["processor"]))
        lines.append(f"| {row['count']:,} | {row['kind']} | {cells} | {row['mib']:.0f} | {row['looks']:,} |")
    return "\n".join(lines)


def table(found: dict[str, list[tuple[int, float, float]]]) -> str:
    """Markdown: a line a point."""
    lines = ["| varied | value | seconds | peak memory, MiB |", "|---|---|---|---|"]
    for name, points in found.items():
        lines += [f"| {TITLES[name]} | {value} | {seconds:.3f} | {mib:.0f} |" for value, seconds, mib in points]
    return "\n".join(lines)


def chart(found: dict[str, list[tuple[int, float, float]]], path: Path) -> None:
    """A panel for each size varied: seconds (left axis) and MiB (right axis)."""
    figure, panels = plt.subplots(1, len(found), figsize=(3.4 * len(found), 2.9), layout="constrained", squeeze=False)
    for axes, (name, points) in zip(panels[0], found.items(), strict=True):
        values, seconds, memory = zip(*points, strict=True)
        axes.plot(values, seconds, "o-", color="#e45756")
        axes.set(title=TITLES[name].partition(":")[0], ylim=(0, None), ylabel="seconds")
        axes.title.set_fontsize(9)
        other = axes.twinx()
        other.plot(values, memory, "s--", color="#4c78a8", markersize=4)
        other.set(ylim=(0, None), ylabel="MiB")
        axes.yaxis.label.set_color("#e45756")
        other.yaxis.label.set_color("#4c78a8")
        if name == "ids":
            axes.set_xscale("log")
    figure.savefig(path, dpi=110)


def main() -> int:
    """Measures, prints the tables, draws the chart."""
    parser = argparse.ArgumentParser(description="Time and memory against image size, batch, classes and more.")
    parser.add_argument("--png", type=Path, metavar="FILE", help="also draw a chart")
    parser.add_argument("--only", choices=("steps", "start"), help="one of the two")
    parser.add_argument("--most", type=float, default=1e7, metavar="N", help="of unlabelled images (%(default)g)")
    parser.add_argument("--latency", type=float, default=1.0, metavar="MS", help="of a look at a file (%(default)g)")
    args = parser.parse_args()
    found = {} if args.only == "start" else measure_steps()
    if found:
        print(f"{machine()}; usual size: {USUAL}\n\n{table(found)}")
    if args.only != "steps":
        starts = tqdm([one for one in STARTS if one[1] <= args.most], unit="start")
        rows = [measure_start(kind, count, args.latency / 1000) for kind, count in starts]
        print(f"{machine()}; {args.latency:g} ms longer for each look at a file\n\n{start_table(rows)}")
        lists = [row for row in rows if row["kind"] == "list"]
        found["ids"] = [(row["count"], sum(row[part] for part in PARTS), row["mib"]) for row in lists]
    if args.png:
        chart(found, args.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
