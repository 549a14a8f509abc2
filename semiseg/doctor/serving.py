"""What a worker process does on its device."""

import re
import resource
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from semiseg.doctor import steps, trials
from semiseg.doctor.operators import OPERATORS, SIZES
from semiseg.engine.device import set_device

_BY_NAME = {operator.name: operator for operator in OPERATORS}


def start(device: str) -> None:
    """Takes the device. Raises: ConfigError."""
    set_device(device)


def operator(name: str, size: str, file: str) -> dict[str, float]:
    """Runs an operator; its arrays go to ``file``."""
    trial = trials.run(_BY_NAME[name], SIZES[size])
    np.savez(file, trial.output, *trial.gradients)
    return {"forward": trial.forward, "backward": trial.backward}


def read_trial(reply: dict[str, float], file: Path) -> trials.Trial:
    """What ``operator`` has left."""
    with np.load(file) as arrays:
        output, *gradients = (arrays[name] for name in arrays.files)
    return trials.Trial(output, tuple(gradients), reply["forward"], reply["backward"])


def step(method: str, size: str, amp: str) -> dict[str, Any]:
    """Two steps of a method, and the peak of memory in MiB: the device's, on CPU the whole process'."""
    found = steps.run(method, size, amp)
    on_cpu = ms.get_context("device_target") == "CPU"
    return found | {"mib": _peak_mib() if on_cpu else ms.runtime.max_memory_allocated() / 2**20}


def _peak_mib() -> float:
    """Of this process alone: ru_maxrss begins with that of the process it was forked from."""
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8")) if status.is_file() else None
    return (int(peak[1]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


WORKS = {"operator": operator, "step": step}
