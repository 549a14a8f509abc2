"""Averaged weights beside trained ones, however a file keeps both: the averaged ones are taken, and that is said."""

import json

import numpy as np
import pytest
from checkpoint_files import arrays_of, network, torch_state, write_ckpt, write_pth
from tiny import TINY_NET, with_prototypes

from semiseg import cli, evaluate
from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import CheckpointError
from semiseg.interop.averaged import is_averaged, prefixes_in
from semiseg.interop.network_files import read_network_file
from semiseg.interop.published import load_evaluated

TRAINED, AVERAGED = np.zeros(3, np.float32), np.ones(3, np.float32)


def state(array, prefix=""):
    return {f"{prefix}decoder.head.0.weight": array, f"{prefix}decoder.classifier.8.bias": array}


def taken(path, which=None):
    """(trained or averaged, what is said of it)."""
    file = read_network_file(path, which)
    (value,) = {float(array[0]) for array in file.state.values()}
    assert set(file.state) == set(state(TRAINED))
    return "averaged" if value else "trained", file.note


KEYS = [
    *(("model", "model_ema"), ("state_dict", "state_dict_ema"), ("state_dict", "ema_state_dict"), ("model", "ema")),
    *(("model_state", "teacher_state"), ("model", "teacher"), ("model", "EMAModel"), ("model", "modelEMA")),
    *(("model_state", "swa_state"), ("state_dict", "averaged_model")),
]


@pytest.mark.parametrize(("trained", "averaged"), KEYS)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])  # a file of PyTorch's by content
@pytest.mark.parametrize("ddp", ["", "module."])
def test_averaged_weights_come_first_under_any_of_the_usual_keys(tmp_path, trained, averaged, suffix, ddp):
    content = {"epoch": 3, trained: state(TRAINED, ddp), averaged: state(AVERAGED, ddp), "optimizer": {"lr": 0.1}}
    path = write_pth(tmp_path / f"x{suffix}", content)
    assert taken(path) == ("averaged", f"averaged weights: {averaged}")
    assert taken(path, "student") == ("trained", "")


def test_a_state_inside_its_wrapper_is_found(tmp_path):
    content = {"model": state(TRAINED), "ema": {"module": state(AVERAGED, "module."), "decay": 0.99, "updates": 7}}
    assert taken(write_pth(tmp_path / "x.pth", content)) == ("averaged", "averaged weights: ema")


PREFIXES = [("student.", "teacher."), ("model.", "model_ema."), ("", "ema."), ("", "teacher."), ("online.", "ema.")]


@pytest.mark.parametrize(("trained", "averaged"), PREFIXES)
@pytest.mark.parametrize("ddp", ["", "module."])
def test_averaged_weights_come_first_in_a_flat_state(tmp_path, trained, averaged, ddp):
    both = state(TRAINED, ddp + trained) | state(AVERAGED, ddp + averaged)
    told = f"averaged weights: {averaged.rstrip('.')}"
    for path in (
        write_pth(tmp_path / "flat.pth", both),
        write_pth(tmp_path / "inner.pth", {"state_dict": both, "epoch": 3}),
        write_ckpt(tmp_path / "theirs.ckpt", both),
    ):
        assert taken(path) == ("averaged", told), path
        assert taken(path, "student") == ("trained", ""), path


def test_statistics_that_only_the_trained_network_has_belong_to_both(tmp_path):
    both = state(TRAINED) | state(AVERAGED, "ema.") | {"encoder.bn.moving_mean": TRAINED}
    file = read_network_file(write_ckpt(tmp_path / "x.ckpt", both))
    assert file.state.keys() == {*state(TRAINED), "encoder.bn.moving_mean"}
    assert file.state["decoder.head.0.weight"][0] == 1


@pytest.mark.parametrize("trained", ["", "student."])
def test_averaged_weights_of_a_part_are_not_filled_up_with_trained_ones(tmp_path, trained):
    whole = arrays_of(network())
    part = {f"ema.{name}": array + 1 for name, array in whole.items() if name.startswith("encoder.")}
    path = write_ckpt(tmp_path / "x.ckpt", {f"{trained}{name}": array for name, array in whole.items()} | part)
    with pytest.raises(CheckpointError, match=r"does not fit the network: \d+ parameters fit, \d+ missing .*decoder"):
        load_evaluated(network(seed=3), path)
    assert read_network_file(path, "student").state.keys() == whole.keys()


def test_averaged_weights_beside_a_part_that_is_not_averaged_are_refused(tmp_path):
    mixed = {name if "decoder" in name else f"ema.{name}": array for name, array in arrays_of(network()).items()}
    path = write_ckpt(tmp_path / "x.ckpt", mixed)
    with pytest.raises(CheckpointError, match=r"averaged weights under ema\. and decoder\..* is not averaged"):
        read_network_file(path)
    assert read_network_file(write_ckpt(tmp_path / "y.ckpt", state(AVERAGED, "ema.") | {"step": np.float32(3)})).state


def test_a_network_behind_one_prefix_alone_is_read(tmp_path):
    wrapped = {f"model.{name}": array for name, array in state(TRAINED).items()}
    for path in (
        write_pth(tmp_path / "lightning.ckpt", {"state_dict": wrapped, "epoch": 3, "global_step": 7}),
        write_ckpt(tmp_path / "theirs.ckpt", wrapped),
    ):
        assert taken(path) == ("trained", "")


def test_numbers_and_schedules_with_such_names_are_no_weights(tmp_path):
    content = {"model": state(TRAINED), "ema": None, "ema_decay": 0.99, "teacher_temp": TRAINED, "ema_optimizer": {}}
    content |= {"ema_scheduler": {"rates": {"a": AVERAGED}}}
    assert taken(write_pth(tmp_path / "x.pth", content)) == ("trained", "")


@pytest.mark.parametrize("name", ["schema", "model", "teaching", "cinema.weight", "average_optimizer", "encoder"])
def test_other_words_are_not_taken_for_averages(name):
    assert not is_averaged(name)


def test_averaged_weights_without_names_are_refused_and_not_replaced_by_the_others(tmp_path):
    content = {"model": state(TRAINED), "ema": {"decay": 0.9, "shadow_params": {"0": {"0": AVERAGED}, "1": AVERAGED}}}
    path = write_pth(tmp_path / "x.pth", content)
    with pytest.raises(CheckpointError, match=r"averaged weights under ema, but without .* --which student"):
        read_network_file(path)
    assert taken(path, "student") == ("trained", "")


def test_a_choice_that_is_not_there_is_refused(tmp_path):
    only = write_pth(tmp_path / "x.pth", {"model": state(TRAINED)})
    with pytest.raises(CheckpointError, match="expected averaged weights"):
        read_network_file(only, "teacher")
    averaged = write_ckpt(tmp_path / "x.ckpt", state(AVERAGED, "ema."))
    assert taken(averaged)[0] == "averaged"
    with pytest.raises(CheckpointError, match="expected a student, found only a teacher"):
        read_network_file(averaged, "student")
    assert prefixes_in(["a.b", "student.b"]) == {"student": "student."}


def test_a_supervised_run_of_ours_has_its_only_network_in_last_ckpt(tmp_path):
    arrays = {name: array.asnumpy() for name, array in network().parameters_and_names()}
    from mindspore import Tensor

    run = {f"student.{name}": Tensor(array) for name, array in arrays.items()} | {"optimizer.x": Tensor([1.0])}
    checkpoint_io.save(tmp_path / "last.ckpt", run, {"step": 4})
    assert read_network_file(tmp_path / "last.ckpt").state.keys() == arrays.keys()


@pytest.mark.parametrize(("scored", "value"), [("student", TRAINED), ("teacher", AVERAGED), ("", AVERAGED)])
def test_of_a_run_of_ours_the_network_is_taken_that_its_training_scored(tmp_path, scored, value):
    from mindspore import Tensor

    run = state(TRAINED, "student.") | state(AVERAGED, "teacher.")
    run = {name: Tensor(array) for name, array in run.items()}
    checkpoint_io.save(tmp_path / "last.ckpt", run, {"step": 4, "scored": scored})
    file = read_network_file(tmp_path / "last.ckpt")
    assert np.array_equal(file.state["decoder.head.0.weight"], value)
    assert ("before its teacher begins" in file.note) == (scored == "student")
    assert read_network_file(tmp_path / "last.ckpt", "teacher").state["decoder.head.0.weight"][0] == AVERAGED[0]


# On the command lines


def test_evaluation_and_conversion_say_which_weights_they_took(tiny_config, tmp_path, capsys):
    heads = [*TINY_NET, "net.proto_head={num_micro_proto: 2, select_granularity: 8}"]
    six = "net.num_classes=6"
    trained, averaged = (arrays_of(with_prototypes(network(six, seed=seed))) for seed in (1, 2))
    path = write_pth(tmp_path / "both.pth", {"model": torch_state(trained), "model_ema": torch_state(averaged)})
    scores, crop = tmp_path / "x.json", "dataset.train.crop.size=[33, 33]"
    named = ["--config", str(tiny_config()), "--json", str(scores), *heads, crop, "--checkpoint"]
    assert cli.run(evaluate.main, [*named, str(path)]) == 0
    assert f"checkpoint: {path} (averaged weights: model_ema)" in capsys.readouterr().out.splitlines()
    found = json.loads(scores.read_text())["iou"]
    for which, options in (("ema", []), ("ema", ["--which", "ema"]), ("model", ["--which", "model"])):
        out = tmp_path / "one.ckpt"
        assert cli.main(["convert-checkpoint", str(path), str(out), "--overwrite", *options]) == 0
        assert ("(averaged weights: model_ema)" in capsys.readouterr().out) == (which == "ema")
        assert cli.run(evaluate.main, [*named, str(out)]) == 0
        assert (json.loads(scores.read_text())["iou"] == found) == (which == "ema")
