"""Checkpoints: what is written is read back, a failing write leaves the old file, damage and mismatch are refused."""

import errno
import os
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from tiny import context_of, network_of

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import CheckpointError

RECORD = {"step": 7, "best": 1 / 3, "sums": {"loss": [0.1, 3]}, "text": "ä"}


def state(seed=0):
    rng = np.random.default_rng(seed)
    values = {
        "a.weight": rng.normal(size=(3, 4)).astype(np.float32),
        "a.count": rng.integers(0, 9, (5,)).astype(np.int32),
        "b.one": np.array([1e-38], np.float32),
    }
    return {name: Parameter(Tensor(value), name) for name, value in values.items()}


def arrays(parameters):
    return {name: parameter.asnumpy().copy() for name, parameter in parameters.items()}


def same(found, parameters):
    return found.keys() == parameters.keys() and all(
        np.array_equal(found[n], p.asnumpy()) and found[n].dtype == p.asnumpy().dtype for n, p in parameters.items()
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint_io.save(path, state(), RECORD)
    return path


def test_what_is_saved_is_read_back_bit_for_bit(path):
    found, record = checkpoint_io.read(path)
    assert same(found, state())
    assert record == RECORD
    assert checkpoint_io.is_ours(path)


def test_saving_again_replaces_the_file_and_leaves_nothing_beside(path):
    checkpoint_io.save(path, state(1), {})
    assert same(checkpoint_io.read(path)[0], state(1))
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    assert os.access(path, os.W_OK)
    assert path.stat().st_mode & 0o777 == 0o644


def fail_in_fsync(monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_io.os, "fsync", full)


def fail_half_way(monkeypatch):
    real = ms.save_checkpoint

    def cut(parameters, name, **options):
        real(parameters, name, **options)
        whole = Path(name).read_bytes()
        Path(name).chmod(0o644)
        Path(name).write_bytes(whole[: len(whole) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_io.ms, "save_checkpoint", cut)


def fail_in_mindspores_own_file(monkeypatch):
    def cut(_parameters, name, **_options):
        Path(name).with_suffix(".tmp").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_io.ms, "save_checkpoint", cut)


def fail_in_mindspore(monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("Failed to save\nthe checkpoint")

    monkeypatch.setattr(checkpoint_io.ms, "save_checkpoint", broken)


@pytest.mark.parametrize("fail", [fail_in_fsync, fail_half_way, fail_in_mindspore, fail_in_mindspores_own_file])
def test_a_failing_write_leaves_the_old_file_whole(path, monkeypatch, fail):
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be written .* untouched") as caught:
            checkpoint_io.save(path, state(1), {})
    assert "\n" not in str(caught.value)
    found, record = checkpoint_io.read(path)
    assert same(found, state())
    assert record == RECORD
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    checkpoint_io.save(path, state(1), {})
    assert same(checkpoint_io.read(path)[0], state(1))


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_io.os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            checkpoint_io.save(path, state(1), {})
    assert same(checkpoint_io.read(path)[0], state())
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_what_a_killed_process_left_goes_with_the_next_write(path):
    for name in (".last.partial.ckpt", ".last.partial.tmp", ".last.4711.partial.ckpt", ".last.4711.partial.tmp"):
        (path.parent / name).write_bytes(b"half")
    checkpoint_io.save(path, state(2), {})
    assert same(checkpoint_io.read(path)[0], state(2))
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        checkpoint_io.save(tmp_path / "file" / "last.ckpt", state(), {})


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 0.98])
def test_a_flipped_byte_is_noticed(path, share):
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged, cut off or no MindSpore checkpoint"):
        checkpoint_io.read(path)


@pytest.mark.parametrize("kept", [0, 1, 20, 60, 0.5, 0.9])
def test_a_truncated_file_is_refused(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(CheckpointError, match="damaged, cut off or no MindSpore checkpoint"):
        checkpoint_io.read(path)


def test_other_files_and_missing_ones_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint_io.read(tmp_path / "absent.ckpt")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint_io.read(tmp_path)
    for name, content in (("a.ckpt", b"PK\x03\x04 rubbish" * 9), ("b.ckpt", b"hello"), ("c.txt", b"text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            checkpoint_io.read(tmp_path / name)


def test_restoring_puts_every_array_in_place(path):
    target = state(5)
    checkpoint_io.restore(path, checkpoint_io.read(path)[0], target)
    assert same(arrays(target), state())
    assert target["a.count"].dtype == ms.int32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda found: found.pop("a.weight"),
            r"fit the network: 2 parameters fit, 1 missing \(first: a.weight\)",
        ),
        (lambda found: found.update(extra=np.zeros(2, np.float32)), r"1 unexpected \(first: extra\)"),
        (
            lambda found: found.update({"a.weight": np.zeros((4, 3), np.float32)}),
            r"1 wrong shape \(first: a.weight: \[4, 3\] in the file, \[3, 4\] in the network\)",
        ),
    ],
)
def test_a_mismatch_is_told_and_changes_nothing(path, change, message):
    found, _ = checkpoint_io.read(path)
    change(found)
    target = state(5)
    with pytest.raises(CheckpointError, match=message):
        checkpoint_io.restore(path, found, target)
    assert same(arrays(target), state(5))


def test_a_network_is_saved_under_the_published_names(tmp_path):
    network = network_of(context_of("net.aux_loss={}").net)
    saved = checkpoint_io.network_arrays(network)
    assert all(name.startswith("module.") for name in saved)
    expected = {"module.encoder.conv1.0.weight", "module.auxor.aux.4.bias", "module.proto_net.proto_list"}
    assert expected | {"module.decoder.aspp.conv2.1.moving_mean"} <= set(saved)
    for parameter in network.get_parameters():  # names of cells count, not those that a method gave the parameters
        parameter.name = f"teacher.{parameter.name}"
    assert set(checkpoint_io.network_arrays(network)) == set(saved)


def test_a_checkpoint_of_others_has_no_record_and_is_not_ours(tmp_path):
    path = tmp_path / "best.ckpt"
    ms.save_checkpoint([{"name": "module.x", "data": Tensor(np.ones(3, np.float32))}], str(path))
    found, record = checkpoint_io.read(path)
    assert record is None
    assert list(found) == ["module.x"]
    assert not checkpoint_io.is_ours(path)
    (tmp_path / "empty.ckpt").write_bytes(b"")
    assert not checkpoint_io.is_ours(tmp_path / "empty.ckpt")
