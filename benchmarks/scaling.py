"""How cost grows: python benchmarks/scaling.py [--png FILE].

Seconds a step and peak memory of ``ours`` with the small network of the synthetic experiments, one size varied at a
time; and what long lists cost at the start. Without PyTorch. Each point is a process of its own.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import inputs
import matplotlib
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
LISTS = (100, 1_000, 10_000, 50_000)


def point(work: str, parameters: dict) -> tuple[float, float]:
    """(median seconds, peak MiB) of one piece of work. Raises RuntimeError if it fails."""
    found = once("ours", Item(work, work, work, parameters))
    return found["seconds"], found["mib"]


def measure(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """What was varied -> (value, seconds, MiB)."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    with tqdm(total=sum(map(len, VARIED.values())) + len(LISTS), unit="point") as bar:
        for name, values in VARIED.items():
            for value in values:
                bar.set_postfix_str(f"{name} {value}")
                found.setdefault(name, []).append((value, *point("small_step", USUAL | {name: value})))
                bar.update()
        for count in LISTS:
            bar.set_postfix_str(f"ids {count}")
            inputs.write_many(folder / str(count), count)
            found.setdefault("ids", []).append((count, *point("many_ids", {"folder": str(folder / str(count))})))
            bar.update()
    return found


def table(found: dict[str, list[tuple[int, float, float]]]) -> str:
    """Markdown: a line a point."""
    lines = ["| varied | value | seconds | peak memory, MiB |", "|---|---|---|---|"]
    for name, points in found.items():
        lines += [f"| {TITLES[name]} | {value} | {seconds:.3f} | {mib:.0f} |" for value, seconds, mib in points]
    return "\n".join(lines)


def chart(found: dict[str, list[tuple[int, float, float]]], path: Path) -> None:
    """A panel for each size varied: seconds (left axis) and MiB (right axis)."""
    figure, panels = plt.subplots(1, len(found), figsize=(3.4 * len(found), 2.9), layout="constrained")
    for axes, (name, points) in zip(panels, found.items(), strict=True):
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
    """Measures, prints the table, draws the chart."""
    parser = argparse.ArgumentParser(description="Time and memory against image size, batch, classes and more.")
    parser.add_argument("--png", type=Path, metavar="FILE", help="also draw a chart")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    print(f"{machine()}; usual size: {USUAL}\n\n{table(found)}")
    if args.png:
        chart(found, args.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
