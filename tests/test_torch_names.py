"""Names of PyTorch checkpoints to ours."""

import numpy as np
import pytest

from semiseg.checkpoints.match import match, shapes_of, stem_of
from semiseg.common.errors import CheckpointError
from semiseg.interop.torch_names import (
    BATCH_NORM,
    IGNORABLE_BACKBONE,
    IGNORABLE_U2PL,
    check_stem,
    from_torch,
    place_backbone,
    select_state,
    strip_common,
    strip_prefix,
    to_mindspore_names,
)


def norm(name, n=4):
    leaves = {"weight": 1.0, "bias": 2.0, "running_mean": 3.0, "running_var": 4.0}
    state = {f"{name}.{leaf}": np.full(n, value) for leaf, value in leaves.items()}
    return state | {f"{name}.num_batches_tracked": np.array(5)}


def conv(name, *shape):
    return {f"{name}.weight": np.zeros(shape)}


def network():
    return {
        **conv("encoder.conv1.0", 4, 3, 3, 3),
        **norm("encoder.conv1.1"),
        **conv("encoder.layer1.0.downsample.0", 4, 4, 1, 1),
        **norm("encoder.layer1.0.downsample.1"),
        **conv("decoder.classifier.8", 2, 4, 1, 1),
        "decoder.classifier.8.bias": np.zeros(2),
        "proto_net.proto_list": np.zeros((8, 6)),
    }


def test_batch_norm_is_found_by_its_data():
    renamed = to_mindspore_names(network())
    for module in ("encoder.conv1.1", "encoder.layer1.0.downsample.1"):
        values = {leaf: renamed[f"{module}.{leaf}"][0] for leaf in ("gamma", "beta", "moving_mean", "moving_variance")}
        assert values == {"gamma": 1, "beta": 2, "moving_mean": 3, "moving_variance": 4}
    assert {"decoder.classifier.8.weight", "decoder.classifier.8.bias", "proto_net.proto_list"} <= renamed.keys()
    assert not any(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in renamed)
    assert len(renamed) == len(network()) - 2


@pytest.mark.parametrize("prefix", ["model.", "model.module.", "module.net.", "segmentor."])
def test_what_all_names_have_in_common_is_left_out(prefix):
    wrapped = {f"{prefix}{name}": array for name, array in network().items()}
    for content in (wrapped, {"state_dict": wrapped, "epoch": 3}):
        assert from_torch(content, "x.ckpt").state.keys() == to_mindspore_names(network()).keys()
    encoder = {f"{prefix}layer1.0.conv1.weight": np.zeros(1), f"{prefix}conv1.0.weight": np.zeros(1)}
    assert from_torch(encoder, "x.ckpt").state.keys() == {"encoder.layer1.0.conv1.weight", "encoder.conv1.0.weight"}


def test_names_with_nothing_in_common_or_of_a_part_stay():
    wrapped = {f"model.{name}": array for name, array in network().items()}
    alone = {name: array for name, array in network().items() if name.startswith("encoder.")}
    for state in ({**wrapped, "criterion.weight": np.zeros(3)}, alone, {"other.x": np.zeros(1)}, {}):
        assert strip_common(state).keys() == state.keys()


def test_a_module_named_bn_without_statistics_keeps_its_names():
    state = {"bn1.weight": np.zeros(3), "bn1.bias": np.zeros(3), "x.num_batches_tracked": np.zeros(1)}
    assert to_mindspore_names(state).keys() == state.keys()
    assert to_mindspore_names(norm("odd.name")).keys() == {
        f"odd.name.{leaf}" for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
    }


def test_teacher_is_preferred_and_either_can_be_chosen():
    both = {"model_state": {"w": np.zeros(1)}, "teacher_state": {"w": np.ones(1)}, "epoch": 3, "best_miou": 0.5}
    assert select_state(both, None, "f").state["w"] == 1
    assert select_state(both, "teacher", "f").state["w"] == 1
    assert select_state(both, "student", "f").state["w"] == 0
    del both["teacher_state"]
    assert select_state(both, None, "f").state["w"] == 0
    with pytest.raises(CheckpointError, match=r"f: expected averaged weights .* found model_state, epoch"):
        select_state(both, "teacher", "f")


def test_bare_and_wrapped_states():
    state = {"w": np.zeros(1)}
    assert select_state(state, None, "f").state == state
    assert select_state({"state_dict": state, "epoch": 1}, None, "f").state == state
    with pytest.raises(CheckpointError, match="no student to choose"):
        select_state(state, "student", "f")
    for nothing in ({}, {"epoch": 1}, {"model_state": {}}, {"model_state": {"w": 1.0}}):
        with pytest.raises(CheckpointError, match="expected weights under"):
            select_state(nothing, None, "f")


def test_module_prefix():
    assert strip_prefix({"module.a.module.b": np.zeros(1), "c": np.zeros(1)}, "f").keys() == {"a.module.b", "c"}
    with pytest.raises(CheckpointError, match=r"both module\.a and a"):
        strip_prefix({"module.a": np.zeros(1), "a": np.zeros(1)}, "f")


def backbone(stem):
    return {**stem, **conv("layer1.0.conv1", 4, 4, 3, 3), **norm("layer1.0.bn1"), "fc.weight": np.zeros((9, 4))}


def test_deep_stem_backbone_goes_under_encoder():
    stem = {**conv("conv1.0", 4, 3, 3, 3), **norm("conv1.1"), **norm("bn1", 8)}
    state = from_torch(backbone(stem), "f").state
    assert state["encoder.conv1.0.weight"].shape == (4, 3, 3, 3)
    assert state["encoder.bn1.gamma"].shape == (8,)
    assert "encoder.layer1.0.bn1.moving_mean" in state
    target = {name: array.shape for name, array in state.items() if "fc" not in name}
    report = match(shapes_of(state), target, IGNORABLE_BACKBONE)
    assert report.complete
    assert report.ignored == ("encoder.fc.weight",)


def test_pspnet_numbered_stem_means_the_same():
    numbered = {
        **conv("conv1", 4, 3, 3, 3), **norm("bn1"), **conv("conv2", 4, 4, 3, 3), **norm("bn2", 5),
        **conv("conv3", 8, 4, 3, 3), **norm("bn3", 8),
    }  # fmt: skip
    state = from_torch(backbone(numbered), "f").state
    shapes = {name: array.shape[0] for name, array in state.items() if "layer" not in name and "fc" not in name}
    ours = {"conv1.0.weight": 4, "conv1.3.weight": 4, "conv1.6.weight": 8}
    ours |= {f"{bn}.{leaf}": n for bn, n in (("conv1.1", 4), ("conv1.4", 5), ("bn1", 8))
             for leaf in ("gamma", "beta", "moving_mean", "moving_variance")}  # fmt: skip
    assert shapes == {f"encoder.{name}": n for name, n in ours.items()}
    assert state["encoder.layer1.0.conv1.weight"].shape == (4, 4, 3, 3)


CONV7 = {**conv("conv1", 64, 3, 7, 7), **norm("bn1", 64), **conv("layer1.0.conv1", 64, 64, 1, 1)}


@pytest.mark.parametrize("prefix", ["", "encoder.", "module.", "module.encoder."])
def test_the_other_stem_is_told_with_the_key_to_change(prefix):
    held = from_torch({prefix + name: array for name, array in CONV7.items()}, "resnet101.pth").state
    deep = from_torch(backbone({**conv("conv1.0", 4, 3, 3, 3), **norm("bn1", 8)}), "f").state
    assert (stem_of(held), stem_of(deep), stem_of({"decoder.head.0.weight"})) == ("conv7", "deep", None)
    for names, expected, value in ((held, deep, "conv7"), (deep, held, "deep")):
        with pytest.raises(CheckpointError) as caught:
            check_stem(names, expected, "resnet101.pth")
        message = str(caught.value)
        assert message.startswith("resnet101.pth: ")
        assert f"set net.encoder.kwargs.stem={value}," in message
        assert "\n" not in message
    check_stem(held, held, "f")
    check_stem(held, {"decoder.head.0.weight"}, "f")


def test_a_whole_network_passes_unchanged():
    assert place_backbone(network()).keys() == network().keys()


def test_mindcv_names():
    named = {"conv1.weight": 0, "bn1.gamma": 0, "layer1.0.down_sample.1.gamma": 0, "classifier.bias": 0}
    expected = {"conv1.weight", "bn1.gamma", "layer1.0.downsample.1.gamma", "classifier.bias"}
    assert place_backbone(named).keys() == {f"encoder.{name}" for name in expected}


def test_efficientnet_names_and_its_classifier():
    blocks = {**conv("_blocks.1._expand_conv", 96, 16, 1, 1), **norm("_blocks.1._bn0", 96)}
    head = {**conv("_conv_head", 8, 4, 1, 1), **norm("_bn1", 8), **conv("_fc", 9, 8), "_fc.bias": np.zeros(9)}
    state = from_torch({**conv("_conv_stem", 4, 3, 3, 3), **norm("_bn0"), **blocks, **head}, "f").state
    kept = {"encoder.conv_stem.weight", "encoder.blocks.1.expand_conv.weight"}
    kept |= {f"encoder.{bn}.{leaf}" for bn in ("bn0", "blocks.1.bn0") for leaf in BATCH_NORM.values()}
    report = match(shapes_of(state), {name: state[name].shape for name in kept}, IGNORABLE_BACKBONE)
    assert report.complete
    assert len(report.ignored) == 7


def u2pl():
    state = {f"module.{name}": array for name, array in network().items() if "proto" not in name}
    state["module.decoder.representation.0.weight"] = np.zeros((4, 4, 3, 3))
    return {"epoch": 1, "model_state": state, "teacher_state": state, "optimizer_state": {"state": {}}}


def shapes_of_network():
    return {name: array.shape for name, array in to_mindspore_names(network()).items() if "proto" not in name}


def test_u2pl_checkpoint_fits_with_its_named_ignorable_part():
    state = from_torch(u2pl(), "f").state
    report = match(shapes_of(state), shapes_of_network(), IGNORABLE_U2PL)
    assert report.complete
    assert report.ignored == ("decoder.representation.0.weight",)
    assert set(report.matched) == shapes_of_network().keys()
    report.require_complete("f")
    strict = match(shapes_of(state), shapes_of_network())
    assert strict.unexpected == ("decoder.representation.0.weight",)
    with pytest.raises(CheckpointError, match=r"f: .*1 unexpected \(first: decoder\.representation\.0\.weight\)"):
        strict.require_complete("f")


@pytest.mark.parity
def test_every_name_of_the_twin_is_mapped(tmp_path):
    torch = pytest.importorskip("torch")
    from reference.network import Network, NetworkSpec

    from semiseg.interop.torch_checkpoint import read_torch

    twin = Network(NetworkSpec(depth=50, width=2, inner_planes=4, aux=True, prototypes=2))
    path = tmp_path / "x.pth"
    torch.save({"model_state": {f"module.{k}": v for k, v in twin.state_dict().items()}, "best_miou": 0.0}, path)
    state = from_torch(read_torch(path), str(path)).state
    kinds = {name: module for name, module in twin.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    gammas = {name.removesuffix(".gamma") for name in state if name.endswith(".gamma")}
    assert gammas == kinds.keys()
    assert len(state) == len(twin.state_dict()) - len(kinds)
    some = next(iter(kinds))
    np.testing.assert_array_equal(state[f"{some}.moving_variance"], kinds[some].running_var)
