"""A checkpoint in the form of best.ckpt: ``semiseg convert-checkpoint IN OUT``.

IN: U2PL's .pth, a PyTorch state dict, a run's last.ckpt, the authors' best.ckpt, or ImageNet weights of an encoder.
OUT: a .ckpt with the names of best.ckpt, which every command here reads. Without --config the network is read from the
shapes in IN. Exit code 2, and nothing is written, where anything is missing, unexpected or of another shape.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mindspore import Tensor

from semiseg import cli
from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.identity import identity_of, recorded, require_same
from semiseg.checkpoints.match import match, shapes_of
from semiseg.common.errors import CheckpointError
from semiseg.common.outputs import Output, check_outputs
from semiseg.config import flatten, load
from semiseg.data import build
from semiseg.interop.architecture import infer_encoder, infer_network
from semiseg.interop.averaged import Which
from semiseg.interop.network_files import NetworkFile, check_values, read_network_file, with_zero_bias
from semiseg.interop.torch_names import IGNORABLE_BACKBONE, IGNORABLE_U2PL
from semiseg.models import build_encoder, build_model

Shapes = dict[str, tuple[int, ...]]
_WHICH: dict[str, Which] = {"teacher": "teacher", "ema": "teacher", "student": "student", "model": "student"}


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = cli.parser("convert-checkpoint", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="IN", type=Path, help=".pth, .safetensors or .ckpt")
    parser.add_argument("target", metavar="OUT", type=Path, help="the .ckpt to write")
    parser.add_argument("--config", metavar="F", help="match against this configuration's network")
    parser.add_argument(
        "--which",
        choices=list(_WHICH),
        help="network of a file with several: teacher or ema, the averaged weights (default), student or model, the "
        "trained ones",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    args = parser.parse_args(argv)
    _check_target(args.source, args.target, args.overwrite)
    file = read_network_file(args.source, _WHICH.get(args.which))
    name, shapes = _expected(args.config, file, args.source)
    arrays = with_zero_bias(file.state, shapes)
    report = match(shapes_of(arrays), shapes, (*IGNORABLE_U2PL, *IGNORABLE_BACKBONE))
    print(f"network: {name}{f' ({file.note})' if file.note else ''}")
    print(report.table())
    report.require_complete(str(args.source))
    check_values(arrays, report, args.source)
    tensors = {checkpoint_io.PREFIX + key: Tensor(np.asarray(arrays[key], np.float32)) for key in report.matched}
    record = recorded({"converted_from": args.source.name}, file.identity)
    checkpoint_io.save(args.target, tensors, record)
    print(f"written: {args.target}")
    return 0


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != ".ckpt":
        raise CheckpointError(f"{target}: expected a name that ends in .ckpt; only MindSpore's format is written")
    output = Output("OUT", target, replace=overwrite, otherwise=", or replace it with --overwrite")
    check_outputs([output], [source])


def _expected(config: str | None, file: NetworkFile, source: Path) -> tuple[str, Shapes]:
    """A description of the network and the shape of each of its parameters."""
    arrays = file.state
    if config:
        whole, spec = build.complete(load(config))
        require_same(file.identity, identity_of(flatten(whole), spec.classes), str(source), "leave --config out")
        net = whole.net
    elif not any(name.startswith("decoder.") for name in arrays):
        kind = infer_encoder(arrays, str(source))
        encoder = build_encoder(kind)
        return f"{kind.type} encoder", {f"encoder.{name}": p.shape for name, p in encoder.parameters_and_names()}
    else:
        net = infer_network(arrays, str(source))
    heads = ["linear", *(["auxiliary"] if net.aux_loss else []), *(["prototype"] if net.proto_head else [])]
    described = f"{net.encoder.type}, {net.num_classes} classes, heads: {', '.join(heads)}"
    return described, {name: p.shape for name, p in build_model(net).parameters_and_names()}
