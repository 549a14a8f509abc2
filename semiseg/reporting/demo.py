"""The demo's table, results.json and picture, from two finished runs: the command line of tools/demo_report.py."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.common.files import replace_file

METHODS = ("suponly", "ours")
ROWS = 5  # images in the picture
SIDE = 160  # pixels of one tile


def read_results(demo: Path) -> dict[str, dict[str, float]]:
    """Scores in percent and seconds of training, by method.

    Raises:
        DataError: a run is not there.
    """
    results = {}
    for method in METHODS:
        try:
            scores = json.loads((demo / method / "scores.json").read_text(encoding="utf-8"))
            seconds = int((demo / method / "seconds").read_text())
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror}); run tools/demo.sh first") from None
        results[method] = {"miou": scores["miou"], "seconds": seconds}
        if scores["proto_miou"] is not None:
            results[method]["proto_miou"] = scores["proto_miou"]
    return results


def table(results: dict[str, dict[str, float]]) -> str:
    """One line a method: mIoU of both heads, training time."""
    lines = [f"{'method':<10}{'mIoU linear':>12}{'mIoU prototype':>16}{'training':>12}"]
    for method, row in results.items():
        proto = f"{row['proto_miou']:.2f}" if "proto_miou" in row else "-"
        minutes, seconds = divmod(row["seconds"], 60)
        lines.append(f"{method:<10}{row['miou']:>12.2f}{proto:>16}{f'{minutes} min {seconds:02d} s':>12}")
    gain = results["ours"]["miou"] - results["suponly"]["miou"]
    lines.append(
        f"ours is {gain:+.2f} mIoU points {'above' if gain > 0 else 'below'} suponly on the same labelled images"
    )
    return "\n".join(lines)


def colors(path: Path) -> np.ndarray:
    """H x W x 3 of an indexed PNG."""
    return np.asarray(Image.open(path).convert("RGB"))


def typical(demo: Path, masks: Path, ids: list[str]) -> list[str]:
    """The images around the median of ours' gain in correct pixels: neither the best nor the worst of the set."""

    def gain(name: str) -> float:
        truth = np.asarray(Image.open(masks / f"{name}.png"))
        counted = truth != 255
        right = [
            (np.asarray(Image.open(demo / method / "predictions" / "index" / f"{name}.png")) == truth)[counted].mean()
            for method in METHODS
        ]
        return right[1] - right[0]

    ranked = sorted(ids, key=gain)
    middle = len(ranked) // 2 - ROWS // 2
    return ranked[max(0, middle) : max(0, middle) + ROWS]


def picture(demo: Path, data: Path) -> np.ndarray:
    """RGB: a row an image, columns image, truth, suponly, ours."""
    ids = (data / "splits" / "val.txt").read_text(encoding="utf-8").split()
    rows = [header(("image", "truth", *METHODS))]
    for name in typical(demo, data / "SegmentationClassAug", ids):
        tiles = [np.asarray(Image.open(data / "JPEGImages" / f"{name}.jpg"))]
        tiles.append(colors(data / "SegmentationClassAug" / f"{name}.png"))
        tiles += [colors(demo / method / "predictions" / "index" / f"{name}.png") for method in METHODS]
        tiles = [cv2.resize(tile, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for tile in tiles]
        rows.append(np.hstack([np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255) for tile in tiles]))
    return np.vstack(rows)


def header(names: tuple[str, ...]) -> np.ndarray:
    """A white strip with the columns' names."""
    strip = np.full((28, (SIDE + 4) * len(names), 3), 255, np.uint8)
    for column, name in enumerate(names):
        place = (column * (SIDE + 4) + 6, 20)
        cv2.putText(strip, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def main(arguments: Sequence[str]) -> int:
    """Writes DEMO/results.json and DEMO/demo.png, prints the table last."""
    parser = argparse.ArgumentParser(prog="demo_report.py", description="Table and picture of the demo.")
    parser.add_argument("demo", type=Path, help="the folder with suponly/ and ours/")
    parser.add_argument("data", type=Path, help="the synthetic data set")
    args = parser.parse_args(arguments)
    results = read_results(args.demo)
    replace_file(args.demo / "results.json", json.dumps(results, indent=1) + "\n")
    Image.fromarray(picture(args.demo, args.data)).save(args.demo / "demo.png")
    print(f"picture: {args.demo / 'demo.png'}")
    print(table(results))
    return 0
