"""The table that says what differs between two networks."""

import pytest
from tiny import context_of, network_of

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.match import facts, misfit_table
from semiseg.common.errors import CheckpointError
from semiseg.interop.network_files import fill, read_network


def shapes(*overrides, prefix=""):
    network = network_of(context_of(*overrides).net)
    return {prefix + name: tuple(p.shape) for name, p in network.parameters_and_names()}


def test_equal_networks_have_no_table():
    assert misfit_table(shapes(), shapes()) == ""


def test_what_shapes_tell():
    assert facts(shapes("net.aux_loss={}", prefix="student.")) == {
        "classes": "3",
        "prototypes of a class": "2",
        "channels of a prototype": "16",
        "encoder blocks": "2-2-2-2 basic",
        "encoder width": "4",
        "decoder channels": "8",
        "ASPP branches": "5",
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
    "head": (["net.aux_loss={}"], "auxiliary head  yes  -"),
    "prototypes": (["net.proto_head=null"], "prototypes of a class  -  2"),
    "rep": (["net.decoder.kwargs.rep_head=true"], "representation head  yes  -"),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_the_table_says_what_differs_before_it_names_parameters(case):
    overrides, expected = DIFFERENCES[case]
    lines = [" ".join(line.split()) for line in misfit_table(shapes(*overrides), shapes()).splitlines()]
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
