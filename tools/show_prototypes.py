"""Look at prototypes: python tools/show_prototypes.py [--config F] [--checkpoint C] --out FILE.html (see --help).

One page with the image patches nearest to each prototype of each class, and features and prototypes in a plane; with
--per-class an overview and a page for each class.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed

from semiseg import cli
from semiseg.common.errors import ConfigError
from semiseg.common.files import replace_file
from semiseg.config.keys import Config
from semiseg.data import build as data_build
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.lists import read_split
from semiseg.data.loaders import eval_samples
from semiseg.data.specs import DatasetSpec
from semiseg.data.transforms import normalize
from semiseg.engine.device import set_device
from semiseg.evaluate import add_network_options, named_network
from semiseg.inference.logits import scaled_size
from semiseg.models.interpolate import resize
from semiseg.reporting.prototypes import (
    FeatureSample,
    Nearest,
    class_groups,
    look,
    page_name,
    render_class,
    render_prototypes,
)
from semiseg.reporting.templates import check_out


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="show_prototypes.py", description="Look at the prototypes of a run.")
    add_network_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page to write")
    parser.add_argument("--per-class", action="store_true", help="a page a class, in a folder beside FILE")
    parser.add_argument("--part", choices=("labeled", "val"), default="val", help="which images (%(default)s)")
    parser.add_argument("--images", type=int, default=300, metavar="N", help="look at the first N (%(default)s)")
    parser.add_argument("--nearest", type=int, default=8, metavar="N", help="patches a prototype (%(default)s)")
    parser.add_argument("--patch", type=int, default=48, metavar="PX", help="side of a patch (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    return parser.parse_intermixed_args(arguments)


def check_request(args: argparse.Namespace, config: Config, spec: DatasetSpec) -> None:
    """Raises ConfigError for numbers below 1, a network without prototypes, or a file that is not ours to replace."""
    for name in ("images", "nearest", "patch"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name}: expected at least 1, got {getattr(args, name)}")
    if config.net.proto_head is None:
        raise ConfigError(
            "net.proto_head: this network has no prototypes (or is of the supervised phase); name one that has"
        )
    for path in (args.out, *class_pages(args, spec.classes)):
        check_out(path, "page")


def class_pages(args: argparse.Namespace, classes: Sequence[str]) -> list[Path]:
    """Where the page of each class goes; nothing without --per-class."""
    folder = args.out.with_name(f"{args.out.stem}_classes")
    return [folder / page_name(index, name) for index, name in enumerate(classes)] if args.per_class else []


def dataset_of(args: argparse.Namespace, config: Config, spec: DatasetSpec) -> SegmentationDataset:
    """The first images of the wanted part, with their masks."""
    split = read_split(config, spec)
    ids = split.val if args.part == "val" else split.labeled
    return data_build.dataset(config, spec, ids[: args.images], "val" if args.part == "val" else "train")


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    from mindspore import Tensor  # after semiseg, which sets what MindSpore reads at its own import

    args = parse(arguments)
    trained = named_network(args)
    config, spec, checkpoint = trained.config, trained.spec, trained.checkpoint
    check_request(args, config, spec)
    data = dataset_of(args, config, spec)
    set_device(config.device)
    network = trained.load()
    prototypes = network.proto_net.proto_list.asnumpy()
    nearest = Nearest(len(prototypes), args.nearest, args.patch)
    sample = FeatureSample(spec.num_classes, len(data), config.trainer.seed)
    samples = eval_samples(data, config.dataset.workers)
    samples = tqdm(samples, total=len(data), desc="images", unit="image", disable=None)

    scale = sorted(config.evaluation.scales)[len(config.evaluation.scales) // 2]

    def feature(image: np.ndarray) -> np.ndarray:
        x = Tensor(normalize(image, config.dataset.mean, config.dataset.std)[None])
        size = scaled_size(*image.shape[:2], scale, config.evaluation)  # as it is scored
        return network.feature(x if size == image.shape[:2] else resize(x, size)).asnumpy()[0]

    look(samples, feature, prototypes, nearest, sample)
    title = f"Prototypes of {checkpoint.name}, {len(data)} images of {spec.name} ({args.part})"
    title += f" at {scale:g} of their size" if scale != 1 else ""
    pages = class_pages(args, spec.classes)
    groups = class_groups(spec, nearest) if pages else []
    for place, group in enumerate(groups):
        replace_file(pages[0].with_name(group["file"]), render_class(title, groups, place, args.out.name))
    folder = pages[0].parent.name if pages else ""
    replace_file(args.out, render_prototypes(title, spec, nearest, sample.result(), prototypes, folder))
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
