"""What the start of a training costs with many unlabelled images, in a process of its own: up to the first batch.

Without MindSpore. ``python benchmarks/start.py PARAMETERS``, JSON: ``folder`` as ``write`` made it, ``kind`` (list or
folder), ``latency``: seconds that each look at a file takes longer (a slow file system).
"""

import argparse
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from semiseg.common.rng import generator
from semiseg.config import load
from semiseg.data.build import complete, open_part, quick_check
from semiseg.data.lists import read_split
from semiseg.data.loaders import TrainStream
from semiseg.data.padding import padding_note, sample_of
from semiseg.data.presence import sampled
from semiseg.data.transforms import TrainTransform

LEAF = Path(__file__).resolve().parents[1] / "experiments/pascal/183/ours"
LABELED, VAL, BATCH, SEED = 200, 500, 2, 0
MOST_LINKS = 50_000  # names that one file may have, on any usual file system


def write(folder: Path, count: int, kind: str) -> None:
    """Lists of ``count`` unlabelled ids (kind "list") and the files of those that a start looks at, or all of them in a
    folder (kind "folder"); a few labelled and validation images.
    """
    for part in ("JPEGImages", "SegmentationClassAug", "more"):
        (folder / part).mkdir(parents=True)
    labeled, val = ([f"{part}_{i:04}" for i in range(size)] for part, size in (("l", LABELED), ("v", VAL)))
    mask = np.arange(120, dtype=np.uint8).repeat(100).reshape(120, 100).T // 5 % 21
    for name in (*labeled, *val):
        Image.fromarray(mask).save(folder / "SegmentationClassAug" / f"{name}.png")
    names = (f"vacation_{i:08}" for i in range(count))
    if kind == "folder":
        link_to_one_picture(folder, [f"more/{name}.jpg" for name in names])
    else:
        write_lines(folder / "unlabeled.txt", names)
        first = generator(SEED, "unlabeled.order", 0).permutation(count)[:BATCH]
        seen = {*sampled(count).tolist(), *first.tolist(), *map(int, sample_of(range(count)))}
        link_to_one_picture(folder, [f"JPEGImages/vacation_{i:08}.jpg" for i in sorted(seen)])
    link_to_one_picture(folder, [f"JPEGImages/{name}.jpg" for name in (*labeled, *val)])
    write_lines(folder / "labeled.txt", labeled)
    write_lines(folder / "val.txt", val)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """A list, a line each."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def link_to_one_picture(folder: Path, names: list[str]) -> None:
    """Small pictures under these names."""
    picture = folder / "picture.jpg"
    for number, name in enumerate(names):
        if number % MOST_LINKS == 0:
            picture.unlink(missing_ok=True)
            Image.new("RGB", (120, 100), (90, 120, 60)).save(picture)
        os.link(picture, folder / name)


def slow_down(latency: float) -> list[int]:
    """Makes every look at a file or folder wait; the list's one number counts them."""
    looks = [0]

    def slowly(ask: Callable) -> Callable:
        def asked(*args, **options):
            looks[0] += 1
            time.sleep(latency)
            return ask(*args, **options)

        return asked

    for name in ("stat", "lstat", "scandir"):
        setattr(os, name, slowly(getattr(os, name)))
    return looks


def start(folder: Path, kind: str) -> dict[str, float]:
    """Seconds of each part of the start."""
    lists = f"dataset.train.data_list={folder}/labeled.txt", f"dataset.val.data_list={folder}/val.txt"
    unlabeled = f"unlabeled_dir={folder}/more" if kind == "folder" else f"unlabeled_list={folder}/unlabeled.txt"
    overrides = [*lists, f"dataset.train.{unlabeled}", f"dataset.data_root={folder}", "dataset.split=null"]
    config, spec = complete(load(LEAF, overrides))
    times = [time.perf_counter()]
    split = read_split(config, spec)
    times.append(time.perf_counter())
    quick_check(config, spec, split)
    padding_note([open_part(config, spec, sample_of(split.unlabeled), "train", with_mask=False)], config.dataset.train)
    times.append(time.perf_counter())
    images = open_part(config, spec, split.unlabeled, "train", with_mask=False)
    with TrainStream(images, TrainTransform((97, 97)), BATCH, seed=SEED, purpose="unlabeled", workers=0) as stream:
        next(stream)
    times.append(time.perf_counter())
    return dict(zip(("lists", "checks", "first_batch"), np.diff(times).tolist(), strict=True))


def peak_mib() -> float:
    """Most memory at once, of this process alone (ru_maxrss begins with that of the process it was forked from)."""
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8")) if status.is_file() else None
    return (int(peak[1]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def main() -> int:
    """Prints {"lists", "checks", "first_batch", "processor": seconds, "looks": at files, "mib": peak}."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parameters", type=json.loads)
    p = parser.parse_args().parameters
    looks = slow_down(p["latency"])
    before = time.process_time()
    seconds = start(Path(p["folder"]), p["kind"])
    seconds["processor"] = time.process_time() - before
    print(json.dumps(seconds | {"looks": looks[0], "mib": peak_mib()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
