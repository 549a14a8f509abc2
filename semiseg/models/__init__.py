"""Networks: ``build_model(net_cfg)`` makes the one that ``config.keys.NetConfig`` describes."""

from mindspore import nn

from semiseg.common.errors import ConfigError
from semiseg.config.keys import EncoderConfig, NetConfig
from semiseg.models.deeplabv3plus import AuxHead, Decoder, Output, SegmentationNetwork
from semiseg.models.efficientnet_lite import EfficientNetLite
from semiseg.models.encoder import Encoder, Norm
from semiseg.models.layers import frozen_norm, synchronised_norm
from semiseg.models.prototypes import PrototypeHead
from semiseg.models.resnet import DEPTHS, ResNet
from semiseg.models.unimatch_decoder import UniMatchDecoder

__all__ = ["Output", "SegmentationNetwork", "build_encoder", "build_model"]

DECODERS = {"dec_deeplabv3_plus": Decoder, "dec_unimatch": UniMatchDecoder}


def build_model(cfg: NetConfig, world: int = 1) -> SegmentationNetwork:
    """A network with fresh weights (drawn from MindSpore's global seed), in evaluation mode.

    ``world``: the number of devices it is trained on together, for net.sync_bn.

    Raises:
        ConfigError: num_classes is not set.
    """
    if cfg.num_classes is None:
        raise ConfigError("net.num_classes: expected the number of classes; build.complete takes it from the data set")
    norm = synchronised_norm(world) if cfg.sync_bn and world > 1 else nn.BatchNorm2d
    encoder = build_encoder(cfg.encoder, frozen_norm if cfg.encoder.freeze_bn else norm)
    low, _, middle, high = encoder.out_planes
    decoder = DECODERS[cfg.decoder.type](low, high, cfg.num_classes, cfg.decoder.kwargs, norm)
    auxor = proto_net = None
    if cfg.aux_loss:
        auxor = AuxHead(middle, cfg.num_classes, cfg.decoder.kwargs.inner_planes, norm)
    if head := cfg.proto_head:
        proto_net = PrototypeHead(cfg.num_classes, head.num_micro_proto, decoder.out_planes, head.temperature)
    network = SegmentationNetwork(encoder, decoder, auxor, proto_net)
    for name, parameter in network.parameters_and_names():
        parameter.name = name
    return network.set_train(False)


def build_encoder(cfg: EncoderConfig, norm: Norm = nn.BatchNorm2d) -> Encoder:
    """The encoder alone, with fresh weights. ``norm`` makes the normalisation layer of a channel count."""
    options = cfg.kwargs
    if cfg.type == "efficientnet_lite0":
        return EfficientNetLite(dilate=options.replace_stride_with_dilation, norm=norm)
    block, depths = DEPTHS[cfg.type]
    return ResNet(
        block,
        depths,
        stem=options.stem,
        width=options.width,
        dilate=options.replace_stride_with_dilation,
        multi_grid=options.multi_grid,
        pool_ceil=options.pool_ceil,
        zero_init_residual=options.zero_init_residual,
        norm=norm,
    )
