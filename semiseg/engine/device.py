"""Choosing the device: auto takes the best one that really initialises, and says which."""

import os

import mindspore as ms

from semiseg.common.errors import ConfigError

_NAMES = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}


def set_device(wanted: str) -> str:
    """Makes ``auto``, ``cpu``, ``gpu`` or ``ascend`` the device of this process; returns what was taken and why.

    Raises:
        ConfigError: the wanted device does not initialise, with MindSpore's reason.
    """
    if wanted != "auto":
        reason = _try(wanted)
        if reason:
            raise ConfigError(f"device: {wanted} does not initialise here ({reason}); device=auto takes what there is")
        return f"{wanted} (asked for)"
    failed = []
    for name in ("ascend", "gpu"):
        if not _try(name):
            return f"{name} (auto)"
        failed.append(name)
    _try("cpu")
    return f"cpu (auto: neither {' nor '.join(failed)} initialises)"


def _try(name: str) -> str:
    """Sets the device; empty if it works, else the first line of the reason.

    A failure leaves the choice open. Never set another device in its place here: MindSpore takes the first that works
    for good, so that a GPU could no longer be chosen after an Ascend was not found.
    """
    if name == "cpu":
        # By default the calling thread waits for results in a busy loop, which takes a core away from the kernels: with
        # two cores a step took 2.4 times as long. This makes it sleep instead. Read at the first operation.
        os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")
    try:
        ms.set_device(_NAMES[name])
        ms.Tensor([1.0]).asnumpy()
    except (RuntimeError, ValueError, TypeError) as error:
        return (str(error).strip().splitlines() or ["no reason given"])[0]
    return ""
