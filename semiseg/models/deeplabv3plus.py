"""The DeepLabv3+ decoder, the auxiliary head, and the whole segmentation network.

Names of cells are U2PL's. Shapes: B batch, H x W input, h x w = H/4 x W/4 (the decoder's size), D = 2 * inner planes.
Dropout draws nothing by itself: training passes the masks in (B x channels x 1 x 1, 0 or 1/(1-p)), so that a step is a
function of its inputs.
"""

from collections import namedtuple

from mindspore import Tensor, nn, ops

from semiseg.config.keys import DecoderKwargs
from semiseg.models.encoder import Encoder, Norm
from semiseg.models.interpolate import resize
from semiseg.models.layers import Conv3x3, ImagePool
from semiseg.models.precision import Conv2d, as_float32, as_like
from semiseg.models.prototypes import PrototypeHead
from semiseg.models.resnet import conv1x1

Output = namedtuple("Output", ["pred", "rep", "aux", "proto"])
Output.__doc__ = """What the network returns: ``pred`` B x C x h x w logits of the linear head; ``rep`` B x D x h x w,
the feature that the prototype head compares; ``aux`` B x C logits at layer3's size and ``proto`` B x C x H x W logits
of the prototype head, each None where the network has no such head."""


def conv_norm(in_planes: int, planes: int, dilation: int, norm: Norm) -> nn.SequentialCell:
    """A 3x3 convolution of this dilation, or 1x1 for dilation 0, with its norm and ReLU."""
    conv = Conv3x3(in_planes, planes, 1, dilation) if dilation else conv1x1(in_planes, planes)
    return nn.SequentialCell(conv, norm(planes), nn.ReLU())


def pooling_branch(in_planes: int, planes: int, norm: Norm, pool_norm: bool) -> nn.SequentialCell:
    """The mean over the map, a 1x1 convolution with its norm, or with a bias in its place, and ReLU.

    That norm sees one number an image: in training over B images it knows each channel by B numbers alone (with two
    images by their order), and in evaluation takes averages of such. On a step of 2 images it learns next to nothing.
    """
    conv = (conv1x1(in_planes, planes), norm(planes)) if pool_norm else (_biased_conv(in_planes, planes, 1),)
    return nn.SequentialCell(ImagePool(), *conv, nn.ReLU())


def _biased_conv(in_planes: int, planes: int, kernel: int) -> Conv2d:
    return Conv2d(in_planes, planes, kernel, padding=kernel // 2, bias=True)


class ASPP(nn.Cell):
    """Atrous spatial pyramid pooling: image pooling, 1x1, and a 3x3 for each dilation, concatenated.

    Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017.
    """

    def __init__(self, in_planes: int, kwargs: DecoderKwargs, norm: Norm):
        super().__init__()
        planes, dilations = kwargs.inner_planes, kwargs.dilations
        self.conv1 = pooling_branch(in_planes, planes, norm, kwargs.pool_norm)
        self.conv2 = conv_norm(in_planes, planes, 0, norm)
        for index, dilation in enumerate(dilations):
            setattr(self, f"conv{index + 3}", conv_norm(in_planes, planes, dilation, norm))
        self.dilated = [getattr(self, f"conv{index + 3}") for index in range(len(dilations))]
        self.out_planes = (len(dilations) + 2) * planes

    def construct(self, x: Tensor) -> Tensor:
        # A float16 sum over a map could overflow.
        branches = (resize(self.conv1(as_float32(x)), x.shape[2:]), self.conv2(x))
        for branch in self.dilated:
            branches = (*branches, branch(x))
        return ops.concat(branches, 1)


class Decoder(nn.Cell):
    """``dec_deeplabv3_plus``: encoder maps -> (logits, feature), both at layer1's size.

    With ``kwargs.rep_head`` also U2PL's representation head, of the classifier's shape: ``represent``.
    """

    def __init__(self, low_planes: int, high_planes: int, num_classes: int, kwargs: DecoderKwargs, norm: Norm):
        super().__init__()
        planes = kwargs.inner_planes
        self.low_conv = nn.SequentialCell(_biased_conv(low_planes, planes, 1), norm(planes), nn.ReLU())
        self.aspp = ASPP(high_planes, kwargs, norm)
        self.head = nn.SequentialCell(Conv3x3(self.aspp.out_planes, planes), norm(planes), nn.ReLU())
        self.classifier = _pixel_head(2 * planes, planes, num_classes, norm)
        self.representation = _pixel_head(2 * planes, planes, planes, norm) if kwargs.rep_head else None
        # Channels of each dropout mask: ASPP's head, twice in the classifier, twice in the representation head.
        self.dropout_planes = (planes,) * (5 if kwargs.rep_head else 3)
        self.out_planes, self.rep_planes = 2 * planes, planes

    def construct(self, low: Tensor, high: Tensor, masks: tuple | None = None) -> tuple[Tensor, Tensor]:
        feature = self.feature(low, high, masks)
        logits = _apply_head(self.classifier, feature, None if masks is None else masks[1:3])
        return logits, as_float32(feature)

    def feature(self, low: Tensor, high: Tensor, masks: tuple | None = None) -> Tensor:
        """What the classifier reads: encoder maps -> B x D x h x w."""
        head = self.head(self.aspp(high))
        if masks is not None:
            head = as_like(head * masks[0], head)
        low = self.low_conv(low)
        return ops.concat((low, resize(head, low.shape[2:])), 1)

    def represent(self, feature: Tensor, masks: tuple | None = None) -> Tensor:
        """B x D x h x w feature -> B x inner planes x h x w; ``masks``: all of the network's, or None."""
        return _apply_head(self.representation, feature, None if masks is None else masks[3:5])


def _pixel_head(in_planes: int, planes: int, out_planes: int, norm: Norm) -> nn.SequentialCell:
    """3x3, 3x3, 1x1. Index 3 and 7 are the published networks' Dropout2d; here the masks come from outside."""
    return nn.SequentialCell(
        _biased_conv(in_planes, planes, 3),
        norm(planes),
        nn.ReLU(),
        nn.Identity(),
        _biased_conv(planes, planes, 3),
        norm(planes),
        nn.ReLU(),
        nn.Identity(),
        _biased_conv(planes, out_planes, 1),
    )


def _apply_head(head: nn.SequentialCell, x: Tensor, masks: tuple | None) -> Tensor:
    x = head[2](head[1](head[0](x)))
    if masks is not None:
        x = as_like(x * masks[0], x)
    x = head[6](head[5](head[4](x)))
    if masks is not None:
        x = as_like(x * masks[1], x)
    return as_float32(head[8](x))


class AuxHead(nn.Cell):
    """``auxor``: logits from layer3's map, for the auxiliary loss."""

    def __init__(self, in_planes: int, num_classes: int, planes: int, norm: Norm):
        super().__init__()
        self.aux = nn.SequentialCell(
            _biased_conv(in_planes, planes, 3),
            norm(planes),
            nn.ReLU(),
            nn.Identity(),
            _biased_conv(planes, num_classes, 1),
        )
        self.dropout_planes = (planes,)

    def construct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.aux[2](self.aux[1](self.aux[0](x)))
        if mask is not None:
            x = as_like(x * mask, x)
        return as_float32(self.aux[4](x))


class SegmentationNetwork(nn.Cell):
    """Encoder, decoder and the optional heads. Calling it on B x 3 x H x W gives an ``Output``."""

    def __init__(self, encoder: Encoder, decoder: nn.Cell, auxor: AuxHead | None, proto_net: PrototypeHead | None):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.auxor = auxor
        self.proto_net = proto_net
        # Channels of each dropout mask that ``forward`` takes, in order: decoder, then auxiliary head.
        self.dropout_planes = decoder.dropout_planes + (auxor.dropout_planes if auxor else ())

    def construct(self, x: Tensor) -> Output:
        return Output(*self.outputs(x))

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """The fields of ``Output``; a graph cannot return that itself for more than one size of x."""
        pred, feature, aux = self.forward(x)
        proto = None if self.proto_net is None else self.proto_net.dense(feature, x.shape[2:])
        return pred, feature, aux, proto

    def feature_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of ``pred`` and ``rep`` for an input: those of the encoder's first map."""
        return self.encoder.low_size(height, width)

    def forward(self, x: Tensor, masks: tuple | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits, feature and auxiliary logits (None without that head); the part that training compiles.

        Args:
            x: B x 3 x H x W, normalised.
            masks: one dropout mask for each of ``dropout_planes``; None for no dropout.
        """
        low, _, middle, high = self.encoder(x)
        pred, feature = self.decoder(low, high, masks)
        aux = None
        if self.auxor is not None:
            aux = self.auxor(middle, None if masks is None else masks[-1])
        return pred, feature, aux

    def perturbed(
        self, x: Tensor, channels: tuple[Tensor, Tensor], masks: tuple | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """UniMatch's feature perturbation: logits of the features as they are, logits with channels of both maps that
        the decoder reads dropped, and auxiliary logits; one pass of the encoder, and one of the decoder over both.

        Args:
            x: B x 3 x H x W, normalised.
            channels: what the first and the last map are multiplied by, B x channels x 1 x 1.
            masks: dropout masks as ``forward`` takes them, of 2B images; None for no dropout.
        """
        low, _, middle, high = self.encoder(x)
        dropped = as_like(low * channels[0], low), as_like(high * channels[1], high)
        both = ops.concat((low, dropped[0]), 0), ops.concat((high, dropped[1]), 0)
        pred, _ = self.decoder(*both, masks)
        aux = None
        if self.auxor is not None:
            aux = self.auxor(middle, None if masks is None else masks[-1][: x.shape[0]])
        return pred[: x.shape[0]], pred[x.shape[0] :], aux

    def logits(self, x: Tensor) -> Tensor:
        """Only the linear head's logits, B x C x h x w, without dropout: what a teacher labels with."""
        low, _, _, high = self.encoder(x)
        return self.decoder(low, high)[0]

    def feature(self, x: Tensor) -> Tensor:
        """Only ``rep``, B x D x h x w, without dropout: what prototypes are made of."""
        low, _, _, high = self.encoder(x)
        return as_float32(self.decoder.feature(low, high))
