"""Which network a checkpoint belongs to, read from the shapes in it."""

from typing import NoReturn

from semiseg.checkpoints.match import count_numbered, shapes_of
from semiseg.common.errors import CheckpointError
from semiseg.config.keys import (
    AuxLossConfig,
    DecoderConfig,
    DecoderKwargs,
    EncoderConfig,
    EncoderKwargs,
    NetConfig,
    ProtoHeadConfig,
)
from semiseg.interop.averaged import State
from semiseg.models.resnet import DEPTHS, Bottleneck

_REP_HEAD = "decoder.representation.8.weight"


def infer_network(arrays: State, source: str) -> NetConfig:
    """The network whose parameters have the names and shapes of ``arrays`` (under our names).

    Strides, dilation rates and temperatures leave no trace in a checkpoint; they have the published values here. What
    this says is a guess to be checked: comparing every name and shape with the built network is the caller's.

    Raises:
        CheckpointError: no DeepLabv3+ on a ResNet of a known depth.
    """
    shapes = shapes_of(arrays)
    try:
        num_classes, planes = shapes["decoder.classifier.8.weight"][0], shapes["decoder.head.0.weight"][0]
        width = shapes["encoder.conv1.0.weight"][0]
    except KeyError as error:
        _unknown(source, f"no {error.args[0]}")
    branches = count_numbered(shapes, "decoder.aspp.conv")
    proto = shapes.get("proto_net.proto_list")
    if branches < 2 or (proto and (len(proto) != 2 or proto[0] % num_classes)):
        _unknown(source, f"{branches} ASPP branches, prototypes {proto}, {num_classes} classes")
    return NetConfig(
        num_classes=num_classes,
        encoder=EncoderConfig(type=encoder_type(arrays, source), kwargs=EncoderKwargs(width=width)),
        decoder=DecoderConfig(
            kwargs=DecoderKwargs(inner_planes=planes, dilations=_dilations(branches - 2), rep_head=_REP_HEAD in shapes)
        ),
        aux_loss=AuxLossConfig() if "auxor.aux.0.weight" in shapes else None,
        proto_head=ProtoHeadConfig(num_micro_proto=proto[0] // num_classes) if proto else None,
    )


def encoder_type(arrays: State, source: str) -> str:
    """resnet18, resnet50 or resnet101, by the blocks of each stage. Raises CheckpointError for any other."""
    blocks = tuple(count_numbered(arrays, f"encoder.layer{stage}.") for stage in (1, 2, 3, 4))
    bottleneck = "encoder.layer1.0.conv3.weight" in arrays
    for name, (block, depths) in DEPTHS.items():
        if depths == blocks and (block is Bottleneck) == bottleneck:
            return name
    _unknown(source, f"stages of {blocks} {'bottleneck' if bottleneck else 'basic'} blocks")


def _dilations(count: int) -> tuple[int, ...]:
    return tuple(12 * (index + 1) for index in range(count))


def _unknown(source: str, seen: str) -> NoReturn:
    known = ", ".join(DEPTHS)
    raise CheckpointError(
        f"{source}: expected a DeepLabv3+ network or an encoder, a deep-stem ResNet ({known}); found {seen}"
    )
