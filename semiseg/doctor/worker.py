"""A process of its own for each device: what crashes or hangs there is a line of the report, not the end of it.

Requests and replies are lines of JSON; large arrays lie in files. MindSpore's own output goes to the error stream.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import traceback
from typing import Any

PATIENCE = 900  # seconds for one reply: the first step of a large network is compiled
_START = """import semiseg, sys
from semiseg.doctor.worker import serve
serve(sys.argv[1])"""
_PROBE = """import semiseg, sys
import mindspore as ms
ms.set_device(sys.argv[1])
print((ms.Tensor([1.0]) + 1).asnumpy())"""
_NAMES = {"cpu": "CPU", "gpu": "GPU", "ascend": "Ascend"}


class Died(Exception):
    """The process ended or gave no answer; the text says how, with the last lines that it printed."""


class Worker:
    """A process whose device is ``device``; ``with`` ends it."""

    def __init__(self, device: str, patience: float = PATIENCE):
        self._patience = patience
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        command = [sys.executable, "-c", _START, device]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        self._process = subprocess.Popen(command, **pipes, env=_environment())

    def ask(self, kind: str, **request: Any) -> dict[str, Any]:
        """The reply. Raises: Died."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"kind": kind} | request).encode() + b"\n")
            self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            answered = selector.select(self._patience)
        line = self._process.stdout.readline() if answered else b""
        if not line:
            raise Died(self._end(bool(answered)))
        return json.loads(line)

    def _end(self, answered: bool) -> str:
        if not answered:
            self._process.kill()
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        how = how if answered else f"no answer in {self._patience:g} s"
        return f"{how}: {tail(self._printed())}"

    def _printed(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._errors.closed:
            return
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def why_not(device: str) -> str:
    """Why a device does not run an operation: all that MindSpore prints and raises, warnings too; "" where it runs."""
    command = [sys.executable, "-c", _PROBE, _NAMES[device]]
    environment = _environment() | {"GLOG_v": "2", "GLOG_logtostderr": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PATIENCE} s"
    printed = f"{done.stdout}\n{done.stderr}".strip()
    ended = f"ended by signal {signal.Signals(-done.returncode).name}\n" if done.returncode < 0 else ""
    return "" if done.returncode == 0 else f"{ended}{printed}" or f"exit code {done.returncode}"


def _environment() -> dict[str, str]:
    """This process' own, so that the other one finds the same modules."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def tail(text: str, lines: int = 12) -> str:
    """The last lines of a text that are not empty."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def serve(device: str) -> None:
    """Answers requests from the standard input until it ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from semiseg.doctor import serving  # MindSpore, which may print, not before

    serving.start(device)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = serving.WORKS[request.pop("kind")](**request)
        except Exception as error:  # whatever a device raises is what the report is for
            text = " ".join(str(error).split()) or "no reason given"
            reply = {"problem": f"{type(error).__name__}: {text}", "traceback": tail(traceback.format_exc())}
        print(json.dumps(reply), file=replies, flush=True)
