"""EfficientNet-Lite0 beside PyTorch: the package it takes its weights from, TensorFlow's padding, gradients."""

import copy

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from semiseg.config.keys import EncoderConfig, EncoderKwargs
from semiseg.interop.pretrained import load_encoder
from semiseg.models import build_encoder

torch = pytest.importorskip("torch")

from parity_cases import difference, image_of  # noqa: E402

pytestmark = pytest.mark.parity
STRIDES = {32: (False, False, False), 16: (False, False, True), 8: (False, True, True)}
TAPS = (2, 4, 10, 15)  # the package's blocks whose outputs are our maps


def encoder_of(stride):
    kwargs = EncoderKwargs(replace_stride_with_dilation=STRIDES[stride])
    return build_encoder(EncoderConfig(type="efficientnet_lite0", kwargs=kwargs)).set_train(False)


class SamePadded(torch.nn.Conv2d):
    """A convolution that pads as TensorFlow does, for any side."""

    def forward(self, x):
        pads = []
        for side, kernel, stride, rate in zip(x.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True):
            total = max((-(-side // stride) - 1) * stride + (kernel - 1) * rate + 1 - side, 0)
            pads = [total // 2, total - total // 2, *pads]
        return torch.nn.functional.conv2d(
            torch.nn.functional.pad(x, pads), self.weight, None, self.stride, 0, self.dilation, self.groups
        )


@pytest.fixture(scope="module")
def package():
    """The package's network with random weights, in evaluation mode, and its state as a file."""
    module = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(3)
    network = module.EfficientNet.from_name("efficientnet-lite0").eval()
    draw = torch.Generator().manual_seed(4)
    for name, value in network.state_dict().items():
        if name.endswith(("_bn0.weight", "_bn1.weight", "_bn2.weight", "running_var")):
            value.copy_(torch.rand(value.shape, generator=draw) + 0.5)
        elif name.endswith((".bias", "running_mean")):
            value.copy_(0.2 * torch.randn(value.shape, generator=draw))
    return network


@pytest.fixture(scope="module")
def file(package, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "efficientnet-lite0.pth"
    torch.save(package.state_dict(), path)
    return path


def maps_of(network, x):
    """The package's maps at our four places."""
    taken = {}
    hooks = [
        network._blocks[index].register_forward_hook(lambda *a, index=index: taken.__setitem__(index, a[2]))
        for index in TAPS
    ]
    network.extract_features(x)
    for hook in hooks:
        hook.remove()
    return [taken[index] for index in TAPS]


def with_tensorflow_padding(network):
    """The same network with padding that looks at the size of its input."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, conv in list(module.named_children()):
            if isinstance(conv, torch.nn.Conv2d):
                planes = conv.in_channels, conv.out_channels
                new = SamePadded(*planes, conv.kernel_size, conv.stride, groups=conv.groups, bias=False)
                new.weight = conv.weight
                setattr(module, name, new)
    return network


@pytest.mark.parametrize("size", [(224, 224), (64, 96), (32, 160)])
def test_features_are_the_packages(package, file, size):
    ours = encoder_of(32)
    assert "240 arrays" in load_encoder(ours, file)
    x = image_of(5, 2, 3, *size)
    with torch.no_grad():
        expected = maps_of(package, torch.from_numpy(x))
    maps = ours(Tensor(x))
    assert [m.shape[1] for m in maps] == list(ours.out_planes) == [24, 40, 112, 320]
    for found, exact in zip(maps, expected, strict=True):
        assert difference(found.asnumpy(), exact.numpy()) < 1e-5
    assert maps[0].shape[2:] == ours.low_size(*size)


@pytest.mark.parametrize("size", [(65, 65), (97, 50), (81, 123)])
def test_other_sides_are_padded_as_tensorflow_does(package, file, size):
    ours = encoder_of(32)
    load_encoder(ours, file)
    x = image_of(6, 1, 3, *size)
    with torch.no_grad():
        expected = maps_of(with_tensorflow_padding(package), torch.from_numpy(x))
    for found, exact in zip(ours(Tensor(x)), expected, strict=True):
        assert found.shape == tuple(exact.shape)
        assert difference(found.asnumpy(), exact.numpy()) < 1e-5
    assert ours(Tensor(x))[0].shape[2:] == ours.low_size(*size)


@pytest.mark.parametrize("stride", [16, 8])
def test_dilation_makes_the_same_map_denser(file, stride):
    coarse, dense = encoder_of(32), encoder_of(stride)
    for encoder in (coarse, dense):
        load_encoder(encoder, file)
    x = Tensor(image_of(7, 1, 3, 97, 129))  # every side that is halved is odd
    every = 32 // stride
    found = dense(x)[3].asnumpy()
    assert found.shape[2:] == (96 // stride + 1, 128 // stride + 1)
    assert difference(found[:, :, ::every, ::every], coarse(x)[3].asnumpy()) < 1e-5


def test_compiled_gradients_are_right_from_call_to_call(package, file):
    # With BatchNorm's running statistics: those of a small batch multiply the rounding of float32 in PyTorch as well.
    ours = encoder_of(32)
    load_encoder(ours, file)

    class Loss(nn.Cell):
        def __init__(self):
            super().__init__()
            self.encoder = ours

        def construct(self, x):
            low, _, _, high = self.encoder(x)
            return (low * low).mean() + (high * high).mean()

    weights = (ours.conv_stem.weight, ours.blocks[3].depthwise_conv.weight, ours.blocks[15].project_conv.weight)
    gradient = ms.jit(ms.value_and_grad(Loss(), None, weights))
    for size in ((64, 64), (51, 65), (64, 64)):
        x = image_of(size[0] + size[1], 2, 3, *size)
        twin = with_tensorflow_padding(package)
        low, _, _, high = maps_of(twin, torch.from_numpy(x))
        (low.square().mean() + high.square().mean()).backward()
        theirs = (twin._conv_stem, twin._blocks[3]._depthwise_conv, twin._blocks[15]._project_conv)
        _, found = gradient(Tensor(x))
        for gradient_of_ours, conv in zip(found, theirs, strict=True):
            assert difference(gradient_of_ours.asnumpy(), conv.weight.grad.numpy()) < 1e-5


def test_convolutions_start_with_the_variance_of_their_fan_out():
    ms.set_seed(0)
    encoder = encoder_of(32)
    assert encoder.blocks[12].depthwise_conv.weight.asnumpy().std() == pytest.approx(np.sqrt(2 / 25), rel=0.02)
    assert encoder.blocks[12].project_conv.weight.asnumpy().std() == pytest.approx(np.sqrt(2 / 192), rel=0.02)
    assert encoder.bn0.eps == 1e-3
    assert sum(p.size for p in encoder.trainable_params()) == 2_958_848  # 4.65 M with the classifier
