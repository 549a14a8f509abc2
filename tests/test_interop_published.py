"""Checkpoints that users bring: the authors' best.ckpt, runs of ours, U2PL's and ImageNet's .pth, and broken ones."""

import mindspore as ms
import numpy as np
import pytest
from checkpoint_files import arrays_of, network, torch_state, write_ckpt, write_pth
from safetensors.numpy import save_file

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import CheckpointError
from semiseg.config.keys import ExpectedConfig
from semiseg.inference.evaluation import compare
from semiseg.interop.network_files import read_network
from semiseg.interop.pretrained import load_encoder
from semiseg.interop.published import find_best, load_evaluated

AUX = "net.aux_loss={loss_weight: 0.4}"


def with_prefix(arrays, prefix="module."):
    return {prefix + name: array for name, array in arrays.items()}


def save_safetensors(path, arrays):
    save_file(arrays, path)
    return path


def assert_holds(built, arrays):
    found = arrays_of(built)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def refusal(function, *args) -> str:
    with pytest.raises(CheckpointError) as caught:
        function(*args)
    message, *table = str(caught.value).splitlines()
    assert all(line.startswith("  ") for line in table)  # what differs, below the line that says so
    assert str(args[-1]) in message
    return message


# --- what loads -------------------------------------------------------------------------------------------------------


def test_the_authors_best_ckpt_with_prototypes(tmp_path):
    source = arrays_of(network(seed=1))
    path = write_ckpt(tmp_path / "best.ckpt", with_prefix(source))
    built = network(seed=2)
    load_evaluated(built, path)
    assert_holds(built, source)
    out = built(ms.Tensor(np.ones((1, 3, 33, 33), np.float32)))
    assert out.proto.shape == (1, 3, 33, 33)


def test_the_authors_auxiliary_head_has_one_bias_less(tmp_path):
    source = arrays_of(network(AUX, seed=1))
    less = {name: array for name, array in source.items() if name != "auxor.aux.0.bias"}
    built = network(AUX, seed=2)
    load_evaluated(built, write_ckpt(tmp_path / "best.ckpt", with_prefix(less)))
    assert_holds(built, source | {"auxor.aux.0.bias": np.zeros_like(source["auxor.aux.0.bias"])})
    other = {name: array for name, array in source.items() if name != "auxor.aux.4.bias"}
    path = write_ckpt(tmp_path / "other.ckpt", with_prefix(other))
    assert "missing (first: auxor.aux.4.bias" in refusal(load_evaluated, built, path)


def test_our_best_ckpt_has_the_published_names(tmp_path):
    source = network(seed=1)
    checkpoint_io.save(tmp_path / "best.ckpt", checkpoint_io.network_arrays(source), {"step": 3, "miou": 50.0})
    names = [name for name in ms.load_checkpoint(str(tmp_path / "best.ckpt")) if name != "semiseg.record"]
    assert all(name.startswith("module.") for name in names)
    assert {"module.encoder.conv1.1.gamma", "module.proto_net.proto_list"} < set(names)
    built = network(seed=2)
    load_evaluated(built, tmp_path / "best.ckpt")
    assert_holds(built, arrays_of(source))


def test_of_student_and_teacher_the_teacher_is_taken(tmp_path):
    student, teacher = arrays_of(network(seed=1)), arrays_of(network(seed=2))
    both = with_prefix(student, "student.") | with_prefix(teacher, "teacher.")
    both["optimizer.encoder.conv1.0.weight"] = student["encoder.conv1.0.weight"]
    run = tmp_path / "last.ckpt"
    checkpoint_io.save(run, {name: ms.Tensor(array) for name, array in both.items()}, {"step": 4})
    built = network(seed=3)
    load_evaluated(built, run)
    assert_holds(built, teacher)

    del both["optimizer.encoder.conv1.0.weight"]
    built = network(seed=3)
    load_evaluated(built, write_ckpt(tmp_path / "foreign.ckpt", both))
    assert_holds(built, teacher)

    states = {"model_state": torch_state(student, "module."), "teacher_state": torch_state(teacher, "module.")}
    built = network(seed=3)
    load_evaluated(built, write_pth(tmp_path / "ckpt_best.pth", {"epoch": 3, **states, "best_miou": 0.5}))
    assert_holds(built, teacher)


def test_a_student_alone_is_never_taken_for_the_network(tmp_path):
    path = write_ckpt(tmp_path / "half.ckpt", with_prefix(arrays_of(network()), "student."))
    assert "expected a teacher, found only a student" in refusal(load_evaluated, network(), path)


def test_u2pl_pth_with_its_representation_head(tmp_path):
    source = arrays_of(network("net.proto_head=null", seed=1))
    state = torch_state(source, "module.")
    state["module.decoder.representation.0.weight"] = np.zeros((4, 4, 3, 3), np.float32)
    built = network("net.proto_head=null", seed=2)
    load_evaluated(built, write_pth(tmp_path / "x.pth", {"model_state": state}))
    assert_holds(built, source)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_number_types_become_float32(tmp_path, dtype):
    source = {name: array.astype(dtype) for name, array in arrays_of(network(seed=1)).items()}
    built = network(seed=2)
    load_evaluated(built, write_pth(tmp_path / "x.pth", torch_state(source)))
    assert_holds(built, {name: array.astype(np.float32) for name, array in source.items()})


# --- where it is found, and what is said of it ------------------------------------------------------------------------


def test_find_best_takes_the_authors_other_folder_for_186(tmp_path):
    wanted = tmp_path / "city/186/semiseg_with_proto/checkpoints/best.ckpt"
    other = tmp_path / "city/183/semiseg_with_proto/checkpoints/best.ckpt"
    assert "put a published best.ckpt there" in refusal(find_best, wanted)
    write_ckpt(other, {"a": np.zeros(1, np.float32)})
    path, remark = find_best(wanted)
    assert path == other
    assert "183" in remark
    assert "186" in remark
    write_ckpt(wanted, {"a": np.zeros(1, np.float32)})
    assert find_best(wanted) == (wanted, "")


@pytest.mark.parametrize("place", ["voc/186", "city/372"])
def test_find_best_looks_elsewhere_for_186_of_cityscapes_alone(tmp_path, place):
    for split in ("voc/183", "city/183"):
        write_ckpt(tmp_path / split / "semiseg_with_proto/checkpoints/best.ckpt", {"a": np.zeros(1, np.float32)})
    refusal(find_best, tmp_path / place / "semiseg_with_proto/checkpoints/best.ckpt")


def test_find_best_takes_u2pls_file_where_there_is_no_best_ckpt(tmp_path):
    wanted = tmp_path / "checkpoints/best.ckpt"
    wanted.parent.mkdir()
    theirs = write_pth(wanted.parent / "ckpt_best.pth", {"model_state": {"a": np.zeros(1, np.float32)}})
    path, remark = find_best(wanted)
    assert path == theirs
    assert "U2PL" in remark
    write_ckpt(wanted, {"a": np.zeros(1, np.float32)})
    assert find_best(wanted) == (wanted, "")


def test_scores_are_set_beside_the_published_ones():
    expected = ExpectedConfig(miou=74.65, proto_miou=74.0, tolerance=0.2)
    lines = compare({"miou": 74.5, "proto_miou": 71.25}, expected)
    assert lines[0] == "linear head: measured 74.50, published 74.65, -0.15 (as published)"
    assert lines[1] == "prototype head: measured 71.25, published 74.00, -2.75 (differs)"
    assert len(compare({"miou": 74.5, "proto_miou": None}, expected)) == 1
    assert compare({"miou": 74.5, "proto_miou": 1.0}, ExpectedConfig()) == []


# --- what is refused --------------------------------------------------------------------------------------------------


def test_mismatches_say_what_differs(tmp_path):
    path = write_ckpt(tmp_path / "best.ckpt", with_prefix(arrays_of(network())))
    plain = write_ckpt(tmp_path / "plain.ckpt", with_prefix(arrays_of(network("net.proto_head=null"))))
    classes = refusal(load_evaluated, network("net.num_classes=4"), path)
    assert "decoder.classifier.8.weight: [3, 8, 1, 1] in the file, [4, 8, 1, 1] in the network" in classes
    assert "1 missing (first: proto_net.proto_list)" in refusal(load_evaluated, network(), plain)
    assert "1 unexpected (first: proto_net.proto_list)" in refusal(load_evaluated, network("net.proto_head=null"), path)
    many = "net.proto_head={num_micro_proto: 4}"
    assert "[6, 16] in the file, [12, 16] in the network" in refusal(load_evaluated, network(many), path)


def test_nothing_is_changed_by_a_file_that_does_not_fit(tmp_path):
    path = write_ckpt(tmp_path / "plain.ckpt", with_prefix(arrays_of(network("net.proto_head=null", seed=1))))
    built = network(seed=2)
    before = arrays_of(built)
    refusal(load_evaluated, built, path)
    assert_holds(built, before)


def test_names_beside_the_network_are_not_dropped(tmp_path):
    arrays = with_prefix(arrays_of(network())) | {"extra.weight": np.zeros(2, np.float32)}
    path = write_ckpt(tmp_path / "best.ckpt", arrays)
    assert "1 unexpected (first: extra.weight)" in refusal(load_evaluated, network(), path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_ckpt(tmp_path, share):
    whole = write_ckpt(tmp_path / "whole.ckpt", with_prefix(arrays_of(network()))).read_bytes()
    path = tmp_path / "best.ckpt"
    path.write_bytes(whole[: int(share * len(whole))])
    refusal(load_evaluated, network(), path)


def test_a_flipped_byte_of_ours_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "best.ckpt"
    checkpoint_io.save(path, checkpoint_io.network_arrays(network()), {"step": 1})
    whole = path.read_bytes()
    for position in np.random.default_rng(0).integers(len(whole), size=25):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(bytes(damaged))
        refusal(load_evaluated, network(), path)


def test_a_flipped_byte_in_a_file_without_checksum_never_crashes(tmp_path):
    whole = write_ckpt(tmp_path / "whole.ckpt", with_prefix(arrays_of(network()))).read_bytes()
    path, built, refused = tmp_path / "best.ckpt", network(), []
    for position in [*range(0, 60), *np.random.default_rng(1).integers(len(whole), size=40)]:
        damaged = bytearray(whole)
        damaged[position] ^= 0x20
        path.write_bytes(bytes(damaged))
        try:
            load_evaluated(built, path)
        except CheckpointError as error:
            refused.append(str(error))
    assert len(refused) > 20  # names, shapes and types at least
    assert all(message.startswith(str(path)) for message in refused)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    arrays = arrays_of(network())
    arrays["decoder.head.0.weight"][1, 2, 0, 0] = value
    path = write_ckpt(tmp_path / "best.ckpt", with_prefix(arrays))
    assert "decoder.head.0.weight holds values that are not finite" in refusal(load_evaluated, network(), path)


@pytest.mark.parametrize("name", ["best.ckpt", "best.pth", "best.tar", "best.safetensors", "best"])
@pytest.mark.parametrize("write", [write_ckpt, write_pth, save_safetensors])
def test_a_renamed_file_is_read_as_what_it_is(tmp_path, write, name):
    arrays = {"decoder.head.0.weight": np.arange(3, dtype=np.float32)}
    written = write(tmp_path / "made.ckpt", arrays)
    read = read_network(written.rename(tmp_path / name))
    np.testing.assert_array_equal(read["decoder.head.0.weight"], [0, 1, 2])


@pytest.mark.parametrize("length", [120, 128, 384, 19280])  # 128: \x80 as a pickle begins; 19280: PK as a zip archive
def test_a_safetensors_file_is_known_whatever_the_length_of_its_header(tmp_path, length):
    path = save_safetensors(tmp_path / "x.safetensors", {"decoder.head.0.weight": np.ones(2, np.float32)})
    content = path.read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].rstrip()
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + content[-8:])
    assert read_network(path)["decoder.head.0.weight"].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["best.pth", "best.ckpt"])
def test_a_text_file_by_another_name(tmp_path, name):
    path = tmp_path / name
    path.write_text("a note about where to find the weights\n" * 30)
    refusal(load_evaluated, network(), path)


def test_a_missing_file(tmp_path):
    for name in ("best.pth", "best.ckpt"):
        refusal(load_evaluated, network(), tmp_path / name)


# --- ImageNet weights -------------------------------------------------------------------------------------------------


def encoder_arrays(seed):
    arrays = arrays_of(network(seed=seed))
    return {name: array for name, array in arrays.items() if name.startswith("encoder.")}


def bare(arrays):
    return {name.removeprefix("encoder."): array for name, array in arrays.items()}


@pytest.mark.parametrize("kind", ["bare .pth", "module.encoder. .pth", "bare .ckpt", "module.encoder. .ckpt"])
def test_encoder_weights(tmp_path, kind):
    source = encoder_arrays(1)
    named = bare(source) if kind.startswith("bare") else with_prefix(source)
    if kind.endswith("pth"):
        state = torch_state(named)
        if kind.startswith("bare"):
            state |= {"fc.weight": np.zeros((10, 32), np.float32), "fc.bias": np.zeros(10, np.float32)}
        path = write_pth(tmp_path / "resnet18.pth", state)
    else:
        path = write_ckpt(tmp_path / "resnet18.ckpt", named)
    built = network(seed=2)
    before = arrays_of(built)
    line = load_encoder(built.encoder, path)
    assert_holds(built, before | source)
    assert str(path) in line
    assert str(len(source)) in line


def test_a_stem_of_one_7x7_convolution_is_explained(tmp_path):
    state = torch_state(bare(encoder_arrays(1)))
    state = {name: array for name, array in state.items() if not name.startswith("conv1.")}
    state["conv1.weight"] = np.zeros((64, 3, 7, 7), np.float32)
    path = write_pth(tmp_path / "resnet18.pth", state)
    with pytest.raises(CheckpointError, match=r"one 7x7 convolution \(conv7\).*set net\.encoder\.kwargs\.stem=conv7"):
        load_encoder(network().encoder, path)


def test_an_encoder_of_another_depth_or_a_whole_network(tmp_path):
    path = write_pth(tmp_path / "resnet18.pth", torch_state(bare(encoder_arrays(1))))
    deeper = network("net.encoder.type=resnet50", "net.encoder.kwargs.width=4")
    with pytest.raises(CheckpointError, match=r"resnet18\.pth: weights of resnet18.*set net\.encoder\.type=resnet18"):
        load_encoder(deeper.encoder, path)
    path = write_ckpt(tmp_path / "best.ckpt", with_prefix(arrays_of(network())))
    with pytest.raises(CheckpointError, match=r"unexpected \(first: decoder\."):
        load_encoder(network().encoder, path)
