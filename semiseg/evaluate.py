"""Scoring a network on a validation list: ``python -m semiseg.evaluate --config F [--checkpoint C] [--save DIR]``."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mindspore import Tensor
from tqdm import tqdm

from semiseg import cli
from semiseg.common.distributed import ALONE, Group
from semiseg.common.errors import ConfigError
from semiseg.common.files import replace_file
from semiseg.config import load
from semiseg.config.keys import Config, EvaluationConfig, ExpectedConfig
from semiseg.data import build as data_build
from semiseg.data.pictures import PredictionWriter
from semiseg.data.specs import DatasetSpec
from semiseg.engine import build
from semiseg.engine.device import set_device
from semiseg.inference.compiled import Network, for_evaluation
from semiseg.inference.logits import image_logits
from semiseg.interop.published import find_best, load_evaluated
from semiseg.metrics import ConfusionMatrix
from semiseg.models import SegmentationNetwork

# (id, prediction H x W uint8 of the linear head)
OnImage = Callable[[str, np.ndarray], None]


class Loader(Protocol):
    """Yields (id, float32 3 x H x W normalised, H x W mask)."""

    num_classes: int
    ignore_label: int
    center_size: tuple[int, int]

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterable[tuple[str, np.ndarray, np.ndarray]]: ...


@dataclass(frozen=True)
class Evaluation:
    """Whole-set counts of the linear head and, where it was scored, of the prototype head."""

    linear: ConfusionMatrix
    proto: ConfusionMatrix | None

    def summary(self) -> dict[str, Any]:
        """Percent: ``miou``, ``iou`` of each class (both of the linear head), ``proto_miou`` where there is one."""
        scores = self.linear.compute()
        found = {"miou": 100 * scores.miou, "iou": (100 * scores.iou).tolist()}
        return found | ({"proto_miou": 100 * self.proto.compute().miou} if self.proto else {})


def load_network(config: Config, checkpoint: Path | str) -> SegmentationNetwork:
    """The network of ``config`` in evaluation mode with the weights of a checkpoint, every name and shape matched.

    A checkpoint that holds student and teacher gives the teacher. Reads best.ckpt (ours and the authors'), last.ckpt
    and PyTorch's .pth.

    Raises:
        CheckpointError: missing, damaged, or of another network; says what differs.
    """
    config, _ = data_build.complete(config)
    network = build.fresh_network(config, seed=0)
    load_evaluated(network, Path(checkpoint))
    return network.set_train(False)


def evaluate(
    network: Network,
    loader: Loader,
    mode: EvaluationConfig,
    on_image: OnImage | None = None,
    group: Group = ALONE,
) -> Evaluation:
    """Scores ``network`` (in evaluation mode) on every image of ``loader`` as ``mode`` says.

    Mode center scores the centre of ``loader.center_size`` alone. Each device of a group has a loader with its share of
    the images; all get the counts of the whole set.
    """
    linear = ConfusionMatrix(loader.num_classes, loader.ignore_label)
    proto = ConfusionMatrix(loader.num_classes, loader.ignore_label)
    scored_proto = False
    quiet = not sys.stderr.isatty()
    for name, image, mask in tqdm(loader, desc="evaluate", unit="image", leave=False, disable=quiet):
        if mode.mode == "center":
            image, mask = (
                center_crop(image, loader.center_size, 0),
                center_crop(mask, loader.center_size, loader.ignore_label),
            )
        logits = image_logits(network, Tensor(np.ascontiguousarray(image[None])), mode)
        prediction = logits.linear.asnumpy()[0].argmax(0).astype(np.uint8)
        linear.update(prediction, mask)
        if logits.proto is not None:
            scored_proto = True
            proto.update(logits.proto.asnumpy()[0].argmax(0).astype(np.uint8), mask)
        if on_image:
            on_image(name, prediction)
    for matrix in (linear, proto):
        matrix.counts = group.total(matrix.counts)
    return Evaluation(linear, proto if group.any(scored_proto) else None)


def center_crop(array: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
    """The centre of ... x H x W; where the image is smaller it is padded with ``fill`` at the right and bottom."""
    pads = [(0, 0)] * (array.ndim - 2) + [(0, max(0, n - m)) for n, m in zip(size, array.shape[-2:], strict=True)]
    array = np.pad(array, pads, constant_values=fill)
    top, left = ((m - n) // 2 for n, m in zip(size, array.shape[-2:], strict=True))
    return array[..., top : top + size[0], left : left + size[1]]


def report(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """The JSON of the command line: percent, IoU per class name."""
    scores = evaluation.linear.compute()
    found: dict[str, Any] = {
        "miou": 100 * scores.miou,
        "iou": dict(zip(classes, (100 * scores.iou).tolist(), strict=True)),
        "pixel_accuracy": 100 * scores.pixel_accuracy,
        "label_pixels": dict(zip(classes, evaluation.linear.counts.sum(1).tolist(), strict=True)),
        "proto_miou": None,
        "proto_iou": None,
    }
    if evaluation.proto:
        scores = evaluation.proto.compute()
        found["proto_miou"] = 100 * scores.miou
        found["proto_iou"] = dict(zip(classes, (100 * scores.iou).tolist(), strict=True))
    return found


def print_table(found: dict[str, Any]) -> None:
    """Per-class IoU and both means."""
    width = max(map(len, found["iou"]))
    proto = found.get("proto_iou")
    print(f"{'class':<{width}}  linear" + ("   proto" if proto else ""))
    for name, iou in found["iou"].items():
        print(f"{name:<{width}}  {iou:6.2f}" + (f"  {proto[name]:6.2f}" if proto else ""))
    print(f"{'mIoU':<{width}}  {found['miou']:6.2f}" + (f"  {found['proto_miou']:6.2f}" if proto else ""))


def compare(found: dict[str, Any], expected: ExpectedConfig) -> list[str]:
    """Lines that set the measured scores beside the published ones."""
    lines = []
    for key, name in (("miou", "linear head"), ("proto_miou", "prototype head")):
        published, measured = getattr(expected, key), found[key]
        if published is not None and measured is not None:
            verdict = "as published" if abs(measured - published) <= expected.tolerance else "differs"
            difference = measured - published
            lines.append(f"{name}: measured {measured:.2f}, published {published:.2f}, {difference:+.2f} ({verdict})")
    return lines


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = cli.parser("evaluate")
    parser.add_argument("--config", required=True, help="a config.yaml, or the folder that holds it")
    parser.add_argument("--checkpoint", type=Path, help="default: the run folder's best.ckpt")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write index and colour PNGs of every prediction")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_intermixed_args(argv)
    config, spec = data_build.complete(load(args.config, args.overrides))
    check_outputs(args.save, args.json)
    checkpoint, note = find_checkpoint(args.checkpoint, config, spec)
    loader = build.EvalLoader(config, spec)
    for line in config.notes:
        print(f"note: {line}")
    print(f"device: {set_device(config.device)}")
    print(f"checkpoint: {checkpoint}{note}")
    print(f"images: {len(loader)} of {spec.name}, {config.evaluation.mode}")
    network = for_evaluation(load_network(config, checkpoint), config.trainer.jit)
    writer = PredictionWriter(args.save, spec) if args.save else None
    found = report(evaluate(network, loader, config.evaluation, writer), spec.classes)
    found |= {"checkpoint": str(checkpoint), "images": len(loader), "mode": config.evaluation.mode}
    print_table(found)
    if config.expected:
        for line in compare(found, config.expected):
            print(line)
    if args.json:
        replace_file(args.json, json.dumps(found, indent=1) + "\n")
    return 0


def check_outputs(save: Path | None, json_file: Path | None) -> None:
    """Makes the folders that results go to, so that a wrong path is refused before the work and not after.

    Raises:
        ConfigError: --save holds files, or one of the two cannot be written.
    """
    for option, path, folder in (("--save", save, save), ("--json", json_file, json_file and json_file.parent)):
        if path is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another path for {option}") from None
    if save and any(save.iterdir()):
        raise ConfigError(f"{save}: holds files already; name an empty or new folder for --save")
    if json_file and json_file.is_dir():
        raise ConfigError(f"{json_file}: is a folder; --json expects the name of a file")


def find_checkpoint(named: Path | None, config: Config, spec: DatasetSpec) -> tuple[Path, str]:
    """The checkpoint that a command line named, else the best.ckpt of this configuration's run; and a remark on it.

    Raises:
        CheckpointError: none was named and there is none.
    """
    if named:
        return named, ""
    return find_best(data_build.run_folder(config, spec) / config.saver.snapshot_dir / "best.ckpt")


if __name__ == "__main__":
    sys.exit(cli.run(main))
