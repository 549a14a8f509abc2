"""The device is the best that initialises, and the choice can be made once only."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semiseg.common.errors import ConfigError
from semiseg.engine import device


def machine_with(monkeypatch, tmp_path, *working):
    """As MindSpore behaves: an unsupported device raises, a supported one is taken for good."""
    taken = []

    def set_device(name):
        if name not in working:
            raise RuntimeError(f"Unsupported device target {name}.\n  more lines")
        if taken and taken[0] != name:
            raise RuntimeError("The 'mindspore.set_device' can not be modified.")
        taken.append(name)

    monkeypatch.setattr(device.ms, "set_device", set_device)
    monkeypatch.setattr(device, "DEV", tmp_path)
    return taken


@pytest.mark.parametrize(
    ("working", "taken", "line"),
    [
        (["CPU"], "CPU", "cpu (auto: neither ascend nor gpu initialises)"),
        (["CPU", "GPU"], "GPU", "gpu (auto)"),
        (["CPU", "GPU", "Ascend"], "Ascend", "ascend (auto)"),
    ],
)
def test_auto_takes_the_best_that_works(monkeypatch, tmp_path, working, taken, line):
    found = machine_with(monkeypatch, tmp_path, *working)
    assert device.set_device("auto") == line
    assert found == [taken]


def test_a_device_asked_for_is_taken_or_refused_with_the_reason(monkeypatch, tmp_path):
    found = machine_with(monkeypatch, tmp_path, "CPU", "GPU")
    assert device.set_device("gpu") == "gpu (asked for)"
    assert found == ["GPU"]
    machine_with(monkeypatch, tmp_path, "CPU")
    with pytest.raises(
        ConfigError, match=r"device: gpu does not initialise here \(Unsupported device target GPU\. more lines\); dev"
    ):
        device.set_device("gpu")


@pytest.mark.parametrize(("file", "name"), [("nvidia0", "gpu"), ("davinci3", "ascend")])
def test_the_cpu_of_a_machine_with_an_accelerator_comes_with_a_warning(monkeypatch, tmp_path, file, name):
    machine_with(monkeypatch, tmp_path, "CPU")
    (tmp_path / "nvidiactl").touch()
    assert "WARNING" not in device.set_device("auto")
    (tmp_path / file).touch()
    line = device.set_device("auto")
    target = device._NAMES[name]
    assert (
        f"WARNING: {tmp_path}/{file} is here, but {name} does not work: Unsupported device target {target}. more"
        in line
    )


def test_a_device_that_is_set_and_then_fails_is_not_taken_for_working(monkeypatch, tmp_path):
    machine_with(monkeypatch, tmp_path, "CPU", "GPU")

    class Broken:
        def __init__(self, values):
            pass

        def __add__(self, other):
            raise RuntimeError("libcudnn.so.8: cannot open")

    monkeypatch.setattr(device.ms, "Tensor", Broken)
    with pytest.raises(ConfigError, match=r"finds none that works .*libcudnn\.so\.8"):
        device.set_device("auto")


def test_training_stays_on_the_cores_that_are_named(monkeypatch):
    before = os.sched_getaffinity(0)
    one = min(before)
    try:
        monkeypatch.delenv(device.CORES, raising=False)
        device.keep_to_cores()
        assert os.sched_getaffinity(0) == before
        monkeypatch.setenv(device.CORES, str(one))
        with ThreadPoolExecutor(1) as pool:  # a thread that was there before
            of_thread = pool.submit(threading.get_native_id).result()
            device.keep_to_cores()
            assert os.sched_getaffinity(of_thread) == os.sched_getaffinity(0) == {one}
        monkeypatch.setenv(device.CORES, "100000")
        device.keep_to_cores()  # no such core: nothing changes
        assert os.sched_getaffinity(0) == {one}
    finally:
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # a thread that has ended meanwhile
                os.sched_setaffinity(int(task.name), before)


def test_what_must_come_before_the_first_operation_comes_after_the_device_is_set(monkeypatch, tmp_path):
    calls = machine_with(monkeypatch, tmp_path, "GPU")

    class Tensor:
        def __init__(self, values):
            calls.append("a tensor")

        def __add__(self, other):
            return self

        def asnumpy(self):
            calls.append("read")

    monkeypatch.setattr(device.ms, "Tensor", Tensor)
    assert device.set_device("auto", lambda: calls.append("connected")) == "gpu (auto)"
    assert calls == ["GPU", "connected", "a tensor", "read"]


def test_mindspore_is_told_once_to_be_deterministic(monkeypatch):
    told = []
    monkeypatch.setattr(device.ms, "set_deterministic", told.append)
    device.be_deterministic.cache_clear()
    device.be_deterministic()
    device.be_deterministic()
    device.be_deterministic.cache_clear()
    assert told == [True]
