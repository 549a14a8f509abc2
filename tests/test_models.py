"""The network: shapes, strides, pooling, heads, published names, and that training forward uses nothing random."""

import numpy as np
import pytest
from mindspore import Tensor, nn
from tiny import CLASSES, TINY_NET, config_of, context_of, image, network_of

from semiseg.common.errors import ConfigError
from semiseg.engine.build import fresh_network
from semiseg.models import build_model
from semiseg.models.efficientnet_lite import EfficientNetLite
from semiseg.models.resnet import DEPTHS, ResNet


@pytest.mark.parametrize("size", [(33, 37), (48, 40), (65, 34)])
def test_outputs_have_the_stated_shapes(size):
    context = context_of("net.aux_loss={}")
    network = network_of(context.net)
    out = network(image(*size, batch=2))
    h, w = network.feature_size(*size)
    assert out.pred.shape == (2, CLASSES, h, w)
    assert out.rep.shape == (2, 16, h, w)
    assert out.aux.shape[:2] == (2, CLASSES)
    assert out.proto.shape == (2, CLASSES, *size)


def test_heads_that_are_not_configured_are_none():
    out = network_of(context_of("net.proto_head=null").net)(image(33, 33))
    assert (out.aux, out.proto) == (None, None)


@pytest.mark.parametrize("side", range(17, 41))
def test_feature_size_is_what_stem_and_pooling_give(side):
    for stem in ("deep", "conv7"):
        encoder = ResNet(*DEPTHS["resnet10"], width=4, stem=stem)
        out = encoder.maxpool(encoder.conv1(Tensor(np.zeros((1, 3, side, 17), np.float32))))
        assert encoder.low_size(side, 17) == out.shape[2:]


def test_pooling_is_the_original_one_also_for_even_sides():
    # Stem output 24 (input 48): padding 1 with ceil_mode gives 13, the authors' port (pad_mode same) would give 12.
    network = network_of(context_of().net)
    assert network.feature_size(48, 47) == (13, 13)
    assert network.encoder.maxpool(Tensor(np.ones((1, 8, 24, 24), np.float32))).shape[2:] == (
        13,
        13,
    )


@pytest.mark.parametrize(
    ("dilate", "stride"), [((False, True, True), 8), ((False, False, True), 16), ((False, False, False), 32)]
)
def test_dilation_replaces_stride(dilate, stride):
    encoder = ResNet(*DEPTHS["resnet18"], width=4, dilate=dilate)
    maps = encoder(image(129, 129))
    assert [m.shape[1] for m in maps] == [4, 8, 16, 32]
    assert maps[0].shape[2] == 33
    assert maps[3].shape[2] == 128 // stride + 1


def test_the_conv7_stem_pools_as_torchvision_does():
    encoder = ResNet(*DEPTHS["resnet10"], width=4, stem="conv7")
    maps = encoder(image(48, 47))
    assert maps[0].shape[2:] == encoder.low_size(48, 47) == (12, 12)
    assert encoder.conv1.weight.shape == (4, 3, 7, 7)
    assert encoder.bn1.num_features == 4


@pytest.mark.parametrize(("kind", "blocks"), [("resnet34", (3, 4, 6, 3)), ("resnet152", (3, 8, 36, 3))])
def test_the_depths_of_the_papers(kind, blocks):
    encoder = ResNet(*DEPTHS[kind], width=4)
    assert tuple(len(stage) for stage in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)) == blocks
    assert encoder.out_planes[3] == (32 if kind == "resnet34" else 128)


def test_every_head_stands_on_an_efficientnet():
    network = network_of(context_of("net.encoder.type=efficientnet_lite0", "net.aux_loss={}").net)
    assert isinstance(network.encoder, EfficientNetLite)
    out = network(image(65, 50))
    assert out.pred.shape == (1, CLASSES, 17, 13)
    assert network.feature_size(65, 50) == (17, 13)
    assert out.aux.shape[:2] == (1, CLASSES)
    assert out.proto.shape == (1, CLASSES, 65, 50)


def test_dilations_and_multi_grid_of_resnet101_are_the_published_ones():
    block, depths = DEPTHS["resnet101"]
    encoder = ResNet(block, depths, width=4)
    assert depths == (3, 4, 23, 3)
    rates = [[cell.conv2.dilation[0] for cell in stage] for stage in (encoder.layer2, encoder.layer3, encoder.layer4)]
    assert rates == [[1] * 4, [1] + [2] * 22, [4, 8, 16]]
    plain = ResNet(block, depths, width=4, multi_grid=False)
    assert [cell.conv2.dilation[0] for cell in plain.layer4] == [2, 4, 4]


def test_names_are_those_of_the_published_checkpoints():
    context = context_of("net.aux_loss={}")
    names = {name for name, _ in network_of(context.net).parameters_and_names()}
    expected = {
        "encoder.conv1.0.weight",
        "encoder.conv1.6.weight",
        "encoder.bn1.moving_variance",
        "encoder.layer2.0.downsample.0.weight",
        "encoder.layer4.1.bn2.gamma",
        "decoder.low_conv.0.bias",
        "decoder.aspp.conv1.1.weight",
        "decoder.aspp.conv5.1.beta",
        "decoder.head.0.weight",
        "decoder.classifier.4.bias",
        "decoder.classifier.8.weight",
        "auxor.aux.0.weight",
        "auxor.aux.4.bias",
        "proto_net.proto_list",
    }
    assert expected <= names
    assert all(name.split(".")[0] in ("encoder", "decoder", "auxor", "proto_net") for name in names)


def test_fresh_weights_depend_on_the_seed_alone():
    context = context_of()
    first, again, other = (network_of(context.net, seed).encoder.layer1[0].conv1.weight.asnumpy() for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("zero", [True, False])
def test_zero_init_residual_zeroes_the_last_scale_of_each_block(zero):
    encoder = ResNet(*DEPTHS["resnet18"], width=4, zero_init_residual=zero)
    gammas = [block.bn2.gamma.asnumpy() for block in encoder.layer3]
    assert all(np.all(gamma == (0 if zero else 1)) for gamma in gammas)


def test_convolutions_start_with_the_variance_of_their_fan_out():
    weight = ResNet(*DEPTHS["resnet18"], width=64).layer3[0].conv2.weight.asnumpy()
    assert weight.std() == pytest.approx(np.sqrt(2 / (9 * 256)), rel=0.02)
    assert abs(weight.mean()) < 1e-3


def test_masks_of_ones_are_no_dropout_and_masks_matter():
    context = context_of("net.aux_loss={}")
    network = network_of(context.net)
    x = image(33, 33, 2)
    ones = tuple(Tensor(np.ones((2, planes, 1, 1), np.float32)) for planes in network.dropout_planes)
    plain, masked = network.forward(x), network.forward(x, ones)
    assert all(np.array_equal(a.asnumpy(), b.asnumpy()) for a, b in zip(plain, masked, strict=True))
    for layer in range(len(ones)):
        masks = [*ones]
        masks[layer] = Tensor(np.zeros(ones[layer].shape, np.float32))
        pred, feature, aux = network.forward(x, tuple(masks))
        changed = [
            not np.array_equal(a.asnumpy(), b.asnumpy()) for a, b in zip((pred, feature, aux), plain, strict=True)
        ]
        assert changed == [layer < 3, layer == 0, layer == 3]


def test_the_linear_logits_and_the_feature_alone_are_those_of_the_whole_network():
    network = network_of(context_of("net.aux_loss={}").net)
    x = image(37, 41)
    assert np.array_equal(network.logits(x).asnumpy(), network(x).pred.asnumpy())
    assert np.array_equal(network.feature(x).asnumpy(), network(x).rep.asnumpy())


def test_a_mirrored_image_gives_mirrored_logits_of_a_symmetric_size():
    # Every operation is symmetric but for the learnt kernels: mirror those as well.
    context = context_of()
    network = network_of(context.net)
    x = image(33, 33)
    plain = network(x)
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            cell.weight.set_data(Tensor(np.ascontiguousarray(cell.weight.asnumpy()[:, :, :, ::-1])))
    mirrored = network(Tensor(np.ascontiguousarray(x.asnumpy()[:, :, :, ::-1])))
    for a, b in ((plain.pred, mirrored.pred), (plain.proto, mirrored.proto)):
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy()[:, :, :, ::-1], atol=2e-3, rtol=1e-3)


def tiny_config_of(*overrides):
    return config_of(*TINY_NET, "net.num_classes=3", *overrides)


def test_wrong_channel_counts_are_refused_with_the_right_ones():
    with pytest.raises(ConfigError, match=r"net\.num_classes"):
        build_model(config_of().net)
    with pytest.raises(ConfigError, match=r"net\.proto_head\.in_planes: this network has 16 channels there, got 512"):
        fresh_network(tiny_config_of("net.proto_head.in_planes=512"), 0)
    with pytest.raises(ConfigError, match=r"net\.aux_loss\.aux_plane: this network has 16 channels there, got 1024"):
        fresh_network(tiny_config_of("net.aux_loss.aux_plane=1024"), 0)
    right = tiny_config_of("net.aux_loss.aux_plane=16", "net.proto_head.in_planes=16")
    assert fresh_network(right, 0).auxor is not None
