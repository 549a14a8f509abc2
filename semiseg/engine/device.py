"""Choosing the device: auto takes the best one that really runs an operation, and says which and why."""

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path

import mindspore as ms

from semiseg.common.accelerators import DEV, driver_files
from semiseg.common.errors import ConfigError
from semiseg.common.platform import numpy_of

_NAMES = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}
# Comma-separated numbers of the cores that training shall stay on; tools/compare.py sets it for runs side by side.
CORES = "SEMISEG_CORES"


def set_device(wanted: str, connect: Callable[[], None] = lambda: None) -> str:
    """Makes ``auto``, ``cpu``, ``gpu`` or ``ascend`` the device of this process; returns what was taken and why.

    ``connect``: called when a device is set, before the first operation runs (``distributed.connect``).

    Where auto falls back to the CPU of a machine with an accelerator, the text is a warning with MindSpore's reason.

    Raises:
        ConfigError: the wanted device does not run an operation, with MindSpore's reason.
    """
    if wanted != "auto":
        reason = _try(wanted, connect)
        if reason:
            raise ConfigError(f"device: {wanted} does not initialise here ({reason}); device=auto takes what there is")
        return f"{wanted} (asked for)"
    reasons = {}
    for name in ("ascend", "gpu"):
        reasons[name] = _try(name, connect)
        if not reasons[name]:
            return f"{name} (auto)"
    reason = _try("cpu", connect)
    if reason:  # an accelerator was taken for good and then failed in its first operation
        raise ConfigError(f"device: auto finds none that works ({'; '.join(filter(None, reasons.values()))})")
    here = driver_files(DEV).items()
    idle = [f"{files[0]} is here, but {name} does not work: {reasons[name]}" for name, files in here if files]
    if idle:
        return f"cpu (auto). WARNING: {'; '.join(idle)}. docs/devices.md tells what MindSpore needs"
    return f"cpu (auto: neither {' nor '.join(reasons)} initialises)"


@functools.cache
def be_deterministic() -> None:
    """Lets operators give the same bits each time, once and for all: MindSpore refuses to be told twice."""
    ms.set_deterministic(True)


def _try(name: str, connect: Callable[[], None]) -> str:
    """Sets the device and runs an operation on it; empty if that works, else the whole reason on one line.

    A failure to set leaves the choice open. Never set another device in its place here: MindSpore takes the first that
    works for good, so that a GPU could no longer be chosen after an Ascend was not found.
    """
    if name == "cpu":
        # By default the calling thread waits for results in a busy loop, which takes a core away from the kernels: with
        # two cores a step took 2.4 times as long. This makes it sleep instead. Read at the first operation.
        os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")
    try:
        ms.set_device(_NAMES[name])
        connect()
        numpy_of(ms.Tensor([1.0]) + 1)  # a Tensor that is only made and read back runs nothing on the device
    except (RuntimeError, ValueError, TypeError) as error:
        return " ".join(str(error).split()) or "no reason given"
    return ""


def keep_to_cores() -> None:
    """Keeps every thread of this process on the cores that the variable SEMISEG_CORES names, where it does.

    MindSpore's threads hand work to each other and spin while they wait: two runs on two cores take twice as long when
    they share both as when each has one. To be called after the first step: into how many parts work is divided is then
    fixed by the cores of the machine, and with it the last bits of sums.
    """
    cores, tasks = os.environ.get(CORES, ""), Path("/proc/self/task")
    if not cores or not tasks.is_dir():
        return
    for task in tasks.iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended, or a core that is not there
            os.sched_setaffinity(int(task.name), {int(core) for core in cores.split(",")})
