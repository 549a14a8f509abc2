"""Names and shapes of a file against those of a network: the report, and the table of what differs."""

import pytest
from tiny import context_of, network_of

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.match import facts, match, mismatch_table
from semiseg.common.errors import CheckpointError
from semiseg.interop.network_files import fill, read_network


def shapes(*overrides, prefix=""):
    network = network_of(context_of(*overrides).net)
    return {prefix + name: tuple(p.shape) for name, p in network.parameters_and_names()}


def test_mismatches_are_told_apart():
    in_file = {"a": (2, 3), "b": (4,), "extra": (1,), "skip.me": (1,)}
    report = match(in_file, {"a": [2, 3], "b": (5,), "c": (1,)}, ["skip.*", "c", "b"])
    assert report.matched == ("a",)
    assert report.missing == ("c",)  # a pattern does not excuse what the network needs
    assert report.wrong_shape == {"b": ((4,), (5,))}
    assert report.unexpected == ("extra",)
    assert report.ignored == ("skip.me",)
    assert not report.complete
    with pytest.raises(CheckpointError, match=r"1 wrong shape \(first: b: \[4\] in the file, \[5\] in the network\)"):
        report.require_complete("f")


def test_nothing_in_common_is_not_complete():
    assert not match({}, {}).complete


def test_table_counts_everything_and_shortens_lists():
    in_file = {f"u{i}": (1,) for i in range(12)} | {"w": (2,), "m": (1,)}
    table = match(in_file, {"w": (3,), "m": (1,), "gone": (1,)}).table(limit=10).splitlines()
    assert table[0].split() == ["matched", "1"]
    assert table[1].split() == ["missing", "1"]
    assert table[2].strip() == "gone"
    assert table[3].split() == ["unexpected", "12"]
    assert [line.strip() for line in table[4:14]] == [f"u{i}" for i in range(10)]
    assert table[14].strip() == "... and 2 more"
    assert table[15].split() == ["ignored", "0"]
    assert table[17].strip() == "w: [2] in the file, [3] in the network"


def test_equal_networks_have_no_table():
    assert mismatch_table(shapes(), shapes()) == ""


def test_what_shapes_tell():
    assert facts(shapes("net.aux_loss={}", prefix="student.")) == {
        "classes": "3",
        "prototypes of a class": "2",
        "channels of a prototype": "16",
        "encoder blocks": "2-2-2-2 basic",
        "encoder stem": "deep",
        "encoder width": "4",
        "decoder channels": "8",
        "ASPP branches": "5",
        "image pooling": "with BatchNorm",
        "auxiliary head": "yes",
        "representation head": "-",
    }
    assert set(facts({}).values()) == {"-"}


DIFFERENCES = {
    "classes": (["net.num_classes=7"], "classes  7  3"),
    "K": (["net.proto_head.num_micro_proto=3"], "prototypes of a class  3  2"),
    "depth": (["net.encoder.type=resnet50"], "encoder blocks  3-4-6-3 bottleneck  2-2-2-2 basic"),
    "width": (["net.encoder.kwargs.width=8"], "encoder width  8  4"),
    "decoder": (["net.decoder.kwargs.inner_planes=16"], "decoder channels  16  8"),
    "branches": (["net.decoder.kwargs.dilations=[1, 2]"], "ASPP branches  4  5"),
    "pooling": (["net.decoder.kwargs.pool_norm=false"], "image pooling  with a bias  with BatchNorm"),
    "head": (["net.aux_loss={}"], "auxiliary head  yes  -"),
    "prototypes": (["net.proto_head=null"], "prototypes of a class  -  2"),
    "rep": (["net.decoder.kwargs.rep_head=true"], "representation head  yes  -"),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_the_table_says_what_differs_before_it_names_parameters(case):
    overrides, expected = DIFFERENCES[case]
    lines = [" ".join(line.split()) for line in mismatch_table(shapes(*overrides), shapes()).splitlines()]
    assert lines[0] == "in the file expected here"
    assert " ".join(expected.split()) in lines
    assert sum("." in line for line in lines) <= 4


def test_a_strangers_checkpoint_is_refused_with_the_table(tmp_path):
    other = network_of(context_of("net.num_classes=7").net)
    checkpoint_io.save(tmp_path / "best.ckpt", checkpoint_io.network_arrays(other), {})
    mine = dict(network_of(context_of().net).parameters_and_names())
    before = {name: p.asnumpy().copy() for name, p in mine.items()}
    with pytest.raises(CheckpointError, match=r"best\.ckpt: does not fit the network") as caught:
        fill(mine, read_network(tmp_path / "best.ckpt"), tmp_path / "best.ckpt")
    assert "classes" in str(caught.value)
    assert "7 x 8 x 1 x 1" in str(caught.value)
    assert all((mine[name].asnumpy() == array).all() for name, array in before.items())
