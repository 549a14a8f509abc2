"""The twin network itself, judged by naive numpy loops and by the names and shapes of the published files."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reference.network import (  # noqa: E402
    BasicBlock,
    Bottleneck,
    Decoder,
    Network,
    NetworkSpec,
    dropout_shapes,
    inject_dropout,
)

pytestmark = pytest.mark.parity
TINY = {"width": 4, "inner_planes": 6, "num_classes": 3, "aspp_dilations": (2, 3)}


def tiny(seed=0, **changes) -> Network:
    torch.manual_seed(seed)
    network = Network(NetworkSpec(**(TINY | {"depth": 18, "zero_init_residual": False} | changes)))
    return network.double()


def randomise(module) -> None:
    """Statistics and scales that are not 0 and 1, so that a forgotten one shows."""
    generator = torch.Generator().manual_seed(7)
    for name, value in module.state_dict().items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn3.weight")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bias")):
            value.copy_(torch.randn(value.shape, generator=generator))


def conv_loop(x, weight, stride=1, dilation=1):
    """(C, H, W) with "same" padding for odd kernels: plain loops over output pixels."""
    cout, _, k, _ = weight.shape
    pad = dilation * (k // 2)
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    reach = dilation * (k - 1) + 1
    rows, cols = ((x.shape[i] - reach) // stride + 1 for i in (1, 2))
    out = np.zeros((cout, rows, cols))
    for r in range(rows):
        for c in range(cols):
            window = x[:, r * stride : r * stride + reach : dilation, c * stride : c * stride + reach : dilation]
            out[:, r, c] = (weight * window).sum((1, 2, 3))
    return out


def bn(x, module):
    scale = module.weight.detach().numpy() / np.sqrt(module.running_var.numpy() + 1e-5)
    return (x - module.running_mean.numpy()[:, None, None]) * scale[:, None, None] + module.bias.detach().numpy()[
        :, None, None
    ]


@pytest.mark.parametrize(("kind", "dilated_convs"), [(BasicBlock, (1, 2)), (Bottleneck, (2,))])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 4)])
def test_block_equals_loops(kind, dilated_convs, stride, dilation):
    torch.manual_seed(1)
    block = kind(8, 2, stride, dilation, None).double().eval()
    block.downsample = torch.nn.Sequential(
        torch.nn.Conv2d(8, 2 * kind.expansion, 1, stride, bias=False), torch.nn.BatchNorm2d(2 * kind.expansion)
    ).double()
    block.eval()
    randomise(block)
    x = np.random.default_rng(2).normal(size=(8, 7, 6))
    y, last = x, 2 if kind is BasicBlock else 3
    strided = 1 if kind is BasicBlock else 2
    for i in range(1, last + 1):
        weight = getattr(block, f"conv{i}").weight.detach().numpy()
        y = conv_loop(y, weight, stride if i == strided else 1, dilation if i in dilated_convs else 1)
        y = bn(y, getattr(block, f"bn{i}"))
        y = np.maximum(y, 0) if i < last else y
    shortcut = bn(conv_loop(x, block.downsample[0].weight.detach().numpy(), stride), block.downsample[1])
    with torch.no_grad():
        actual = block(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(actual, np.maximum(y + shortcut, 0), rtol=1e-10, atol=1e-10)


def test_aspp_equals_loops():
    decoder = Decoder(NetworkSpec(**TINY), 4, 5).double().eval()
    randomise(decoder)
    x = np.random.default_rng(3).normal(size=(5, 6, 7))
    aspp, parts = decoder.aspp, []
    pooled = np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
    for name, source, at, dilation in [
        ("conv1", pooled, 1, 1), ("conv2", x, 0, 1), ("conv3", x, 0, 2), ("conv4", x, 0, 3)
    ]:  # fmt: skip
        unit = getattr(aspp, name)
        parts.append(np.maximum(bn(conv_loop(source, unit[at].weight.detach().numpy(), 1, dilation), unit[at + 1]), 0))
    with torch.no_grad():
        actual = aspp(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(actual, np.concatenate(parts), rtol=1e-10, atol=1e-10)


def test_feature_is_low_level_then_resized_head():
    network = tiny().eval()
    seen = {}
    network.decoder.low_conv.register_forward_hook(lambda _m, _i, out: seen.update(low=out))
    network.decoder.head.register_forward_hook(lambda _m, _i, out: seen.update(head=out))
    with torch.no_grad():
        rep = network(torch.randn(1, 3, 49, 41, dtype=torch.float64)).rep[0].numpy()
    low, head = seen["low"][0].numpy(), seen["head"][0].numpy()
    np.testing.assert_array_equal(rep[:6], low)
    rows, cols = rep.shape[1:]
    for r, c in [(0, 0), (rows - 1, cols - 1), (3, 4), (5, 1)]:
        y, x = r * (head.shape[1] - 1) / (rows - 1), c * (head.shape[2] - 1) / (cols - 1)
        y0, x0 = min(int(y), head.shape[1] - 2), min(int(x), head.shape[2] - 2)
        fy, fx = y - y0, x - x0
        expected = (head[:, y0, x0] * (1 - fx) + head[:, y0, x0 + 1] * fx) * (1 - fy)
        expected = expected + (head[:, y0 + 1, x0] * (1 - fx) + head[:, y0 + 1, x0 + 1] * fx) * fy
        np.testing.assert_allclose(rep[6:, r, c], expected, rtol=1e-10, atol=1e-12)


def test_resnet101_has_the_published_names_and_shapes():
    with torch.device("meta"):
        network = Network(NetworkSpec(aux=True, prototypes=4))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    expected = {
        "encoder.conv1.0.weight": (64, 3, 3, 3),
        "encoder.conv1.1.running_mean": (64,),
        "encoder.conv1.3.weight": (64, 64, 3, 3),
        "encoder.conv1.6.weight": (128, 64, 3, 3),
        "encoder.bn1.weight": (128,),
        "encoder.layer1.0.downsample.0.weight": (256, 128, 1, 1),
        "encoder.layer1.0.downsample.1.bias": (256,),
        "encoder.layer3.22.conv3.weight": (1024, 256, 1, 1),
        "encoder.layer4.2.bn3.num_batches_tracked": (),
        "decoder.low_conv.0.bias": (256,),
        "decoder.aspp.conv1.1.weight": (256, 2048, 1, 1),
        "decoder.aspp.conv5.0.weight": (256, 2048, 3, 3),
        "decoder.head.0.weight": (256, 1280, 3, 3),
        "decoder.classifier.0.weight": (256, 512, 3, 3),
        "decoder.classifier.4.bias": (256,),
        "decoder.classifier.8.weight": (21, 256, 1, 1),
        "auxor.aux.0.weight": (256, 1024, 3, 3),
        "auxor.aux.4.bias": (21,),
        "proto_net.proto_list": (84, 512),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert not {"decoder.head.0.bias", "decoder.aspp.conv2.0.bias", "encoder.conv1.0.bias"} & shapes.keys()
    assert {name.split(".")[0] for name in shapes} == {"encoder", "decoder", "auxor", "proto_net"}


@pytest.mark.parametrize(
    ("depth", "dilate", "grid", "layer3", "layer4", "strides"),
    [
        (101, (False, True, True), (2, 2, 4), [1] + [2] * 22, [4, 8, 16], 8),
        (101, (False, True, True), None, [1] + [2] * 22, [2, 4, 4], 8),
        (50, (False, False, True), (2, 2, 4), [1] * 6, [2, 4, 8], 16),
        (50, (False, False, False), None, [1] * 6, [1] * 3, 32),
        (18, (False, True, True), (2, 2, 4), [1, 2], [4, 8], 8),
    ],
)
def test_dilations_of_the_last_two_stages(depth, dilate, grid, layer3, layer4, strides):
    with torch.device("meta"):
        network = Network(NetworkSpec(depth=depth, replace_stride_with_dilation=dilate, multi_grid=grid))
        deepest = network.encoder(torch.zeros(1, 3, 257, 257))[3]
    assert [block.conv2.dilation[0] for block in network.encoder.layer3] == layer3
    assert [block.conv2.dilation[0] for block in network.encoder.layer4] == layer4
    assert deepest.shape[-1] == 256 // strides + 1


@pytest.mark.parametrize(("size", "quarter"), [(64, 17), (65, 17), (320, 81), (321, 81), (513, 129)])
def test_decoder_size_rounds_up(size, quarter):
    with torch.device("meta"):
        out = Network(NetworkSpec(depth=50, aux=True)).eval()(torch.zeros(1, 3, size, size))
    assert out.pred.shape == (1, 21, quarter, quarter)
    assert out.rep.shape == (1, 512, quarter, quarter)
    assert out.aux.shape[-1] == (quarter - 1) // 2 + 1
    assert out.proto is None


def test_multi_grid_shorter_than_the_stage_is_refused():
    with pytest.raises(ValueError, match="multi_grid has 2 values for 3 blocks"), torch.device("meta"):
        Network(NetworkSpec(depth=50, multi_grid=(2, 2)))


def test_residual_branches_start_at_zero():
    network = tiny(zero_init_residual=True)
    assert all(not block.bn2.weight.any() for block in network.encoder.layer2)
    assert network.encoder.layer2[0].bn1.weight.all()


def test_prototype_head_only_in_evaluation_at_input_size_and_untrained():
    network = tiny(prototypes=2)
    image = torch.randn(2, 3, 33, 40, dtype=torch.float64)
    assert network.train()(image).proto is None
    assert network.eval()(image).proto.shape == (2, 3, 33, 40)
    assert not network.proto_net.proto_list.requires_grad


def test_injected_dropout_masks_decide_what_is_dropped():
    network = tiny(aux=True).train()
    shapes = dropout_shapes(NetworkSpec(**(TINY | {"aux": True})), batch=2)
    masks = {name: torch.ones(shape, dtype=torch.float64) for name, shape in shapes.items()}
    masks["decoder.head.3"][1, 2] = 0
    inject_dropout(network, masks)
    image = torch.randn(2, 3, 33, 33, dtype=torch.float64)
    first, second = network(image), network(image)
    assert torch.equal(first.pred, second.pred)
    assert torch.equal(first.aux, second.aux)
    zero = (first.rep[:, 6:] == 0).all(-1).all(-1)
    assert zero[1, 2]
    assert not zero[0, 2]
    with pytest.raises(KeyError, match="dropout layers"):
        inject_dropout(network, {"decoder.head.3": masks["decoder.head.3"]})


def test_mask_scales_the_kept_channels():
    network = tiny()
    layer = network.decoder.head[3]
    layer.mask = torch.tensor([[1.0, 0.0]])
    np.testing.assert_allclose(layer(torch.ones(1, 2, 1, 1)).flatten(), [1 / 0.9, 0], rtol=1e-6)
    layer.eval()
    np.testing.assert_array_equal(layer(torch.ones(1, 2, 1, 1)).flatten(), [1, 1])
