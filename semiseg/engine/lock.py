"""One run folder, one running run: a second start is refused, a lock that a dead process left is taken over."""

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from semiseg.common.errors import ConfigError
from semiseg.common.files import cannot_write

_BEAT = 20.0  # seconds between two signs of life
_SILENCE = 6 * _BEAT  # a holder on another host that is silent for so long is taken for dead


class RunLock:
    """Holds ``folder``/run.lock while a run writes there (a context manager).

    On one machine the operating system holds the lock and frees it when the process ends, however it ends. Between
    hosts that share a file system such locks may not work; there the file's age tells, which a thread keeps young.
    (filelock's own lease frees no lock before it has watched it for as long; a restarted job would wait.)

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
        self._check_other_host()
        while True:
            try:
                self._lock.acquire()
            except Timeout:  # an OSError too
                if not self._path.exists():  # the holder has just removed it
                    continue
                self._refuse("")
            except OSError:
                pass  # a file system without locks gives it to everybody; what cannot be written shows below
            break
        try:
            self._path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
        except OSError:
            self._clean()
            self._lock.release()
            raise

    def _check_other_host(self) -> None:
        # Before the lock is taken: some versions of filelock empty the file of whoever takes it.
        holder = _holder(self._path)
        if not holder or holder.get("host") == socket.gethostname():
            return
        try:
            age = _now_on(self._path.parent) - self._path.stat().st_mtime
        except FileNotFoundError:
            return
        if age < self._silence:
            self._refuse(f"; if it is dead, try again in {self._silence - age:.0f} s")

    def _refuse(self, more: str) -> None:
        holder = _holder(self._path)
        who = f"process {holder.get('pid')} on {holder.get('host')}" if holder else "another process"
        raise ConfigError(
            f"{self._path.parent}: {who} is training in this folder; wait for it or stop it{more}, or choose another "
            "folder, e.g. saver.name=mine"
        )

    def _live(self) -> None:
        while not self._ended.wait(self._beat):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def _holder(path: Path) -> dict[str, Any]:
    """What the lock file says, or nothing where it is not there or not readable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
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
