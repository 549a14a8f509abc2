"""One run folder, one running run: a second start is refused, a lock that a dead process left is taken over."""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from semiseg.common.errors import ConfigError

_BEAT = 20.0  # seconds between two signs of life
_SILENCE = 6 * _BEAT  # a holder on another host that is silent for so long is taken for dead


class RunLock:
    """Holds ``folder``/run.lock while a run writes there (a context manager).

    On one machine the operating system holds the lock and frees it when the process ends, however it ends. Between
    hosts that share a file system such locks may not work; there the file's age tells, which a thread keeps young.

    Raises:
        ConfigError: on entering, if another run holds the lock (names host and process), or it cannot be written.
    """

    def __init__(self, folder: Path, beat: float = _BEAT, silence: float = _SILENCE):
        self._path, self._beat, self._silence = folder / "run.lock", beat, silence
        self._file: Any = None
        self._made = False  # whether the folder is new
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="semiseg-lock", daemon=True)

    def __enter__(self) -> "RunLock":
        try:
            self._made = not self._path.parent.exists()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._take()
        except OSError as error:
            raise ConfigError(
                f"{self._path.parent}: cannot be written ({error.strerror}); saver.main_dir names another"
            ) from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._path.unlink()  # before the lock is freed, so that nobody else's file is removed
            if self._made:
                self._path.parent.rmdir()  # only if it is empty: of a run that was refused
        self._file.close()

    def _take(self) -> None:
        while True:
            file = self._path.open("a+", encoding="utf-8")
            try:
                if not _locked(file):
                    self._refuse(file, "")
                if not _is_at(file, self._path):  # the holder has just removed it
                    file.close()
                    continue
                self._check_other_host(file)
                file.seek(0)
                file.truncate()
                file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
                file.flush()
            except BaseException:
                file.close()
                raise
            self._file = file
            return

    def _check_other_host(self, file: Any) -> None:
        holder = _holder(file)
        if not holder or holder.get("host") == socket.gethostname():
            return
        age = _now_on(self._path.parent) - os.fstat(file.fileno()).st_mtime
        if age < self._silence:
            wait = f"; if it is dead, try again in {self._silence - age:.0f} s"
            self._refuse(file, wait)

    def _refuse(self, file: Any, more: str) -> None:
        holder = _holder(file)
        who = f"process {holder.get('pid')} on {holder.get('host')}" if holder else "another process"
        raise ConfigError(
            f"{self._path.parent}: {who} is training in this folder; wait for it or stop it{more}, or choose another "
            "folder, e.g. saver.name=mine"
        )

    def _live(self) -> None:
        while not self._ended.wait(self._beat):
            with contextlib.suppress(OSError):
                os.utime(self._file.fileno())


def _locked(file: Any) -> bool:
    """Whether the lock on the open file is ours now. A file system without locks gives it to everybody."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_at(file: Any, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _holder(file: Any) -> dict[str, Any]:
    file.seek(0)
    try:
        content = json.loads(file.read())
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


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
