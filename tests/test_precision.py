"""Mixed precision of networks: what is float16 and what stays float32; switched off, nothing of it is left."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from tiny import TINY_NET, config_of, image, network_of

from semiseg.config.keys import EvaluationConfig
from semiseg.inference.compiled import for_evaluation
from semiseg.inference.logits import image_logits
from semiseg.models.interpolate import resize
from semiseg.models.precision import Conv2d, at_precision, set_precision

LITE = ("net.encoder.type=efficientnet_lite0", "net.decoder.kwargs={inner_planes: 8, dilations: [1, 2, 3]}")


def network(*overrides):
    heads = "net={aux_loss: {}, proto_head: {num_micro_proto: 2}, decoder: {kwargs: {rep_head: true}}}"
    return network_of(config_of("net.num_classes=3", heads, *(overrides or TINY_NET)).net)


UNIMATCH = (*TINY_NET, "net.proto_head=null", "net.decoder={type: dec_unimatch, kwargs: {rep_head: false}}")


def outputs(net):
    x = image(65, 67, 2)
    found = net(x)
    values = [*(value for value in found if value is not None), net.logits(x), net.feature(x)]
    if net.decoder.rep_planes:
        return [*values, net.decoder.represent(found.rep)]
    channels = tuple(Tensor(np.full((2, net.encoder.out_planes[i], 1, 1), 2, np.float32)) for i in (0, 3))
    return [*values, *net.perturbed(x, channels)]


@pytest.mark.parametrize("encoder", [TINY_NET, LITE, UNIMATCH], ids=["resnet", "efficientnet", "unimatch"])
@pytest.mark.parametrize("level", ["O1", "O2"])
def test_what_the_network_returns_is_float32_and_near_that_of_float32(level, encoder):
    net = network(*encoder)
    names = {name: parameter.dtype for name, parameter in net.parameters_and_names()}
    expected = [value.asnumpy() for value in outputs(net)]
    found = outputs(set_precision(net, level))
    for number, (value, wanted) in enumerate(zip(found, expected, strict=True)):
        assert value.dtype == ms.float32
        difference = np.abs(value.asnumpy() - wanted).max() / np.abs(wanted).max()
        assert 1e-6 < difference < 2e-2, number  # 1e-6: something was float16
    assert {name: parameter.dtype for name, parameter in net.parameters_and_names()} == names
    assert set(names.values()) == {ms.float32}


@pytest.mark.parametrize(("level", "expected"), [("off", ms.float32), ("O1", ms.float32), ("O2", ms.float16)])
def test_maps_are_float16_at_level_o2_alone(level, expected):
    net = set_precision(network(), level)
    assert {x.dtype for x in net.encoder(image(33, 33))} == {expected}


def test_batch_norms_statistics_of_float16_maps_are_float32s():
    x = np.random.default_rng(0).normal(20, 3, (4, 3, 33, 33)).astype(np.float16)
    found = []
    for dtype in (ms.float16, ms.float32):
        norm = nn.BatchNorm2d(3).set_train(True)
        assert norm(Tensor(x).astype(dtype)).dtype == dtype
        found.append((norm.moving_mean.asnumpy(), norm.moving_variance.asnumpy()))
    for half, whole in zip(*found, strict=True):
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, whole, rtol=1e-6)


def test_maps_are_interpolated_in_float32():
    x = Tensor(np.array([[[[2048.0, 2050.0]]]], np.float16))  # between them float16 has no number
    found = resize(x, (1, 3))
    assert found.dtype == ms.float16
    exact = resize(x.astype(ms.float32), (1, 3)).asnumpy()
    np.testing.assert_array_equal(found.asnumpy(), exact.astype(np.float16))


def test_a_convolution_multiplies_in_float16_and_keeps_its_bias_exact_at_o1():
    conv = set_precision(Conv2d(1, 1, 1, bias=True), "O1")
    conv.weight.set_data(Tensor(np.full((1, 1, 1, 1), 1 + 2**-12, np.float32)))  # 1 in float16
    conv.bias.set_data(Tensor(np.full(1, 2**-12, np.float32)))
    assert conv(Tensor(np.ones((1, 1, 1, 1), np.float32))).asnumpy().item() == 1 + 2**-12
    whole = set_precision(conv, "off")(Tensor(np.ones((1, 1, 1, 1), np.float32)))
    assert whole.asnumpy().item() == 1 + 2**-11


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_gradients_are_float32_and_compiled_as_plain(level):
    net = set_precision(network().set_train(True), level)

    def loss(x):
        pred, feature, aux = net.forward(x)
        return (pred * pred).mean() + (aux * aux).mean() + feature.mean()

    weights = tuple(p for name, p in net.parameters_and_names() if name.endswith(("weight", "gamma", "bias")))[:30]
    function = ms.value_and_grad(loss, None, weights)
    plain, gradients = function(image(33, 33, 2))
    compiled, same = ms.jit(function)(image(33, 33, 2))
    assert {gradient.dtype for gradient in (*gradients, *same)} == {ms.float32}
    assert float(compiled) == pytest.approx(float(plain), rel=2e-2)
    first, second = (np.concatenate([g.asnumpy().ravel() for g in group]) for group in (gradients, same))
    assert np.linalg.norm(second - first) < 0.3 * np.linalg.norm(first)  # noise of 2e-3 on the image makes 0.2


def test_another_precision_holds_inside_a_block_alone():
    net = set_precision(network(), "O1")
    before = net.logits(image()).asnumpy()
    with at_precision(net, "off") as inside:
        assert inside is net
        exact = net.logits(image()).asnumpy()
    np.testing.assert_array_equal(net.logits(image()).asnumpy(), before)
    assert not np.array_equal(exact, before)
    np.testing.assert_array_equal(set_precision(net, "off").logits(image()).asnumpy(), exact)


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_images_are_scored_in_the_precision_that_evaluation_asks_for(mode):
    cfg = EvaluationConfig(mode=mode, crop_size=(33, 33))
    found = []
    for amp in ("off", "O2"):
        logits = image_logits(for_evaluation(network(), False, amp), image(40, 45), cfg).linear
        assert logits.dtype == ms.float32
        found.append(logits.asnumpy())
    assert 1e-6 < np.abs(found[1] - found[0]).max() / np.abs(found[0]).max() < 2e-2
