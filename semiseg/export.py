"""A trained network as ONNX or MindIR: ``python -m semiseg.export --config F --format onnx|mindir --out FILE``.

Beside FILE goes FILE.json: what the input must look like, what the output means, class names and colours.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg import __version__, cli
from semiseg.common.errors import ConfigError
from semiseg.common.files import replace_file
from semiseg.common.outputs import Output, check_outputs, make_folders
from semiseg.config.keys import Config, EvaluationConfig
from semiseg.engine.device import set_device
from semiseg.evaluate import TrainedNetwork, add_network_options, inputs_of, named_network
from semiseg.inference.export import exported, verify
from semiseg.inference.exportable import HEADS, ExportableNetwork

_FORMATS = ("onnx", "mindir")
_MEANINGS = {"linear": "linear", "proto": "prototype"}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("export")
    add_network_options(parser)
    parser.add_argument("--format", choices=_FORMATS, required=True)
    parser.add_argument(
        "--head",
        choices=HEADS,
        default="linear",
        help="whose logits come out (%(default)s); both: two outputs",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the file to write; FILE.json beside it"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="the input's size, which is fixed (default: the sliding window, else the training crop)",
    )
    parser.add_argument("--overwrite", action="store_true", help="FILE and FILE.json may be replaced")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    args = parse(argv)
    ending = args.out.suffix.lower().removeprefix(".")
    if ending in _FORMATS and ending != args.format:
        raise ConfigError(f"--out {args.out}: ends as another format does; --format {ending}, or give it another name")
    trained = named_network(args)
    config = trained.config
    size = tuple(args.size or default_size(config))
    if min(size) < 1:
        raise ConfigError(f"--size: expected height and width of at least 1 px, got {size[0]} {size[1]}")
    if "proto" in HEADS[args.head] and config.net.proto_head is None:
        raise ConfigError(
            f"--head {args.head}: this network has no prototype head (net.proto_head is null, or it "
            "is of the supervised phase); --head linear"
        )
    outputs = outputs_of(args)
    check_outputs(outputs, inputs_of(args, trained.checkpoint))
    set_device(config.device)
    network = trained.load()
    make_folders(outputs)
    content = exported(ExportableNetwork(network, size, args.head), size, args.format)
    checked = verify(content, network, size, args.format, args.head)
    replace_file(args.out, content)
    replace_file(about_path(args.out), json.dumps(about(trained, args, size), indent=1) + "\n")
    print("\n".join(trained.lines()))
    print(f"{args.out}: {args.format}, input 1 x 3 x {size[0]} x {size[1]}, {checked}")
    return 0


def default_size(config: Config) -> tuple[int, int]:
    """What the network sees in evaluation by windows, else in training."""
    return config.evaluation.crop_size if config.evaluation.mode == "slide" else config.dataset.train.crop.size


def about_path(out: Path) -> Path:
    """The file that describes the exported one."""
    return out.with_name(f"{out.name}.json")


def _sizing(scoring: EvaluationConfig, size: tuple[int, ...]) -> str:
    """How an image becomes the input; of what size the network knows images, where that is not the size they have."""
    height, width = size
    factors = " and ".join(f"{scale:g}" for scale in scoring.scales)
    resized = "" if scoring.scales == (1.0,) else f"images resized by {factors} (evaluation.scales)"
    if scoring.mode != "slide":
        note = f"; the network was scored on {resized}" if resized else ""
        return f"bring to {height} x {width} pixels (height x width){note}"
    if scoring.base_size:
        sides = " and ".join(f"{scale * scoring.base_size:g}" for scale in scoring.scales)
        resized = f"images whose long side is brought to {sides} pixels (evaluation.base_size)"
    down, right = (math.ceil(side * scoring.stride_rate) for side in size)
    return (
        f"cut windows of {height} x {width} pixels (height x width) out of {resized or 'the image'}, every {down} "
        f"pixels down and {right} to the right, the last at the borders, and average their {scoring.average} where "
        "they overlap: so the network was scored, not on whole images of this size"
    )


def outputs_of(args: argparse.Namespace) -> list[Output]:
    """FILE and FILE.json."""
    otherwise = ", or replace it with --overwrite"
    files = (args.out, about_path(args.out))
    return [Output("--out", path, replace=args.overwrite, otherwise=otherwise) for path in files]


def about(trained: TrainedNetwork, args: argparse.Namespace, size: tuple[int, ...]) -> dict[str, Any]:
    """What FILE.json says."""
    config, spec = trained.config, trained.spec
    outputs = [
        {"shape": [1, spec.num_classes, *size], "type": "float32", "meaning": f"logits of the {_MEANINGS[name]} head"}
        for name in HEADS[args.head]
    ]
    if args.head != "linear":  # the linear head alone keeps the name that MindSpore gives it
        outputs = [{"name": name, **output} for name, output in zip(HEADS[args.head], outputs, strict=True)]
    return {
        "file": args.out.name,
        "format": args.format,
        "made_by": f"semiseg {__version__}",
        "method": config.method,
        "checkpoint": trained.checkpoint.name,
        "input": {"name": "x", "shape": [1, 3, *size], "type": "float32"},
        "preprocessing": [
            "decode to RGB, 8 bits a channel, upright",
            _sizing(config.evaluation, size),
            "subtract mean, divide by std, channel by channel",
            "order as 1 x 3 x height x width",
        ],
        "mean": list(config.dataset.mean),
        "std": list(config.dataset.std),
        "output": outputs[0],
        **({"outputs": outputs} if len(outputs) > 1 else {}),
        "postprocessing": ["argmax over axis 1 is the class index; softmax over axis 1 gives probabilities"],
        "classes": list(spec.classes),
        "colors": [list(color) for color in spec.palette],
    }


if __name__ == "__main__":
    sys.exit(cli.run(main))
