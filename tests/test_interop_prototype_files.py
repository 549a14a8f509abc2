"""First prototypes out of checkpoints, pickles and .npz files."""

import numpy as np
import pytest
from checkpoint_files import arrays_of, network, write_ckpt
from mindspore import Tensor
from tiny import CLASSES, context_of, network_of

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import CheckpointError
from semiseg.interop.prototype_files import read_prototypes
from semiseg.methods.proto_init import initial_prototypes


def test_the_authors_checkpoint_gives_its_prototypes(tmp_path):
    """Whatever else it holds may be of another network."""
    source = arrays_of(network(seed=1)) | {"decoder.of_another_network": np.ones(3, np.float32)}
    path = write_ckpt(tmp_path / "best.ckpt", {f"module.{name}": array for name, array in source.items()})
    assert np.array_equal(read_prototypes(path), source["proto_net.proto_list"])
    context = context_of(f"net.proto_head.init_proto_path='{path}'")
    rows, notes = initial_prototypes(network_of(context.net), context)
    assert np.array_equal(rows, source["proto_net.proto_list"])
    assert notes == [f"prototypes from {path}"]


def test_of_a_runs_last_checkpoint_the_teachers_are_taken(tmp_path):
    student, teacher = (arrays_of(network(seed=seed))["proto_net.proto_list"] for seed in (1, 2))
    both = {"student.proto_net.proto_list": Tensor(student), "teacher.proto_net.proto_list": Tensor(teacher)}
    checkpoint_io.save(tmp_path / "last.ckpt", both, {"step": 1})
    assert np.array_equal(read_prototypes(tmp_path / "last.ckpt"), teacher)


def test_a_npz_is_read_as_before(tmp_path):
    rows = np.random.default_rng(0).normal(size=(CLASSES, 2, 16)).astype(np.float32)
    np.savez(tmp_path / "prototypes.npz", rows)
    assert np.array_equal(read_prototypes(tmp_path / "prototypes.npz"), rows.reshape(-1, 16))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"module.decoder.bias": np.zeros(3, np.float32)}, "holds no proto_net.proto_list"),
        ({"module.proto_net.proto_list": np.full((4, 2), np.nan, np.float32)}, "no table of finite numbers"),
        ({"module.proto_net.proto_list": np.zeros(4, np.float32)}, "no table of finite numbers"),
    ],
)
def test_a_checkpoint_without_usable_prototypes_is_refused_in_one_line(tmp_path, arrays, message):
    path = write_ckpt(tmp_path / "best.ckpt", arrays)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_prototypes(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_table_does_not_fit(tmp_path):
    path = write_ckpt(tmp_path / "best.ckpt", {"proto_net.proto_list": np.zeros((8, 16), np.float32)})
    context = context_of(f"net.proto_head.init_proto_path='{path}'")
    with pytest.raises(CheckpointError, match=r"expected prototypes of shape \(6, 16\).*got \(8, 16\)"):
        initial_prototypes(network_of(context.net), context)


def test_a_checkpoint_of_ours_says_how_many_prototypes_a_class_has(tmp_path):
    record = {"step": 1, "identity": {"classes": ["a", "b", "c"], "net.proto_head.num_micro_proto": 4}}
    rows = np.ones((12, 16), np.float32)
    checkpoint_io.save(tmp_path / "best.ckpt", {"proto_net.proto_list": Tensor(rows)}, record)
    assert np.array_equal(read_prototypes(tmp_path / "best.ckpt", 4), rows)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: holds 4 prototypes a class, the network has 2"):
        read_prototypes(tmp_path / "best.ckpt", 2)
