"""Reading .pth files and prototype pickles: values against torch and by hand, and refusals in one clear line."""

import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from torch_bytes import Build, Call, Global, Persistent, stream, tensor, write_legacy, write_zip

from semiseg.common.errors import CheckpointError
from semiseg.interop.torch_checkpoint import read_prototype_pickle, read_torch

FLOATS = np.arange(24, dtype=np.float32) + 0.5
SIMPLE = {"a": tensor("Float", "0", 24, (4, 6), (6, 1)), "b": [tensor("Long", "1", 3, (3,), (1,)), 7]}
RAW = {"0": FLOATS.tobytes(), "1": np.arange(3).tobytes()}


def simple_zip(path):
    return write_zip(path, SIMPLE, RAW)


def simple_legacy(path):
    return write_legacy(path, SIMPLE, {"0": (24, RAW["0"]), "1": (3, RAW["1"])})


def assert_simple(read):
    assert list(read) == ["a", "b"]
    np.testing.assert_array_equal(read["a"], FLOATS.reshape(4, 6))
    np.testing.assert_array_equal(read["b"][0], [0, 1, 2])
    assert (read["a"].dtype, read["b"][0].dtype, read["b"][1]) == (np.float32, np.int64, 7)


def refusal(path, read=read_torch) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [simple_zip, simple_legacy])
def test_both_formats_by_hand(tmp_path, write):
    assert_simple(read_torch(write(tmp_path / "x.pth")))


def test_arrays_are_writable_contiguous_and_independent(tmp_path):
    one = tensor("Float", "0", 24, (24,), (1,))
    two = tensor("Float", "0", 24, (6, 4), (1, 6))
    read = read_torch(write_zip(tmp_path / "x.pth", {"one": one, "two": two}, RAW))
    assert read["two"].flags.c_contiguous
    np.testing.assert_array_equal(read["two"], FLOATS.reshape(4, 6).T)
    read["one"][:] = 0
    np.testing.assert_array_equal(read["two"], FLOATS.reshape(4, 6).T)


@pytest.mark.parametrize(
    ("size", "stride", "offset", "expected"),
    [
        ((2, 3), (6, 2), 1, [[1.5, 3.5, 5.5], [7.5, 9.5, 11.5]]),
        ((), (), 5, 5.5),
        ((2, 2), (0, 1), 0, [[0.5, 1.5], [0.5, 1.5]]),
        ((0, 3), (3, 1), 0, np.zeros((0, 3))),
        ((1,), (10**12,), 23, [23.5]),
    ],
)
def test_strides_and_offsets(tmp_path, size, stride, offset, expected):
    value = {"t": tensor("Float", "0", 24, size, stride, offset)}
    read = read_torch(write_zip(tmp_path / "x.pth", value, RAW))["t"]
    np.testing.assert_array_equal(read, np.array(expected, np.float32))
    assert read.shape == size


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("Double", "f8"), ("Half", "f2"), ("Int", "i4"), ("Short", "i2"), ("Char", "i1"), ("Byte", "u1"), ("Bool", "b1")],
)
@pytest.mark.parametrize("order", ["little", "big"])
def test_types_and_byte_orders(tmp_path, kind, dtype, order):
    numbers = np.array([1, 0, 1, 1]).astype(dtype) * np.array(100 if dtype[0] == "f" else 1, dtype)
    raw = numbers.astype(numbers.dtype.newbyteorder(order)).tobytes()
    value = {"t": tensor(kind, "k", 4, (4,), (1,))}
    by_zip = read_torch(write_zip(tmp_path / "x.pth", value, {"k": raw}, byteorder=order.encode()))["t"]
    by_legacy = read_torch(write_legacy(tmp_path / "y.pth", value, {"k": (4, raw)}, order == "little"))["t"]
    for read in (by_zip, by_legacy):
        np.testing.assert_array_equal(read, numbers)
        assert read.dtype == np.dtype(dtype)
        assert read.dtype.isnative


def test_bfloat16_becomes_float32(tmp_path):
    numbers = np.array([1.0, -2.5, 3.140625, np.inf], np.float32)  # each exact in 8 bits of mantissa
    raw = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    value = {"t": tensor("BFloat16", "k", 4, (2, 2), (1, 2)), "zero_dim": tensor("BFloat16", "k", 4, (), (), 1)}
    read = read_torch(write_zip(tmp_path / "x.pth", value, {"k": raw}))
    np.testing.assert_array_equal(read["t"], numbers.reshape(2, 2).T)
    assert read["t"].dtype == np.float32
    assert (read["zero_dim"], read["zero_dim"].shape) == (-2.5, ())


def test_legacy_view_of_another_storage(tmp_path):
    value = {"t": tensor("Float", "0", 24, (2, 2), (2, 1), 1, view=("v", 10, 6)), "all": SIMPLE["a"]}
    read = read_torch(write_legacy(tmp_path / "x.pth", value, {"0": (24, RAW["0"])}))
    np.testing.assert_array_equal(read["t"], [[11.5, 12.5], [13.5, 14.5]])
    np.testing.assert_array_equal(read["all"], FLOATS.reshape(4, 6))


def test_containers_scalars_and_module_versions(tmp_path):
    ordered = Call(Global("collections", "OrderedDict"), ([("w", SIMPLE["a"])],))
    with_versions = Build(ordered, {"_metadata": {"": {"version": 1}}})
    score = pickle.dumps({"miou": np.float64(0.25), "table": np.eye(2)}, 2)
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (SIMPLE["b"][0], True, ()))
    value = {"model_state": with_versions, "size": Call(Global("torch", "Size"), ((2, 3),)), "p": parameter}
    read = read_torch(write_zip(tmp_path / "x.pth", value | {"none": None, "tuple": (1, [True, "text"])}, RAW))
    assert type(read["model_state"]) is dict
    np.testing.assert_array_equal(read["model_state"]["w"], FLOATS.reshape(4, 6))
    np.testing.assert_array_equal(read["p"], [0, 1, 2])
    assert (read["size"], read["none"], read["tuple"]) == ((2, 3), None, (1, [True, "text"]))
    scores = read_torch(write_zip(tmp_path / "y.pth", None, {}, **{"data.pkl": score}))
    assert scores["miou"] == 0.25
    np.testing.assert_array_equal(scores["table"], np.eye(2))


def same(ours, theirs, torch):
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.detach()
        theirs = (theirs.float() if theirs.dtype == torch.bfloat16 else theirs).numpy()
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            same(ours[key], value, torch)
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            same(mine, other, torch)
    else:
        assert ours == theirs


@pytest.mark.parity
@pytest.mark.parametrize("zipped", [True, False])
def test_equals_what_torch_saved(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    noted = torch.nn.Parameter(torch.randn(2))
    noted.note = "an attribute makes torch write the tensor another way"
    base = torch.arange(24.0)
    checkpoint = {
        "epoch": 3,
        "best_miou": np.float64(0.5),
        "model_state": net.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "views": [base.view(4, 6).t(), base[5:9], torch.ones(1).expand(3, 4), base[::2], torch.zeros(0, 3)],
        "types": [torch.arange(3).to(t) for t in (torch.bfloat16, torch.half, torch.int8, torch.bool, torch.double)],
        "parameters": (torch.nn.Parameter(torch.randn(3)), noted),
        "set": {1, 2},
    }
    path = tmp_path / "x.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    same(read_torch(path), checkpoint, torch)
    torch.save(net, path, _use_new_zipfile_serialization=zipped)
    message = refusal(path)
    assert "whole pickled module" in message
    assert "state_dict()" in message


# --- refusals -------------------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


SYSTEM = f"{os.mkdir.__module__}.mkdir"


@pytest.mark.parametrize("protocol", range(6))
def test_bare_malicious_pickle_is_refused_by_name(tmp_path, protocol):
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps(Evil(tmp_path / "ran"), protocol))
    for read in (read_torch, read_prototype_pickle):
        assert SYSTEM in refusal(path, read)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [("builtins", "eval"), ("builtins", "getattr"), ("torch", "load"), ("numpy", "load")])
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_malicious_global_inside_a_checkpoint_is_named(tmp_path, write, name):
    value = {"w": SIMPLE["a"], "x": Call(Global(*name), ("1",))}
    message = refusal(write(tmp_path / "x.pth", value, {}))
    assert ".".join(name) in message
    assert "state_dict()" in message


@pytest.mark.parametrize(
    "value",
    [
        Build(Global("torch._utils", "_rebuild_tensor_v2"), {"x": 1}),
        Build(Global("torch._utils", "_rebuild_tensor_v2"), (None, {"_function": 1})),
        Build(Global("numpy", "dtype"), (None, {"array": 1})),
        Build(SIMPLE["a"], {"size": (1,)}),
        Call(Global("torch._tensor", "_rebuild_from_type_v2"), ("x", "y", (), None)),
        Call(Global("numpy", "dtype"), ("O8", False, True)),
        Call(Global("numpy", "dtype"), ("V8", False, True)),
        Persistent(("module", "a", "b", "c", "d")),
        Global("torch", "FloatStorage"),
        {SIMPLE["a"]: 1},
    ],
)
def test_pickle_tricks_with_allowed_names_are_refused(tmp_path, value):
    refusal(write_zip(tmp_path / "x.pth", {"t": value}, RAW))
    assert_simple(read_torch(simple_zip(tmp_path / "y.pth")))  # and nothing of the reader was altered


def test_expanded_tensor_of_absurd_size_is_refused_before_memory_is_taken(tmp_path):
    huge = tensor("Float", "0", 24, (1 << 13, 1 << 13), (0, 0))  # 256 MiB out of one number
    assert "beyond its 24 numbers" in refusal(write_zip(tmp_path / "x.pth", {"t": huge}, RAW))


@pytest.mark.parametrize(
    "opcodes",
    [b"N" + b"r\xff\xff\xff\x7f", b"\x8e" + b"\xff\xff\xff\xff\1\0\0\0", b"\x96" + b"\xff\xff\xff\xff\1\0\0\0"],
)  # a memo slot and two lengths far beyond the file
def test_damaged_lengths_do_not_allocate(tmp_path, opcodes):
    data = b"\x80\x05" + opcodes + b"."
    tracemalloc.start()
    refusal(write_zip(tmp_path / "x.pth", None, {}, **{"data.pkl": data}))
    (tmp_path / "p.pkl").write_bytes(data)
    refusal(tmp_path / "p.pkl", read_prototype_pickle)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_global_whose_name_is_damaged_is_told_in_one_line(tmp_path):
    value = Call(Global("numpy.cor\x10", "multi\rarray"), ())
    assert r"it names the global numpy.cor\x10.multi\rarray" in refusal(write_zip(tmp_path / "x.pth", value, {}))


def test_members_that_unpack_to_more_than_they_declare_are_refused_before_memory_is_taken(tmp_path):
    value = {"a": tensor("Float", "0", 4, (4,), (1,))}
    good = {"0": np.arange(4, dtype=np.float32).tobytes()}
    for members in ({"data/0": bytes(64 << 20)}, {"data.pkl": stream(value) + bytes(64 << 20)}):
        path = write_zip(tmp_path / "x.pth", value, good)
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        content |= {f"archive/{name}": raw for name, raw in members.items()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, raw in content.items():
                archive.writestr(name, raw)
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError, match=r"has 6710\d+ bytes, at most \d+ are plausible"):
                read_torch(path)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


def test_container_that_holds_itself_is_refused(tmp_path):
    loop = {}
    loop["self"] = [loop]
    path = write_zip(tmp_path / "x.pth", None, {}, **{"data.pkl": pickle.dumps(loop, 2)})
    assert "contains itself" in refusal(path)


@pytest.mark.parametrize(
    "bad",
    [
        tensor("Float", "0", 24, (5, 5), (5, 1)),
        tensor("Float", "0", 24, (4, 6), (6, 1), 1),
        tensor("Float", "0", 24, (2,), (-1,), 5),
        tensor("Float", "0", 24, (2,), (1,), -1),
        tensor("Float", "0", 24, (2, 2), (1,)),
        tensor("Float", "0", 25, (2,), (1,)),
        tensor("Float", "0", -1, (2,), (1,)),
        tensor("Float", "absent", 24, (2,), (1,)),
        tensor("Float", "0", 24, (10**9, 10**9), (0, 0)),
        tensor("Float", "0", 24, (2.0,), (1,)),
        tensor("Float", "0", 24, (0, 10**30), (1, 1)),
    ],
)
def test_impossible_tensors_are_refused(tmp_path, bad):
    refusal(write_zip(tmp_path / "x.pth", {"t": bad}, RAW))
    refusal(write_legacy(tmp_path / "y.pth", {"t": bad}, {"0": (24, RAW["0"])}))


@pytest.mark.parametrize("write", [simple_zip, simple_legacy])
def test_truncated_anywhere_is_a_clear_error(tmp_path, write):
    raw = write(tmp_path / "whole.pth").read_bytes()
    path = tmp_path / "x.pth"
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        assert any(word in refusal(path) for word in ("truncated", "empty", "text file")), length


def test_flipped_bit_is_noticed_or_harmless(tmp_path):
    raw = bytearray(simple_zip(tmp_path / "whole.pth").read_bytes())
    path, noticed = tmp_path / "x.pth", 0
    for at in range(len(raw)):
        raw[at] ^= 16
        path.write_bytes(raw)
        raw[at] ^= 16
        try:
            read = read_torch(path)
        except CheckpointError:
            noticed += 1
        else:
            assert_simple(read)
    assert noticed > len(raw) // 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"epoch: 3\nlr: 0.1\n", "a text file"),
        (b"config:\n  lr: 0.1\nnet:\n", "a text file"),
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "a web page"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "neither a zip archive nor a pickle"),
        (pickle.dumps({"a": 1}), "not one written by torch.save"),
        (pickle.dumps({"a": 1}, 0), "not one written by torch.save"),
    ],
)
def test_files_named_pth_by_mistake(tmp_path, content, words):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert words in refusal(path)


def test_zips_that_are_no_checkpoint(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(2))
    assert "no PyTorch checkpoint" in refusal(tmp_path / "x.npz")
    script = write_zip(tmp_path / "s.pth", {}, {}, **{"constants.pkl": stream(())})
    assert "torch.jit.load" in refusal(script)
    a_list = write_zip(tmp_path / "y.pth", [1], {})
    assert "holds a list, expected a dict" in refusal(a_list)


def test_missing_file_and_folder(tmp_path):
    assert "No such file" in refusal(tmp_path / "absent.pth")
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_whole_module_names_its_class_and_the_mend(tmp_path, write):
    module = Build(Call(Global("u2pl.models.model_helper", "ModelBuilder"), ()), {"_parameters": {}, "_modules": {}})
    message = refusal(write(tmp_path / "x.pth", module, {}))
    assert "u2pl.models.model_helper.ModelBuilder" in message
    assert "save its state_dict()" in message


def test_the_reader_needs_neither_torch_nor_mindspore():
    code = (
        "import sys, semiseg.interop.torch_checkpoint, semiseg.interop.torch_names\n"
        "sys.exit(bool({'torch', 'mindspore'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


# --- prototypes -----------------------------------------------------------------------------------------------------

PROTOTYPES = np.random.default_rng(0).normal(size=(3, 2, 8)).astype(np.float32)


def prototype_dict(dtype=np.float32):
    return {c: [row.astype(dtype) for row in PROTOTYPES[c]] for c in range(3)}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prototype_pickle(tmp_path, protocol, dtype):
    path = tmp_path / "p.pkl"
    path.write_bytes(pickle.dumps(prototype_dict(dtype), protocol))
    read = read_prototype_pickle(path, per_class=2)
    np.testing.assert_array_equal(read, PROTOTYPES.reshape(6, 8))
    assert read.dtype == np.float32


@pytest.mark.parametrize(
    "content",
    [
        {c: PROTOTYPES[c] for c in (2, 0, 1)},
        {str(c): list(PROTOTYPES[c]) for c in range(3)},
        {np.int64(c): [row[None] for row in PROTOTYPES[c]] for c in range(3)},
        {c: list(np.asfortranarray(PROTOTYPES[c])) for c in range(3)},
    ],
)
def test_prototype_pickle_variants(tmp_path, content):
    path = tmp_path / "p.pkl"
    path.write_bytes(pickle.dumps(content))
    np.testing.assert_array_equal(read_prototype_pickle(path), PROTOTYPES.reshape(6, 8))


def test_prototype_npz_forms(tmp_path):
    path = tmp_path / "p.npz"
    forms = [{"p": PROTOTYPES}, {"p": PROTOTYPES.reshape(6, 8)}, {str(c): PROTOTYPES[c] for c in range(3)}]
    for arrays in forms:
        np.savez(path, **arrays)
        np.testing.assert_array_equal(read_prototype_pickle(path, per_class=2), PROTOTYPES.reshape(6, 8))
    np.savez(path, p=np.array([{}], dtype=object))
    refusal(path, read_prototype_pickle)
    path.write_bytes(b"PK\x03\x04 cut")
    refusal(path, read_prototype_pickle)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "found list"),
        ({}, "found dict"),
        ({0: [np.zeros(4)], 2: [np.zeros(4)]}, "class ids 0..1"),
        ({0: [np.zeros(4)], 1: [np.zeros(4)] * 2}, "class 1 has prototypes (2, 4), class 0 (1, 4)"),
        ({0: [np.zeros(4), np.zeros(5)]}, "class 0"),
        ({0: []}, "class 0"),
        ({0: 5}, "class 0"),
        ({0: [[1.0, 2.0]]}, "class 0"),
        ({0: [np.full(512, np.nan)]}, "not finite"),
        ({0: [np.zeros(4)] * 2}, "2 prototypes for each of 1 classes, the network has 1"),
        ({0: [np.array([{}], object)]}, "numbers only"),
    ],
)
def test_wrong_prototypes_are_explained(tmp_path, content, words):
    path = tmp_path / "p.pkl"
    path.write_bytes(pickle.dumps(content))
    assert words in refusal(path, lambda p: read_prototype_pickle(p, per_class=1))
