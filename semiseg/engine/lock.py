"""One run folder, one running run: a second start is refused, a lock that a dead process left is taken over."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from semiseg.common.errors import ConfigError
from semiseg.common.files import cannot_write

_BEAT = 20.0  # seconds between two signs of life
_SILENCE = 6 * _BEAT  # a holder on another host that is silent for so long is taken for dead


class RunLock:
    """Holds ``folder``/run.lock while a run writes there (a context manager).

    On one machine the operating system holds the lock and frees it when the process ends, however it ends. Between
    hosts that share a file system such locks may not work; there the file's age tells, which a thread keeps young.
    A job that is restarted on another host waits until the dead one's lock is old enough.

    Raises:
        ConfigError: on entering, if another run holds the lock (names host and process), or it cannot be written.
    """

    def __init__(self, folder: Path, beat: float = _BEAT, silence: float = _SILENCE):
        self._path, self._beat, self._silence = folder / "run.lock", beat, silence
        self._lock = FileLock(self._path, timeout=0, fallback_to_soft=False)
        self._made = False  # whether the folder is new
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="semiseg-lock", daemon=True)

    def __enter__(self) -> "RunLock":
        try:
            self._made = not self._path.parent.exists()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._take()
        except OSError as error:
            raise cannot_write(self._path.parent, error, "saver.main_dir names another", ConfigError) from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._clean()
        self._lock.release()

    def _clean(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()  # before the lock is freed, so that nobody else's file is removed
            if self._made:
                self._path.parent.rmdir()  # only if it is empty: of a run that was refused

    def _take(self) -> None:
        self._wait_for_other_host()
        while True:
            try:
                self._lock.acquire()
            except Timeout:  # an OSError too
                if not self._path.exists():  # the holder has just removed it
                    continue
                self._refuse()
            except OSError:
                pass  # a file system without locks gives it to everybody; what cannot be written shows below
            break
        try:
            holder = {"host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid())}
            self._path.write_text(json.dumps(holder), encoding="utf-8")
        except OSError:
            self._clean()
            self._lock.release()
            raise

    def _wait_for_other_host(self) -> None:
        """Until a holder on another host shows that it lives, which refuses this run, or has been silent for long."""
        # Before the lock is taken: some versions of filelock empty the file of whoever takes it.
        seen, until = None, time.monotonic() + self._silence  # by our own clock, whatever the file's says
        while (holder := _holder(self._path)) and holder.get("host") != socket.gethostname():
            try:
                sign = self._path.stat().st_mtime_ns
                left = self._silence - (_now_on(self._path.parent) - sign / 1e9)
                left = min(left, until - time.monotonic())
            except FileNotFoundError:
                return
            if seen not in (None, sign):
                self._refuse()
            if left <= 0:
                return
            if seen is None:
                print(
                    f"{self._path}: of {_named(holder)}, which may be dead; waiting for a sign of life, at most "
                    f"{left:.0f} s",
                    file=sys.stderr,
                )
            seen = sign
            time.sleep(min(left + 0.01, self._beat / 10))

    def _refuse(self) -> None:
        raise ConfigError(
            f"{self._path.parent}: {_named(_holder(self._path))} is training in this folder; wait for it or stop it, "
            "or choose another folder, e.g. saver.name=mine"
        )

    def _live(self) -> None:
        while not self._ended.wait(self._beat):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def is_held(folder: Path) -> bool:
    """Whether a run is training in ``folder``, as its lock file tells; nothing there is touched.

    On this machine the process decides, elsewhere the file's age by this host's clock.
    """
    path = folder / "run.lock"
    try:
        holder, age = _holder(path), time.time() - path.stat().st_mtime
    except OSError:
        return False
    if holder.get("host") == socket.gethostname():
        pid, began = holder.get("pid"), _began(holder.get("pid"))
        # Numbers of processes are used again; earlier versions did not say when theirs began.
        return began is not None and holder.get("began", began) == began and isinstance(pid, int)
    return bool(holder) and age < _SILENCE


def _began(pid: Any) -> float | None:
    """When a process of this machine began, by its own clock; None if there is none."""
    try:
        return psutil.Process(pid).create_time()
    except (psutil.Error, TypeError, ValueError, OverflowError):
        return None


def _holder(path: Path) -> dict[str, Any]:
    """What the lock file says, or nothing where it is not there or not readable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _named(holder: Mapping[str, Any]) -> str:
    return f"process {holder.get('pid')} on {holder.get('host')}" if holder else "another process"


def _now_on(folder: Path) -> float:
    """The file system's own time, which other hosts see; not this host's clock."""
    probe = folder / f".clock.{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
