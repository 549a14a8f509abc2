"""The device is the best that initialises, and the choice can be made once only."""

import pytest

from semiseg.common.errors import ConfigError
from semiseg.engine import device


def machine_with(monkeypatch, *working):
    """As MindSpore behaves: an unsupported device raises, a supported one is taken for good."""
    taken = []

    def set_device(name):
        if name not in working:
            raise RuntimeError(f"Unsupported device target {name}.\nmore lines")
        if taken and taken[0] != name:
            raise RuntimeError("The 'mindspore.set_device' can not be modified.")
        taken.append(name)

    monkeypatch.setattr(device.ms, "set_device", set_device)
    return taken


@pytest.mark.parametrize(
    ("working", "taken", "line"),
    [
        (["CPU"], "CPU", "cpu (auto: neither ascend nor gpu initialises)"),
        (["CPU", "GPU"], "GPU", "gpu (auto)"),
        (["CPU", "GPU", "Ascend"], "Ascend", "ascend (auto)"),
    ],
)
def test_auto_takes_the_best_that_works(monkeypatch, working, taken, line):
    found = machine_with(monkeypatch, *working)
    assert device.set_device("auto") == line
    assert found == [taken]


def test_a_device_asked_for_is_taken_or_refused_with_the_reason(monkeypatch):
    found = machine_with(monkeypatch, "CPU", "GPU")
    assert device.set_device("gpu") == "gpu (asked for)"
    assert found == ["GPU"]
    machine_with(monkeypatch, "CPU")
    with pytest.raises(
        ConfigError, match=r"device: gpu does not initialise here \(Unsupported device target GPU\.\); dev"
    ):
        device.set_device("gpu")
