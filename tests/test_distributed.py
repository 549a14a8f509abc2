"""Two devices under msrun on this CPU: together they are one with the whole batch, and a dying one ends the job."""

import os
import re
import socket
import subprocess
import sys
import time

import numpy as np
import on_devices
import psutil
import pytest
from conftest import PROTO
from tiny import ROOT, TINY_NET

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common import distributed
from semiseg.common.distributed import ALONE, Group


def launch(logs, *command, **options):
    """The launcher with two devices, as a process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    start = [sys.executable, ROOT / "tools/launch_devices.py", "--devices", "2", "--port", port, "--logs", logs, "--"]
    return subprocess.Popen(
        list(map(str, [*start, *command])),
        env=os.environ | {"PYTHONPATH": str(ROOT), "MS_DEV_HOST_BLOCKING_RUN": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What tests/on_devices.py found on rank 0 and on rank 1."""
    folder = tmp_path_factory.mktemp("devices")
    process = launch(folder / "logs", ROOT / "tests/on_devices.py", folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, f"{out}\n{err}"
    return [dict(np.load(folder / f"{rank}.npz")) for rank in (0, 1)]


def part(arrays, case):
    return {name.removeprefix(f"{case}: "): array for name, array in arrays.items() if name.startswith(f"{case}: ")}


@pytest.mark.parametrize("case", on_devices.CASES)
def test_two_devices_make_the_steps_of_one_with_the_whole_batch(found, case):
    values, arrays, _ = on_devices.run(case, ALONE)
    on_two = part(found[0], case)
    np.testing.assert_allclose(on_two.pop("values"), values, rtol=2e-5, atol=1e-6)
    assert on_two.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(on_two[name], array, rtol=5e-4, atol=5e-5, err_msg=name)


@pytest.mark.parametrize("case", {**on_devices.CASES, **on_devices.OTHERS})
def test_both_devices_end_with_the_same_state_bit_for_bit(found, case):
    first, second = (part(arrays, case) for arrays in found)
    shared = [name for name in first if not name.startswith("own ")]
    assert len(shared) > 100
    assert [name for name in shared if not np.array_equal(first[name], second[name])] == []


def test_what_each_device_has_for_itself_differs(found):
    first, second = found
    assert any("adaptive.images" in name for name in first)
    assert not any("own adaptive" in name for name in first)  # what AEL remembers is of all devices
    assert not np.array_equal(first["one image each: own previous.image"], second["one image each: own previous.image"])
    assert not np.array_equal(first["u2pl: own bank.rows"], second["u2pl: own bank.rows"])


def test_an_image_that_is_not_finite_stops_all_and_is_named_by_all(found):
    messages = [str(arrays["refusal"]) for arrays in found]
    assert messages[0] == messages[1]
    assert messages[0].startswith("step 0: ")
    assert "labeled 2, labeled 3" in messages[0]


def test_an_overflow_on_one_device_skips_the_step_of_all(found):
    assert [arrays["overflow"].tolist() for arrays in found] == [[1, 2**15, 0]] * 2


def test_the_devices_talk(found):
    for rank, arrays in enumerate(found):
        talk = {name.removeprefix("talk "): array for name, array in arrays.items() if name.startswith("talk ")}
        assert talk["total"].tolist() == [[2**41 + 1, -2], [0, 14]]  # exact far beyond float32
        assert talk["total of doubles"] == 0.1 + 1.1
        assert talk["gather"].tolist() == [[[0], [0]], [[1], [1]]]
        assert talk["texts"].tolist() == ["", "äää"]
        assert talk["any"].tolist() == [True, False]
        assert talk["broadcast"].tolist() == [[0, 0], [0, 0]], rank
        assert talk["broadcast of a host array"].tolist() == [0, 0], rank
        assert talk["tensors"].tolist() == [4] * 6 + [2]


def test_one_device_talks_to_itself():
    assert ALONE.total(np.array([3])).tolist() == [3]
    assert ALONE.gather(np.array([3])).tolist() == [[3]]
    assert (ALONE.any(True), ALONE.any(False), ALONE.texts("x"), ALONE.first) == (True, False, ["x"], True)
    assert ALONE.tensors(("anything",)) == ("anything",)
    ALONE.broadcast(["anything"])


def test_without_msrun_there_is_no_group(monkeypatch):
    monkeypatch.delenv("MS_ROLE", raising=False)
    monkeypatch.setenv("MS_WORKER_NUM", "4")  # left over from something else
    assert distributed.join() is ALONE
    assert (distributed.processes(), distributed.is_scheduler()) == (1, False)
    monkeypatch.setenv("MS_ROLE", "MS_SCHED")
    assert (distributed.processes(), distributed.is_scheduler()) == (4, True)
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    assert not distributed.is_scheduler()


def test_tensors_are_sent_in_buckets(monkeypatch):
    monkeypatch.setattr(distributed, "_BUCKET", 10)

    class Sized:
        def __init__(self, size):
            self.size = size

    values = [Sized(size) for size in (4, 6, 1, 20, 3)]
    assert [[v.size for v in bucket] for bucket in distributed._buckets(values)] == [[4, 6], [1], [20], [3]]
    monkeypatch.setattr(distributed, "_BUCKET", 1000)
    many = [Sized(1)] * 200  # one concatenation takes no more than 96
    assert [len(bucket) for bucket in distributed._buckets(many)] == [96, 96, 8]


def test_rank_0_is_the_first():
    assert [Group(rank, 2).first for rank in (0, 1)] == [True, False]


# The whole command


@pytest.fixture
def command(tmp_path, tiny_config):
    """semiseg.train on the tiny data, one image of each kind a device."""
    more = ["trainer.epochs=3", "saver.every=1", "trainer.log_every=1", "dataset.batch_size=1", "trainer.eval_on=false"]
    more += ["net.sync_bn=true", "dataset.train.crop.size=[33, 33]", *TINY_NET, *PROTO]
    return ["-m", "semiseg.train", "--config", tiny_config(), *more]


def workers(launcher):
    """rank -> process, of a launcher's job."""
    found = {}
    for child in psutil.Process(launcher.pid).children(recursive=True):
        try:
            environment = child.environ()
        except psutil.Error:
            continue
        if environment.get("MS_ROLE") == "MS_WORKER":
            found[int(environment["RANK_ID"])] = child
    return found


def steps_done(folder):
    path = folder / "metrics.jsonl"
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def wait_for(launcher, condition):
    while launcher.poll() is None and not condition():
        time.sleep(0.05)


def test_a_dying_device_ends_the_job_with_its_reason_and_a_good_checkpoint(tmp_path, command):
    folder = tmp_path / "run"
    launcher = launch(tmp_path / "logs", *command)
    wait_for(launcher, lambda: steps_done(folder) >= 2)
    processes = workers(launcher)
    processes[1].kill()
    killed = time.monotonic()
    out, err = launcher.communicate(timeout=120)
    assert time.monotonic() - killed < 60
    assert launcher.returncode == 1, f"{out}\n{err}"
    assert re.search(r"error: device 1 ended the job: killed by signal SIGKILL \(its log: .*worker_1\.log\)", err)
    running = [p for p in processes.values() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert running == []
    arrays, record = checkpoint_io.read(folder / "checkpoints/last.ckpt")
    assert record["step"] >= 1
    assert record["devices"] == 2
    assert arrays["previous.image"].shape[0] == 2  # that of both devices
