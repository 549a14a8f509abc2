"""A run folder as training leaves it, without training: for tests of what reads one."""

import json
from pathlib import Path

from semiseg.common.files import replace_file
from semiseg.config import dump, load
from semiseg.data import build as data_build
from semiseg.data.lists import read_split, save_lists

STEPS = 40


def write_run(ready: tuple[Path, list[str], Path], evaluations: int = 3) -> Path:
    """Completes the folder of the fixture ``ready`` (it holds best.ckpt); returns it."""
    path, overrides, best = ready
    folder = best.parents[1]
    config, spec = data_build.complete(load(path, overrides))
    replace_file(folder / "config.resolved.yaml", dump(config))
    save_lists(folder, read_split(config, spec))
    rows = []
    for step in range(2, STEPS + 1, 2):
        row = {"step": step, "lr": 0.1 * (1 - step / STEPS), "loss": 2 / step, "sup": 2 / step}
        if step > STEPS // 2:
            counts = [step * (i % 3) for i in range(spec.num_classes * 2)]
            row |= {"mask_ratio": step / STEPS, "proto_sup": 0.25, "proto_counts": counts}
        rows.append(row)
    for index in range(evaluations):
        iou = [10.0 * index + c for c in range(spec.num_classes)]
        scores = {"miou": sum(iou) / len(iou), "iou": iou, "proto_miou": 1.0 + index}
        rows.append({"step": STEPS // evaluations * (index + 1), "eval": scores})
    rows.sort(key=lambda row: row["step"])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
