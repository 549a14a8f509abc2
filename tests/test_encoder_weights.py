"""ImageNet weights of other programs: features equal theirs, and what does not fit is told with the key to change."""

import dataclasses
import json
import struct

import mindspore as ms
import numpy as np
import pytest
from checkpoint_files import write_ckpt
from mindspore import Tensor
from safetensors.numpy import save_file
from tiny import config_of

from semiseg.common.errors import CheckpointError
from semiseg.config import weights as known
from semiseg.interop.pretrained import load_encoder
from semiseg.models import build_encoder

torch = pytest.importorskip("torch")

from parity_cases import config_of as net_of  # noqa: E402
from parity_cases import difference, image_of, twin_of  # noqa: E402
from reference.network import NetworkSpec  # noqa: E402

pytestmark = pytest.mark.parity
NUMBERED = {
    "conv1.0": "conv1",
    "conv1.1": "bn1",
    "conv1.3": "conv2",
    "conv1.4": "bn2",
    "conv1.6": "conv3",
    "bn1": "bn3",
}
BATCH_NORM = {"running_mean": "moving_mean", "running_var": "moving_variance", "weight": "gamma", "bias": "beta"}


def torch_encoder(depth, stem):
    """A PyTorch ResNet of width 4 with torchvision's names."""
    plain = {"multi_grid": None, "replace_stride_with_dilation": (False, False, False)}
    spec = NetworkSpec(depth=depth, stem=stem, width=4, inner_planes=4, zero_init_residual=False, **plain)
    return spec, twin_of(spec, depth).encoder


def state_of(encoder):
    """Its state with a classifier, as these files have one."""
    classifier = {"fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)}
    return {name: value.clone() for name, value in encoder.state_dict().items()} | classifier


def pth(state, folder):
    torch.save(state, folder / "encoder.pth")
    return folder / "encoder.pth"


def safetensors(state, folder):
    save_file({name: value.numpy() for name, value in state.items()}, folder / "model.safetensors")
    return folder / "model.safetensors"


def mindcv(state, folder):
    arrays = {}
    norms = {name.removesuffix(".running_mean") for name in state if name.endswith("running_mean")}
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        if leaf == "num_batches_tracked":
            continue
        leaf = BATCH_NORM[leaf] if module in norms else leaf
        module = "classifier" if module == "fc" else module.replace("downsample", "down_sample")
        arrays[f"{module}.{leaf}"] = value.numpy()
    return write_ckpt(folder / "encoder.ckpt", arrays)


def pspnet(state, folder):
    renamed = {}
    for name, value in state.items():
        module, _, leaf = name.rpartition(".")
        renamed[f"{NUMBERED.get(module, module)}.{leaf}"] = value
    return pth(renamed, folder)


def assert_same_maps(ours, theirs, size=(65, 97)):
    x = image_of(1, 2, 3, *size)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))
    for found, exact in zip(ours(Tensor(x)), expected, strict=True):
        assert found.shape == tuple(exact.shape)
        assert difference(found.asnumpy(), exact.numpy()) < 1e-5


@pytest.mark.parametrize(
    ("depth", "stem", "write"),
    [
        (18, "conv7", pth),
        (34, "conv7", safetensors),
        (50, "conv7", mindcv),
        (18, "deep", pspnet),
        (50, "deep", safetensors),
        (152, "deep", pth),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_features_are_those_of_the_source(tmp_path, depth, stem, write):
    spec, theirs = torch_encoder(depth, stem)
    path = write(state_of(theirs), tmp_path)
    ms.set_seed(1)
    ours = build_encoder(net_of(spec).encoder).set_train(False)
    assert str(path) in load_encoder(ours, path)
    assert_same_maps(ours, theirs)


@pytest.mark.parametrize("stem", ["conv7", "deep"])
def test_even_sizes_pool_as_the_source_of_each_stem_does(tmp_path, stem):
    spec, theirs = torch_encoder(18, stem)
    ours = build_encoder(net_of(spec).encoder).set_train(False)
    load_encoder(ours, pth(state_of(theirs), tmp_path))
    assert_same_maps(ours, theirs, (64, 96))


def refusal(spec, path):
    encoder = build_encoder(net_of(spec).encoder)
    before = {name: p.asnumpy().copy() for name, p in encoder.parameters_and_names()}
    with pytest.raises(CheckpointError) as caught:
        load_encoder(encoder, path)
    assert all(np.array_equal(p.asnumpy(), before[name]) for name, p in encoder.parameters_and_names())
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("write", [pth, safetensors, mindcv])
@pytest.mark.parametrize(("held", "other"), [("conv7", "deep"), ("deep", "conv7")])
def test_the_other_stem(tmp_path, write, held, other):
    spec, theirs = torch_encoder(18, held)
    message = refusal(dataclasses.replace(spec, stem=other), write(state_of(theirs), tmp_path))
    assert f"set net.encoder.kwargs.stem={held}" in message
    assert "\n" not in message


def test_another_encoder(tmp_path):
    spec, theirs = torch_encoder(34, "conv7")
    path = pth(state_of(theirs), tmp_path)
    message = refusal(dataclasses.replace(spec, depth=50), path)
    assert "weights of resnet34, the configured encoder is resnet50; set net.encoder.type=resnet34" in message
    small = build_encoder(config_of("net.encoder.type=efficientnet_lite0").net.encoder)
    with pytest.raises(
        CheckpointError, match=r"configured encoder is efficientnet_lite0; set net.encoder.type=resnet34"
    ):
        load_encoder(small, path)
    assert "does not fit the network" in refusal(dataclasses.replace(spec, width=8), path)


def test_a_safetensors_file_that_is_cut_off_or_none_at_all(tmp_path):
    spec, theirs = torch_encoder(18, "deep")
    path = safetensors(state_of(theirs), tmp_path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:6], b"", b"<html>not found</html>" * 9):
        path.write_bytes(content)
        message = refusal(spec, path)
        assert "truncated, damaged or no .safetensors file" in message
        assert "\n" not in message
    path.unlink()
    assert "no such checkpoint" in refusal(spec, path)


def test_half_precision_is_read(tmp_path):
    spec, theirs = torch_encoder(18, "deep")
    state = {
        name: value.half().float() if value.is_floating_point() else value for name, value in state_of(theirs).items()
    }
    theirs.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    ours = build_encoder(net_of(spec).encoder).set_train(False)
    load_encoder(ours, safetensors(halves, tmp_path))
    assert_same_maps(ours, theirs)


def test_numbers_of_a_type_that_numpy_has_not(tmp_path):
    spec, _ = torch_encoder(18, "deep")
    header = json.dumps({"conv1.0.weight": {"dtype": "F8_E5M2", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    assert "holds numbers of an unknown type" in refusal(spec, path)


def test_weights_by_name_lie_in_data_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "home", lambda: tmp_path)
    spec, theirs = torch_encoder(18, "conv7")
    ours = build_encoder(net_of(spec).encoder).set_train(False)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(ours, "resnet18")
    path = tmp_path / "data/weights/resnet18-f37072fd.pth"
    assert str(caught.value).startswith(f"{path}: not there yet; semiseg weights resnet18 fetches it")
    path.parent.mkdir(parents=True)
    pth(state_of(theirs), path.parent).rename(path)
    assert str(path) in load_encoder(ours, "resnet18")
    assert_same_maps(ours, theirs)
