"""``semiseg convert-checkpoint``: what it writes, what it says, and when it writes nothing."""

import subprocess
import sys

import numpy as np
import pytest
from checkpoint_files import arrays_of, network, torch_state, write_ckpt, write_pth
from safetensors.numpy import save_file
from tiny import ROOT

from semiseg import cli
from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import CheckpointError
from semiseg.interop import convert
from semiseg.interop.network_files import read_network
from semiseg.interop.published import load_evaluated

SCRIPT = ROOT / "tools" / "convert_checkpoint.py"
AUX = "net.aux_loss={loss_weight: 0.4}"


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = cli.run(convert.main, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def read(path):
    arrays, record = checkpoint_io.read(path)
    assert record is not None  # with a checksum, as best.ckpt
    return {name.removeprefix("module."): array for name, array in arrays.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def u2pl(tmp_path, *overrides):
    student, teacher = (arrays_of(network(*overrides, seed=seed)) for seed in (1, 2))
    content = {"epoch": 7, "optimizer_state": {"state": {}}, "best_miou": 0.7}
    for key, arrays in (("model_state", student), ("teacher_state", teacher)):
        content[key] = torch_state(arrays, "module.")
        content[key]["module.decoder.representation.0.weight"] = np.zeros((8, 16, 3, 3), np.float32)
    return write_pth(tmp_path / "ckpt_best.pth", content), student, teacher


def test_u2pl_without_options_gives_the_teacher(tmp_path, run):
    source, _, teacher = u2pl(tmp_path, AUX, "net.proto_head=null")
    code, out, err = run(source, tmp_path / "best.ckpt")
    assert (code, err) == (0, "")
    counts = {line.split()[0]: line.split()[-1] for line in out.splitlines()}
    assert (counts["matched"], counts["missing"], counts["unexpected"]) == (str(len(teacher)), "0", "0")
    assert counts["ignored"] == "1"
    assert "decoder.representation.0.weight" in out
    assert "resnet18, 3 classes, heads: linear, auxiliary" in out
    assert_same(read(tmp_path / "best.ckpt"), teacher)
    built = network(AUX, "net.proto_head=null", seed=3)
    load_evaluated(built, tmp_path / "best.ckpt")
    assert_same(arrays_of(built), teacher)


@pytest.mark.parametrize(("which", "part"), [("teacher", 2), ("student", 1), ("model", 1)])
def test_the_choice_of_network(tmp_path, run, which, part):
    parts = u2pl(tmp_path)
    code, _, _ = run(parts[0], tmp_path / "x.ckpt", "--which", which)
    assert code == 0
    assert_same(read(tmp_path / "x.ckpt"), parts[part])


def test_the_authors_best_ckpt(tmp_path, run):
    arrays = arrays_of(network(AUX, seed=1))
    less = {f"module.{name}": array for name, array in arrays.items() if name != "auxor.aux.0.bias"}
    code, out, _ = run(write_ckpt(tmp_path / "in.ckpt", less), tmp_path / "out.ckpt")
    assert code == 0
    assert "heads: linear, auxiliary, prototype" in out
    assert_same(read(tmp_path / "out.ckpt"), arrays | {"auxor.aux.0.bias": np.zeros(8, np.float32)})


@pytest.mark.parametrize("kind", ["resnet18", "resnet50"])
def test_imagenet_weights_keep_the_encoder_alone(tmp_path, run, kind):
    arrays = arrays_of(network(f"net.encoder.type={kind}", seed=1))
    encoder = {name: array for name, array in arrays.items() if name.startswith("encoder.")}
    state = torch_state({name.removeprefix("encoder."): array for name, array in encoder.items()})
    source = write_pth(tmp_path / "r.pth", state | {"fc.weight": np.zeros((5, 32), np.float32)})
    code, out, _ = run(source, tmp_path / "r.ckpt")
    assert code == 0
    assert f"{kind} encoder" in out
    assert_same(read(tmp_path / "r.ckpt"), encoder)


@pytest.mark.parametrize("decoder", ["dec_deeplabv3_plus", "dec_unimatch"])
def test_a_bias_behind_image_pooling_is_known_by_its_name(tmp_path, run, decoder):
    overrides = (f"net.decoder.type={decoder}", "net.decoder.kwargs.pool_norm=false", "net.proto_head=null")
    arrays = arrays_of(network(*overrides, seed=1))
    assert not any(name.startswith("decoder.aspp.conv1.2") for name in arrays)
    assert run(write_ckpt(tmp_path / "in.ckpt", arrays), tmp_path / "out.ckpt")[0] == 0
    assert_same(read(tmp_path / "out.ckpt"), arrays)


def test_a_run_of_ours(tmp_path, run):
    teacher = arrays_of(network(seed=1))
    state = {f"teacher.{name}": array for name, array in teacher.items()}
    state |= {f"student.{name}": array + 1 for name, array in teacher.items()}
    from mindspore import Tensor

    checkpoint_io.save(tmp_path / "last.ckpt", {name: Tensor(array) for name, array in state.items()}, {"step": 9})
    assert run(tmp_path / "last.ckpt", tmp_path / "best.ckpt")[0] == 0
    assert_same(read(tmp_path / "best.ckpt"), teacher)


def assert_refused(result, target, *parts):
    code, _, err = result
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not target.exists()
    for part in parts:
        assert part in err, part


def test_names_and_shapes_that_do_not_fit(tmp_path, run):
    arrays = arrays_of(network(seed=1))
    target = tmp_path / "out.ckpt"
    extra = arrays | {"decoder.extra.weight": np.zeros(2, np.float32)}
    result = run(write_ckpt(tmp_path / "a.ckpt", extra), target)
    assert_refused(result, target, "1 unexpected (first: decoder.extra.weight)")
    assert "decoder.extra.weight" in result[1]  # and in the table
    less = {name: array for name, array in arrays.items() if name != "encoder.layer3.0.bn1.beta"}
    result = run(write_ckpt(tmp_path / "b.ckpt", less), target)
    assert_refused(result, target, "1 missing (first: encoder.layer3.0.bn1.beta)")
    wrong = arrays | {"encoder.layer3.0.bn1.beta": np.zeros(3, np.float32)}
    result = run(write_ckpt(tmp_path / "c.ckpt", wrong), target)
    assert_refused(result, target, "1 wrong shape (first: encoder.layer3.0.bn1.beta: [3] in the file")
    odd = {name: array for name, array in arrays.items() if not name.startswith("encoder.layer3.1")}
    result = run(write_ckpt(tmp_path / "d.ckpt", odd), target)
    assert_refused(result, target, "stages of (2, 2, 1, 2) basic blocks", "resnet18, resnet34, resnet50, resnet101")


def test_a_configuration_to_match_against(tmp_path, run):
    source = write_ckpt(tmp_path / "in.ckpt", arrays_of(network("net.num_classes=6", seed=1)))
    config = tmp_path / "config.yaml"
    net = "encoder: {type: resnet18, kwargs: {width: 4}}, decoder: {kwargs: {inner_planes: 8, dilations: [1, 2, 3]}}"
    head = "proto_head: {num_micro_proto: 2}"
    config.write_text(f"method: ours\ndataset: {{type: synthetic}}\nnet: {{{net}, {head}}}\n")
    assert run(source, tmp_path / "out.ckpt", "--config", config)[0] == 0
    config.write_text(f"dataset: {{type: synthetic}}\nnet: {{{net}}}\n")
    target = tmp_path / "other.ckpt"
    assert_refused(run(source, target, "--config", config), target, "1 unexpected (first: proto_net.proto_list)")


def test_nothing_is_overwritten_unasked(tmp_path, run):
    source, _, teacher = u2pl(tmp_path)
    target = tmp_path / "out.ckpt"
    target.write_text("mine")
    code, _, err = run(source, target)
    assert code == 2
    assert "--overwrite" in err
    assert target.read_text() == "mine"
    assert_refused(run(source, target / "x.ckpt"), target / "x.ckpt", "cannot be written")
    assert run(source, target, "--overwrite")[0] == 0
    assert_same(read(target), teacher)
    before = target.read_bytes()
    assert run(target, target, "--overwrite")[0] == 2  # in place
    assert target.read_bytes() == before
    assert_refused(run(source, tmp_path / "out.pth"), tmp_path / "out.pth", "ends in .ckpt")


def test_broken_inputs(tmp_path, run):
    target = tmp_path / "out.ckpt"
    source = u2pl(tmp_path)[0]
    whole = source.read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole[: len(whole) // 2])
    assert_refused(run(cut, target), target, "cut.pth", "truncated")
    text = tmp_path / "text.pth"
    text.write_text("see the web page\n")
    assert_refused(run(text, target), target, "a text file")
    assert_refused(run(tmp_path / "none.pth", target), target, "none.pth")
    nothing = write_pth(tmp_path / "e.pth", {"model_state": {"a.weight": np.zeros(2, np.float32)}})
    assert_refused(run(nothing, target), target, "expected a DeepLabv3+ network or an encoder")
    assert_refused(run(write_ckpt(tmp_path / "one.ckpt", arrays_of(network())), target, "--which", "student"), target)


@pytest.mark.parity
def test_quantised_weights_are_refused_and_counters_are_not(run, tmp_path):
    whole, name = torch_state(arrays_of(network())), "decoder.classifier.8.weight"
    path = tmp_path / "x.safetensors"
    save_file(whole | {name: whole[name].astype(np.float16)}, path)
    assert run(path, tmp_path / "x.ckpt")[0] == 0
    save_file(whole | {name: (100 * whole[name]).astype(np.int8)}, path)
    code, _, err = run(path, tmp_path / "y.ckpt")
    assert (code, err.count("\n")) == (2, 1)
    assert f"x.safetensors: {name} holds whole numbers (int8)" in err
    assert not (tmp_path / "y.ckpt").exists()
    with pytest.raises(CheckpointError, match="holds whole numbers"):
        load_evaluated(network(), path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.ckpt"])
def test_safetensors_are_known_by_name_and_by_content(tmp_path, name):
    save_file({"decoder.x": np.ones(2, np.float32)}, tmp_path / name)
    assert read_network(tmp_path / name)["decoder.x"].tolist() == [1, 1]
    (tmp_path / name).write_bytes((20).to_bytes(8, "little") + b'{"x')
    with pytest.raises(CheckpointError, match=rf"{name}: truncated, damaged or no \.safetensors file"):
        read_network(tmp_path / name)


def test_a_pth_that_holds_a_whole_module(tmp_path, run):
    torch = pytest.importorskip("torch")
    from reference.network import Network, NetworkSpec

    torch.save(Network(NetworkSpec(depth=18, width=2, inner_planes=4)), tmp_path / "module.pth")
    target = tmp_path / "out.ckpt"
    assert_refused(run(tmp_path / "module.pth", target), target, "whole pickled module", "state_dict")


def test_the_command_line_itself(tmp_path):
    (tmp_path / "text.pth").write_text("no checkpoint\n")
    command = [sys.executable, str(SCRIPT), "text.pth", "out.ckpt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: text.pth: ")
    assert done.stderr.count("\n") == 1
