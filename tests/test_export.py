"""Exported files run elsewhere and say what they want."""

import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from PIL import Image
from tiny import TINY_NET

from semiseg import cli, export
from semiseg.checkpoints import io as checkpoint_io
from semiseg.config import load
from semiseg.config.loading import from_tree
from semiseg.data import build as data_build
from semiseg.data.transforms import normalize
from semiseg.engine import build
from semiseg.evaluate import load_network
from semiseg.inference import export as inference_export
from semiseg.inference import exportable
from semiseg.inference.exportable import ExportableNetwork
from semiseg.models import build_model
from semiseg.models.interpolate import resize

SIZE = (41, 50)


def run(ready, *options):
    path, overrides, _ = ready
    return cli.run(export.main, ["--config", str(path), *(str(option) for option in options), *overrides])


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return pixels


def network_output(ready, pixels):
    path, overrides, best = ready
    out = load_network(load(path, overrides), best)(Tensor(normalize(pixels)[None]))
    return {"linear": resize(out.pred, SIZE).asnumpy(), "proto": out.proto.asnumpy()}


def expected(ready, pixels):
    return network_output(ready, pixels)["linear"]


def test_mindir_gives_our_own_logits(ready, tmp_path, photo, capsys):
    out = tmp_path / "net.mindir"
    assert run(ready, "--format", "mindir", "--size", *SIZE, "--out", out) == 0
    assert "checked: logits differ by" in capsys.readouterr().out
    found = nn.GraphCell(ms.load(str(out)))(Tensor(normalize(photo)[None])).asnumpy()
    logits = expected(ready, photo)
    np.testing.assert_allclose(found, logits, atol=1e-5 * np.abs(logits).max())
    assert sorted(p.name for p in tmp_path.iterdir() if "net." in p.name) == ["net.mindir", "net.mindir.json"]


def test_the_description_says_at_what_scale_the_network_was_scored(ready, tmp_path):
    said = []
    for name, scales in (("own.onnx", []), ("half.onnx", ["evaluation.scales=[0.5]"])):
        assert run(ready, "--format", "onnx", "--size", *SIZE, "--out", tmp_path / name, *scales) == 0
        about = json.loads((tmp_path / f"{name}.json").read_text())
        said += [line for line in about["preprocessing"] if line.startswith("bring")]
    own, half = said
    assert half == f"{own}; the network was scored on images resized by 0.5 (evaluation.scales)"


def test_the_description_of_a_network_that_sees_windows_says_so(ready, tmp_path):
    scoring = ["evaluation.mode=slide", "evaluation.crop_size=[33,49]", "evaluation.base_size=200"]
    assert run(ready, "--format", "onnx", "--out", tmp_path / "x.onnx", *scoring) == 0
    about = json.loads((tmp_path / "x.onnx.json").read_text())
    (line,) = [line for line in about["preprocessing"] if "33" in line]
    assert line.startswith(
        "cut windows of 33 x 49 pixels (height x width) out of images whose long side is brought to 200"
    )
    assert "every 22 pixels down and 33 to the right" in line  # two thirds of a window


def test_onnx_gives_our_own_logits_and_its_description_is_enough_to_run_it(ready, tmp_path, photo):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "net.onnx"
    assert run(ready, "--format", "onnx", "--size", *SIZE, "--out", out) == 0
    about = json.loads((tmp_path / "net.onnx.json").read_text())
    session = onnxruntime.InferenceSession(str(out))
    given = session.get_inputs()[0]
    assert (given.name, given.shape) == (about["input"]["name"], about["input"]["shape"])
    x = (photo - np.array(about["mean"])) / about["std"]
    found = session.run(None, {given.name: x.transpose(2, 0, 1)[None].astype(np.float32)})[0]
    logits = expected(ready, photo)
    assert list(found.shape) == about["output"]["shape"]
    np.testing.assert_allclose(found, logits, atol=1e-5 * np.abs(logits).max())
    assert about["classes"][1] == "disk"
    assert about["colors"][1] == [239, 83, 80]


@pytest.mark.parametrize("head", ["proto", "both"])
def test_onnx_of_the_prototype_head_gives_our_own_logits_by_name(ready, tmp_path, photo, capsys, head):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "net.onnx"
    assert run(ready, "--format", "onnx", "--head", head, "--size", *SIZE, "--out", out) == 0
    assert "checked: logits differ by" in capsys.readouterr().out
    about = json.loads((tmp_path / "net.onnx.json").read_text())
    outputs = about.get("outputs", [about["output"]])
    session = onnxruntime.InferenceSession(str(out))
    names = ["linear", "proto"] if head == "both" else ["proto"]
    assert [output["name"] for output in outputs] == names
    assert [output.name for output in session.get_outputs()] == names
    found = session.run(names, {about["input"]["name"]: normalize(photo)[None]})
    own = network_output(ready, photo)
    for name, output, logits in zip(names, outputs, found, strict=True):
        assert list(logits.shape) == output["shape"]
        np.testing.assert_allclose(logits, own[name], atol=inference_export.TOLERANCE * np.abs(own[name]).max())
    assert outputs[-1]["meaning"] == "logits of the prototype head"


def test_mindir_of_both_heads_gives_our_own_logits(ready, tmp_path, photo):
    out = tmp_path / "net.mindir"
    assert run(ready, "--format", "mindir", "--head", "both", "--size", *SIZE, "--out", out) == 0
    linear, proto = nn.GraphCell(ms.load(str(out)))(Tensor(normalize(photo)[None]))
    own = network_output(ready, photo)
    for logits, name in ((linear, "linear"), (proto, "proto")):
        np.testing.assert_allclose(logits.asnumpy(), own[name], atol=1e-5 * np.abs(own[name]).max())


def test_a_prototype_head_that_differs_is_never_written(ready, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exportable, "TINY", 1e4)
    assert run(ready, "--format", "mindir", "--head", "both", "--size", 33, 33, "--out", tmp_path / "net.mindir") == 2
    assert "logits differ" in capsys.readouterr().err
    assert not (tmp_path / "net.mindir").exists()


def test_a_network_without_a_prototype_head_exports_none(tiny_config, tiny_overrides, tmp_path, capsys):
    path, overrides = tiny_config("mean_teacher"), [text for text in tiny_overrides if "proto_head" not in text]
    config, _ = data_build.complete(load(path, overrides))
    best = tmp_path / "run/checkpoints/best.ckpt"
    checkpoint_io.save(best, checkpoint_io.network_arrays(build.fresh_network(config, seed=3)), {"step": 1})
    for head in ("proto", "both"):
        out = tmp_path / "net.onnx"
        assert run((path, overrides, best), "--format", "onnx", "--head", head, "--out", out) == 2
        reason = "this network has no prototype head (net.proto_head is null, or it is of the supervised phase)"
        assert capsys.readouterr().err == f"error: --head {head}: {reason}; --head linear\n"
        assert not out.exists()


def test_what_differs_is_never_written(ready, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inference_export, "resize", lambda x, size: resize(x, size) * 1.01)
    assert run(ready, "--format", "mindir", "--size", 33, 33, "--out", tmp_path / "net.mindir") == 2
    assert "logits differ" in capsys.readouterr().err
    assert not (tmp_path / "net.mindir").exists()


def test_the_size_is_the_windows_or_the_training_crops(ready):
    path, overrides, _ = ready
    assert export.default_size(load(path, overrides)) == (33, 33)
    slide = ["evaluation.mode=slide", "evaluation.crop_size=[40, 60]"]
    assert export.default_size(load(path, [*overrides, *slide])) == (40, 60)


def test_files_that_are_there_are_kept_and_wrong_requests_are_one_line(ready, tmp_path, capsys):
    kept = tmp_path / "net.mindir.json"
    kept.write_text("keep")
    out = ["--format", "mindir", "--out", tmp_path / "net.mindir"]
    for options, message in (
        (out, "--overwrite"),
        (["--format", "mindir", "--out", tmp_path], "is a folder"),
        (["--format", "mindir", "--out", tmp_path / "x", "--size", 0, 33], "--size"),
        (["--format", "mindir", "--out", tmp_path / "x", "--checkpoint", tmp_path / "gone"], "no such checkpoint"),
        (["--format", "mindir", "--out", kept / "x"], "cannot be written"),
        (["--format", "mindir", "--out", tmp_path / "x.ONNX"], "--format onnx, or give it another name"),
    ):
        assert run(ready, *options) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert kept.read_text() == "keep"
    assert run(ready, *out, "--overwrite") == 0
    assert json.loads(kept.read_text())["input"]["shape"] == [1, 3, 33, 33]


def test_what_is_read_is_never_replaced(ready, tmp_path, capsys):
    path, _, best = ready
    before = best.read_bytes()
    link = tmp_path / "link.mindir"
    link.symlink_to(best)
    (tmp_path / "run/checkpoints/best.ckpt.json").symlink_to(path)
    for out in (best, link, tmp_path / "run/../run/checkpoints/best.ckpt"):
        assert run(ready, "--format", "mindir", "--overwrite", "--out", out) == 2
        assert "is read by this command" in capsys.readouterr().err
    assert best.read_bytes() == before


def test_a_dilation_between_the_sides_of_a_map_runs_elsewhere_too():
    pytest.importorskip("onnxruntime")
    size = (33, 90)  # maps of 5 x 12: no row but the middle one of a dilation of 6 meets a pixel, all columns do
    config = from_tree(
        {}, [*TINY_NET, "net.num_classes=3", "net.decoder.kwargs={inner_planes: 8, dilations: [1, 6, 12]}"]
    )
    network = build_model(config.net).set_train(False)
    content = inference_export.exported(ExportableNetwork(network, size), size, "onnx")
    assert inference_export.verify(content, network, size, "onnx").startswith("checked: logits differ by")


def test_what_the_runtime_refuses_is_one_line(ready, tmp_path, monkeypatch, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")

    def refuse(*_, **__):
        raise onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument("no\nsuch thing")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    assert run(ready, "--format", "onnx", "--size", 33, 33, "--out", tmp_path / "net.onnx") == 2
    err = capsys.readouterr().err
    assert "ONNX Runtime does not run what was exported, and nothing was written (" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "net.onnx").exists()
