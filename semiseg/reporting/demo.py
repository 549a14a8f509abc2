"""The demo's table, results.json and picture, from finished runs: the command line of tools/demo_report.py."""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.common.files import replace_file
from semiseg.data.pictures import png, side_by_side
from semiseg.data.specs import DatasetSpec, get_spec

METHODS = ("suponly", "ours")
COLUMNS = ("image", "truth", *METHODS, "where they differ")
ROWS = 5  # images in the picture
WIDTH = 160  # pixels of one tile
_OURS_RIGHT, _SUPONLY_RIGHT, _BOTH_WRONG = (60, 160, 90), (215, 60, 50), (250, 200, 60)


def read_results(demo: Path) -> dict[str, list[dict[str, float]]]:
    """Scores in percent and seconds of training of every seed, by method.

    Raises:
        DataError: a run is not there.
    """
    results: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    folders = sorted(demo.glob("*_s*"), key=lambda folder: int(folder.name.rpartition("_s")[2]))
    if not folders:
        raise DataError(f"{demo}: no runs there; run tools/demo.sh first")
    for folder in folders:
        for method in METHODS:
            try:
                scores = json.loads((folder / method / "scores.json").read_text(encoding="utf-8"))
                seconds = int((folder / method / "seconds").read_text())
            except OSError as error:
                problem = f"cannot be read ({error.strerror}); run tools/demo.sh first"
                raise DataError(f"{error.filename}: {problem}") from None
            row = {"miou": scores["miou"], "seconds": seconds}
            proto = {} if scores["proto_miou"] is None else {"proto_miou": scores["proto_miou"]}
            results[method].append(row | proto)
    return results


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """A line a method and head: mIoU of each seed and their mean; what unlabelled images add, on average."""
    seeds = len(results["ours"])
    lines = [f"{'mIoU':<24}" + "".join(f"{f'seed {seed}':>9}" for seed in range(seeds)) + f"{'mean':>9}"]
    means = {}
    for method, rows in results.items():
        for head, key in (("", "miou"), (" (prototype head)", "proto_miou")):
            if key in rows[0]:
                scores = [row[key] for row in rows]
                means[method + head] = statistics.mean(scores)
                cells = "".join(f"{score:>9.2f}" for score in (*scores, means[method + head]))
                lines.append(f"{method + head:<24}{cells}")
    gain = means["ours"] - means["suponly"]
    where = "above" if gain > 0 else "below"
    each = f", mean of {seeds} seeds" if seeds > 1 else ""
    lines.append(f"ours is {gain:+.2f} mIoU points {where} suponly on the same labelled images{each}")
    return "\n".join(lines)


def colors(path: Path) -> np.ndarray:
    """H x W x 3 of an indexed PNG."""
    return np.asarray(Image.open(path).convert("RGB"))


class Pictures:
    """Masks and predictions (runs of seed 0) by image id. ``demo``: the data set's runs, ``data``: its root."""

    def __init__(self, demo: Path, spec: DatasetSpec, data: Path):
        self._demo, self._spec, self._data = next(iter(sorted(demo.glob("*_s0")))), spec, data

    def mask_path(self, name: str) -> Path:
        return self._data / self._spec.mask_path(name)

    def predicted_path(self, name: str, method: str) -> Path:
        return self._demo / method / "predictions" / "index" / f"{name}.png"

    def classes(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """uint8 H x W: the truth, and what suponly and ours say."""
        paths = (self.mask_path(name), *(self.predicted_path(name, method) for method in METHODS))
        truth, suponly, ours = (np.asarray(Image.open(path)) for path in paths)
        return truth, suponly, ours

    def typical(self, ids: Sequence[str]) -> list[str]:
        """The images around the median of ours' gain in correct pixels: neither the best nor the worst of the set."""

        def gain(name: str) -> float:
            truth, suponly, ours = self.classes(name)
            counted = truth != self._spec.ignore_label
            return (ours == truth)[counted].mean() - (suponly == truth)[counted].mean()

        ranked = sorted(ids, key=gain)
        middle = len(ranked) // 2 - ROWS // 2
        return ranked[max(0, middle) : max(0, middle) + ROWS]

    def differences(self, name: str) -> np.ndarray:
        """uint8 H x W x 3: where the two methods say different classes, and which is right; else white."""
        truth, suponly, ours = self.classes(name)
        differ = (suponly != ours) & (truth != self._spec.ignore_label)
        shown = np.full((*truth.shape, 3), 255, np.uint8)
        shown[differ] = _BOTH_WRONG
        shown[differ & (ours == truth)] = _OURS_RIGHT
        shown[differ & (suponly == truth)] = _SUPONLY_RIGHT
        return shown

    def row(self, name: str) -> np.ndarray:
        """The tiles of one image, in the order of ``COLUMNS``."""
        tiles = [colors(self._data / self._spec.image_path(name)), colors(self.mask_path(name))]
        tiles += [colors(self.predicted_path(name, method)) for method in METHODS]
        tiles.append(self.differences(name))
        height = round(WIDTH * tiles[0].shape[0] / tiles[0].shape[1])
        first, *others = tiles  # colours that stand for something are not mixed
        shrunk = [cv2.resize(first, (WIDTH, height), interpolation=cv2.INTER_AREA)]
        shrunk += [cv2.resize(tile, (WIDTH, height), interpolation=cv2.INTER_NEAREST) for tile in others]
        return side_by_side(shrunk)


def picture(demo: Path, spec: DatasetSpec, data: Path, ids: Sequence[str]) -> np.ndarray:
    """RGB: a row an image, columns as ``COLUMNS``."""
    pictures = Pictures(demo, spec, data)
    return np.vstack([header(), *(pictures.row(name) for name in pictures.typical(ids))])


def header() -> np.ndarray:
    """A white strip with the columns' names."""
    strip = np.full((28, (WIDTH + 4) * len(COLUMNS), 3), 255, np.uint8)
    for column, name in enumerate(COLUMNS):
        place = (column * (WIDTH + 4) + 6, 20)
        cv2.putText(strip, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def main(arguments: Sequence[str]) -> int:
    """Writes DEMO/results.json and DEMO/demo.png, prints the table last."""
    parser = argparse.ArgumentParser(prog="demo_report.py", description="Table and picture of the demo.")
    parser.add_argument("demo", type=Path, help="the data set's folder of runs, ckpt/demo/synthetic")
    parser.add_argument("dataset", help="the data set's name")
    parser.add_argument("data", type=Path, help="its root")
    parser.add_argument("list", type=Path, help="the ids that were scored")
    args = parser.parse_args(arguments)
    results, spec = read_results(args.demo), get_spec(args.dataset)
    replace_file(args.demo / "results.json", json.dumps(results, indent=1) + "\n")
    ids = args.list.read_text(encoding="utf-8").split()
    replace_file(args.demo / "demo.png", png(picture(args.demo, spec, args.data, ids)))
    print(f"picture: {args.demo / 'demo.png'} (green: only ours is right, red: only suponly, yellow: neither)")
    print(table(results))
    return 0
