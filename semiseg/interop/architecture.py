"""Which network a checkpoint belongs to, read from the shapes in it."""

from collections.abc import Mapping
from typing import NoReturn

from semiseg.checkpoints.match import Shaped, count_numbered, pool_norm_in, resnet_blocks, shapes_of, stem_of
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
from semiseg.models.efficientnet_lite import STAGES
from semiseg.models.resnet import DEPTHS, Bottleneck

_REP_HEAD = "decoder.representation.8.weight"
_FUSED = "decoder.fuse.0.weight"


def infer_network(arrays: State, source: str) -> NetConfig:
    """The network whose parameters have the names and shapes of ``arrays`` (under our names).

    Strides, dilation rates and temperatures leave no trace in a checkpoint; they have the published values here. What
    this says is a guess to be checked: comparing every name and shape with the built network is the caller's.

    Raises:
        CheckpointError: no DeepLabv3+ on a known encoder.
    """
    shapes = shapes_of(arrays)
    if _FUSED in shapes:
        return _unimatch_network(arrays, source)
    try:
        num_classes, planes = shapes["decoder.classifier.8.weight"][0], shapes["decoder.head.0.weight"][0]
    except KeyError as error:
        _unknown(source, f"no {error.args[0]}")
    branches = count_numbered(shapes, "decoder.aspp.conv")
    proto = shapes.get("proto_net.proto_list")
    if branches < 2 or (proto and (len(proto) != 2 or proto[0] % num_classes)):
        _unknown(source, f"{branches} ASPP branches, prototypes {proto}, {num_classes} classes")
    return NetConfig(
        num_classes=num_classes,
        encoder=infer_encoder(arrays, source),
        decoder=DecoderConfig(
            kwargs=DecoderKwargs(
                inner_planes=planes,
                dilations=_dilations(branches - 2),
                pool_norm=pool_norm_in(shapes) is not False,
                rep_head=_REP_HEAD in shapes,
            )
        ),
        aux_loss=AuxLossConfig() if "auxor.aux.0.weight" in shapes else None,
        proto_head=ProtoHeadConfig(num_micro_proto=proto[0] // num_classes) if proto else None,
    )


def _unimatch_network(arrays: State, source: str) -> NetConfig:
    """As UniMatch publishes them: output stride 16, ASPP 6/12/18, no multi-grid, pooling that rounds down."""
    shapes = shapes_of(arrays)
    if "decoder.classifier.weight" not in shapes or "decoder.head.project.0.weight" not in shapes:
        _unknown(source, "decoder.fuse.0.weight without decoder.classifier.weight and decoder.head.project.0.weight")
    rates = count_numbered(shapes, "decoder.head.b") - 2
    encoder = infer_encoder(arrays, source)
    options = {"multi_grid": False, "replace_stride_with_dilation": (False, False, True), "pool_ceil": False}
    kwargs = DecoderKwargs(
        inner_planes=shapes["decoder.head.project.0.weight"][0],
        dilations=tuple(6 * (index + 1) for index in range(rates)),
        pool_norm=pool_norm_in(shapes) is not False,
    )
    return NetConfig(
        num_classes=shapes["decoder.classifier.weight"][0],
        encoder=encoder.model_copy(update={"kwargs": encoder.kwargs.model_copy(update=options)}),
        decoder=DecoderConfig(type="dec_unimatch", kwargs=kwargs),
    )


def infer_encoder(arrays: Mapping[str, Shaped], source: str) -> EncoderConfig:
    """The encoder whose parameters are among ``arrays``; a ResNet's type by the blocks of each stage.

    Raises:
        CheckpointError: there is none, or none of a known kind.
    """
    if "encoder.conv_stem.weight" in arrays:
        blocks = count_numbered(arrays, "encoder.blocks.")
        if blocks != sum(stage.depth for stage in STAGES):
            _unknown(source, f"an EfficientNet of {blocks} blocks")
        return EncoderConfig(type="efficientnet_lite0")
    stem = stem_of(arrays)
    if stem is None:
        _unknown(source, "no encoder.conv1.0.weight or encoder.conv1.weight")
    first = arrays["encoder.conv1.weight" if stem == "conv7" else "encoder.conv1.0.weight"]
    return EncoderConfig(type=_resnet(arrays, source), kwargs=EncoderKwargs(stem=stem, width=first.shape[0]))


def _resnet(arrays: Mapping[str, Shaped], source: str) -> str:
    blocks, bottleneck = resnet_blocks(arrays)
    for name, (block, depths) in DEPTHS.items():
        if depths == blocks and (block is Bottleneck) == bottleneck:
            return name
    _unknown(source, f"stages of {blocks} {'bottleneck' if bottleneck else 'basic'} blocks")


def _dilations(count: int) -> tuple[int, ...]:
    return tuple(12 * (index + 1) for index in range(count))


def _unknown(source: str, seen: str) -> NoReturn:
    known = ", ".join((*DEPTHS, "efficientnet_lite0"))
    raise CheckpointError(f"{source}: expected a DeepLabv3+ network or an encoder ({known}); found {seen}")
