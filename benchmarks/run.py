"""Speed and memory beside PyTorch: python benchmarks/run.py [--quick] [--items NAME ...] [--json FILE].

Each row is the same work on both sides, each side in a process of its own, the two alternating over several rounds. The
ratio is ours / PyTorch, round by round, and its median is printed: below 1 we are faster (or smaller). Needs PyTorch:
``bash tools/test.sh --parity`` installs it. ``--items host`` is host.py's table, which has no other side.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import inputs
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
HOST = "host"  # an item of another kind


@dataclass(frozen=True)
class Item:
    """A row. ``work``: the name on both sides. ``long``: left out by --quick."""

    name: str
    title: str
    work: str
    ours: dict = field(default_factory=dict)
    torch: dict = field(default_factory=dict)
    long: bool = False


def items(folder: Path) -> list[Item]:
    """Every row; ``folder`` takes the images."""
    voc, city = folder / "voc", folder / "city"
    inputs.write_images(voc, 4, inputs.EVAL_SIDE, inputs.EVAL_SIDE)
    inputs.write_images(folder / "photos", 24, 375, 500)
    inputs.write_images(city, 1, inputs.WINDOW, 1100)
    step, large = {"side": 161, "batch": 4}, {"side": 321, "batch": 4}
    semi = {"side": 161, "batch": 2}
    views = {"images": 8, "views": 120}
    photos = {"folder": str(folder / "photos"), "steps": 24}
    whole, slide = ({"folder": str(f), "mode": mode} for f, mode in ((voc, "whole"), (city, "slide")))
    return [
        Item("train_step", "training step, 4 images of 161 px", "train_step", step, step),
        Item("train_step_321", "training step, 4 images of 321 px", "train_step", large, large, long=True),
        Item("semi_step", "whole step of ours, 2 + 2 of 161 px", "semi_step", semi, semi | {"forwards": 1}),
        Item("semi_step_u2pl", "the same beside two teacher forwards", "semi_step", semi, semi | {"forwards": 2}),
        Item("evaluate", "evaluation, whole image of 513 px", "evaluation", whole, whole),
        Item("evaluate_slide", "evaluation, sliding window 769", "evaluation", slide, slide, long=True),
        Item("data", "both streams at 513 px, CPU seconds", "data", photos, photos),
        Item("strong", "strong view of a crop of 513 px, CPU seconds (torchvision)", "strong", views, views),
        Item("count", "confusion matrix, 10 images of 513 px", "count", {"images": 10}, {"images": 10}),
        Item("startup", "start of the process to first step", "startup", {"side": 161}, {"side": 161}),
        Item(
            "startup_plain", "the same without compiling", "startup", {"side": 161, "jit": False}, {"side": 161}, True
        ),
    ]


def once(side: str, item: Item) -> dict:
    """Runs one side; median seconds and peak MiB. Raises RuntimeError with what it printed if it fails."""
    parameters = item.ours if side == "ours" else item.torch
    script = HERE / ("ours.py" if side == "ours" else "twin.py")
    command = [sys.executable, str(script), item.work, json.dumps(parameters)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{item.name}, {side}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds": statistics.median(found["seconds"]), "mib": found["mib"]}


def measure(item: Item, rounds: int, bar: tqdm) -> dict[str, float]:
    """The row's numbers: medians of both sides, and of the ratios of each round."""
    found: dict[str, list[dict]] = {"ours": [], "torch": []}
    for number in range(rounds):
        for side in ("ours", "torch") if number % 2 == 0 else ("torch", "ours"):
            bar.set_postfix_str(f"{item.name}, {side}")
            found[side].append(once(side, item))
            bar.update()
    pairs = list(zip(found["ours"], found["torch"], strict=True))
    ratios = [a["seconds"] / b["seconds"] for a, b in pairs]
    return {
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "ours": statistics.median(a["seconds"] for a, _ in pairs),
        "torch": statistics.median(b["seconds"] for _, b in pairs),
        "rss_ratio": statistics.median(a["mib"] / b["mib"] for a, b in pairs),
        "ours_mib": statistics.median(a["mib"] for a, _ in pairs),
        "torch_mib": statistics.median(b["mib"] for _, b in pairs),
    }


def table(rows: dict[str, dict[str, float]], titles: dict[str, str]) -> str:
    """Markdown."""
    lines = [
        "| item | what | time, ours / PyTorch | from - to | memory, ours / PyTorch | seconds | MiB |",
        "|---" * 7 + "|",
    ]
    for name, r in rows.items():
        spread, seconds = f"{r['lowest']:.2f} - {r['highest']:.2f}", f"{r['ours']:.3g} / {r['torch']:.3g}"
        memory, mib = f"{r['rss_ratio']:.2f}", f"{r['ours_mib']:.0f} / {r['torch_mib']:.0f}"
        lines.append(f"| {name} | {titles[name]} | **{r['ratio']:.2f}** | {spread} | {memory} | {seconds} | {mib} |")
    return "\n".join(lines)


def write(path: Path | None, rows: dict[str, dict]) -> None:
    """The JSON file, where one is wanted."""
    if path:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def machine() -> str:
    """The processor and its number of cores, as far as the system tells."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        name = names[0].partition(":")[2].strip() if names else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}, CPython {platform.python_version()}"


def host_seconds(folder: Path) -> dict[str, dict[str, float]]:
    """Runs host.py, which prints its table; the host's seconds a step by method."""
    result = folder / "host.json"
    subprocess.run([sys.executable, str(HERE / "host.py"), "--json", str(result)], check=True)
    return {method: {"ours": seconds} for method, seconds in json.loads(result.read_text(encoding="utf-8")).items()}


def main() -> int:
    """Measures, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description="Speed and memory beside PyTorch.")
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 5, without the long items")
    parser.add_argument("--items", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    rounds = 3 if args.quick else 5
    with tempfile.TemporaryDirectory() as folder:
        every = items(Path(folder))
        names = [*(item.name for item in every), HOST]
        unknown = sorted(set(args.items or ()) - set(names))
        if unknown:
            parser.error(f"--items: unknown {', '.join(unknown)}; known: {', '.join(names)}")
        chosen = [i for i in every if (i.name in args.items if args.items else not (args.quick and i.long))]
        rows = {}
        with tqdm(total=2 * rounds * len(chosen), unit="process") as bar:
            for item in chosen:
                rows[item.name] = measure(item, rounds, bar)
                write(args.json, rows)
        print(f"{machine()}; {rounds} rounds\n")
        if rows:
            print(table(rows, {item.name: item.title for item in every}))
        if HOST in (args.items or ()):
            write(args.json, rows | {HOST: host_seconds(Path(folder))})
    return 0


if __name__ == "__main__":
    sys.exit(main())
