"""Look at prototypes: python tools/show_prototypes.py --config F [--checkpoint C] --out FILE.html (see --help).

One page with the image patches nearest to each prototype of each class, and features and prototypes in a plane.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works in a clone that was never installed

import semiseg  # noqa: E402, F401, I001  (before mindspore: it sets what MindSpore reads at its own import)

import numpy as np  # noqa: E402
from mindspore import Tensor  # noqa: E402
from tqdm import tqdm  # noqa: E402

from semiseg import cli  # noqa: E402
from semiseg.data import build as data_build  # noqa: E402
from semiseg.config import load  # noqa: E402
from semiseg.config.keys import Config  # noqa: E402
from semiseg.data.dataset import SegmentationDataset  # noqa: E402
from semiseg.data.loaders import eval_samples  # noqa: E402
from semiseg.data.specs import DatasetSpec  # noqa: E402
from semiseg.data.transforms import normalize  # noqa: E402
from semiseg.engine.device import set_device  # noqa: E402
from semiseg.common.errors import ConfigError  # noqa: E402
from semiseg.evaluate import find_checkpoint, load_network  # noqa: E402
from semiseg.common.files import replace_file  # noqa: E402
from semiseg.models import SegmentationNetwork  # noqa: E402
from semiseg.reporting.html import check_out  # noqa: E402
from semiseg.reporting.prototypes import Nearest, normalised, render  # noqa: E402
from semiseg.common.rng import generator  # noqa: E402

_PIXELS_A_CLASS = 200  # in the plane


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="show_prototypes.py", description="Look at the prototypes of a run.")
    parser.add_argument("--config", required=True, help="a config.yaml, or the folder that holds it")
    parser.add_argument("--checkpoint", type=Path, help="default: the run folder's best.ckpt")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page to write")
    parser.add_argument("--part", choices=("labeled", "val"), default="val", help="which images (%(default)s)")
    parser.add_argument("--images", type=int, default=300, metavar="N", help="look at the first N (%(default)s)")
    parser.add_argument("--nearest", type=int, default=8, metavar="N", help="patches a prototype (%(default)s)")
    parser.add_argument("--patch", type=int, default=48, metavar="PX", help="side of a patch (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    return parser.parse_intermixed_args(arguments)


def check_request(args: argparse.Namespace, config: Config) -> None:
    """Raises ConfigError for numbers below 1, a network without prototypes, or a file that is not ours to replace."""
    for name in ("images", "nearest", "patch"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name}: expected at least 1, got {getattr(args, name)}")
    if config.net.proto_head is None:
        raise ConfigError("net.proto_head: this network has no prototypes; name the configuration of one that has")
    check_out(args.out, "page")


def dataset_of(args: argparse.Namespace, config: Config, spec: DatasetSpec) -> SegmentationDataset:
    """The first images of the wanted part, with their masks."""
    split = data_build.read_split(config, spec)
    ids = split.val if args.part == "val" else split.labeled
    return data_build.dataset(config, spec, ids[: args.images], "val" if args.part == "val" else "train")


def feature_pixels(size: tuple[int, int], source: tuple[int, int]) -> np.ndarray:
    """For each cell of a map of ``source`` h x w, row by row, the pixel (row, column) of the H x W image under it."""
    rows, cols = (np.rint(np.linspace(0, n - 1, m)).astype(int) for n, m in zip(size, source, strict=True))
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).reshape(-1, 2)


def look(
    network: SegmentationNetwork, data: SegmentationDataset, nearest: Nearest, config: Config, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shows every image to ``nearest``; returns features N x D and labels N for the plane, as many of each class."""
    prototypes = normalised(network.proto_net.proto_list.asnumpy())
    kept: list[list[np.ndarray]] = [[] for _ in range(classes)]
    share = max(1, -(-4 * _PIXELS_A_CLASS // len(data)))  # of one image, so that not all come from the first ones
    samples = enumerate(eval_samples(data, config.dataset.workers))
    for index, (name, image, mask) in tqdm(samples, total=len(data), desc="images", unit="image", disable=None):
        x = normalize(image, config.dataset.mean, config.dataset.std)
        feature = network.feature(Tensor(x[None])).asnumpy()[0]
        rows = feature.reshape(len(feature), -1).T
        pixels = feature_pixels(mask.shape, feature.shape[1:])
        nearest.add(name, image, mask, pixels, normalised(rows) @ prototypes.T)
        labels = mask[pixels[:, 0], pixels[:, 1]]
        for class_id in np.unique(labels[labels < classes]):
            there = np.flatnonzero(labels == class_id)
            rng = generator(config.trainer.seed, "show_prototypes", index, int(class_id))
            kept[class_id].append(rows[rng.permutation(there)[:share]])
    found = [np.concatenate(parts)[:_PIXELS_A_CLASS] if parts else np.zeros((0, prototypes.shape[1])) for parts in kept]
    return np.concatenate(found), np.repeat(np.arange(classes), [len(part) for part in found])


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    args = parse(arguments)
    config, spec = data_build.complete(load(args.config, args.overrides))
    check_request(args, config)
    data = dataset_of(args, config, spec)
    checkpoint, _ = find_checkpoint(args.checkpoint, config, spec)
    set_device(config.device)
    network = load_network(config, checkpoint)
    prototypes = network.proto_net.proto_list.asnumpy()
    nearest = Nearest(len(prototypes), args.nearest, args.patch)
    features = look(network, data, nearest, config, spec.num_classes)
    title = f"Prototypes of {checkpoint.name}, {len(data)} images of {spec.name} ({args.part})"
    replace_file(args.out, render(title, spec, nearest, features, prototypes))
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
