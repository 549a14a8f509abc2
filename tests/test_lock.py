"""One run at a time in a folder; a dead one's lock is taken over."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from filelock import FileLock, Timeout
from tiny import ROOT

from semiseg.common.errors import ConfigError
from semiseg.engine.lock import RunLock, is_held

HOLD = """
import sys, time
from pathlib import Path
from semiseg.engine.lock import RunLock, is_held
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_start_is_refused_with_host_and_process(tmp_path, holder):
    who = f"process {holder.pid} on {socket.gethostname()}"
    with pytest.raises(ConfigError, match=f"{who} is training in this folder"):
        RunLock(tmp_path).__enter__()
    assert holder.poll() is None
    holder.communicate("")
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_that_stays_empty_goes_with_the_lock(tmp_path):
    with RunLock(tmp_path / "refused"):
        pass
    assert list(tmp_path.iterdir()) == []
    with RunLock(tmp_path / "used"):
        (tmp_path / "used/log.txt").touch()
    assert (tmp_path / "used/log.txt").is_file()


def test_a_killed_process_leaves_a_lock_that_is_taken_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run.lock").is_file()
    with RunLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    with RunLock(tmp_path), pytest.raises(ConfigError, match="is training in this folder"):
        RunLock(tmp_path).__enter__()


def of_another_host(folder, age):
    path = folder / "run.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 12}))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


def living_on_another_host(folder, monkeypatch):
    of_another_host(folder, 100)
    monkeypatch.setattr("semiseg.engine.lock.time.sleep", lambda seconds: os.utime(folder / "run.lock"))


def test_a_living_run_on_another_host_is_refused_at_its_next_sign_of_life(tmp_path, capsys, monkeypatch):
    living_on_another_host(tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match="process 12 on elsewhere is training in this folder"):
        RunLock(tmp_path).__enter__()
    assert json.loads((tmp_path / "run.lock").read_text())["host"] == "elsewhere"
    assert re.search(r"may be dead; waiting for a sign of life, at most (19|20) s\n$", capsys.readouterr().err)


def test_a_restarted_job_waits_until_the_lock_of_another_host_is_old(tmp_path, capsys, monkeypatch):
    of_another_host(tmp_path, 100)
    waits = []

    def wait(seconds):
        waits.append(seconds)
        now = (tmp_path / "run.lock").stat().st_mtime + 100 + sum(waits)
        monkeypatch.setattr("semiseg.engine.lock._now_on", lambda folder: now)

    monkeypatch.setattr("semiseg.engine.lock.time.sleep", wait)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["host"] == socket.gethostname()
    assert 18 < sum(waits) < 21
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_of_another_host_that_ends_meanwhile_is_no_obstacle(tmp_path, monkeypatch):
    of_another_host(tmp_path, 10)
    monkeypatch.setattr("semiseg.engine.lock.time.sleep", lambda seconds: (tmp_path / "run.lock").unlink())
    with RunLock(tmp_path):
        pass


def test_a_run_on_another_host_that_is_silent_for_long_is_taken_over(tmp_path):
    of_another_host(tmp_path, 121)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["host"] == socket.gethostname()


def test_the_holder_gives_signs_of_life(tmp_path):
    with RunLock(tmp_path, beat=0.01) as lock:
        old = (1.0, 1.0)
        os.utime(tmp_path / "run.lock", old)
        for _ in range(500):
            if (tmp_path / "run.lock").stat().st_mtime > 1:
                break
            lock._ended.wait(0.01)
        assert (tmp_path / "run.lock").stat().st_mtime > 1


@pytest.mark.parametrize("rest", ["", "{", "[]", '"x"'])
def test_an_unreadable_lock_that_nobody_holds_is_no_obstacle(tmp_path, rest):
    (tmp_path / "run.lock").write_text(rest)
    with RunLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/run: cannot be written"):
        RunLock(tmp_path / "file/run").__enter__()


def without_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_file_system_without_locks_still_has_the_age(tmp_path, monkeypatch):
    monkeypatch.setattr(FileLock, "acquire", without_locks)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []
    living_on_another_host(tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match="process 12 on elsewhere"):
        RunLock(tmp_path).__enter__()


def test_a_holder_that_leaves_while_we_look_is_no_obstacle(tmp_path, monkeypatch):
    whole, left = FileLock.acquire, []

    def acquire(lock):
        if not left:  # it held the lock, and has removed its file since
            left.append(True)
            raise Timeout(lock.lock_file)
        return whole(lock)

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with RunLock(tmp_path):
        assert left
    assert list(tmp_path.iterdir()) == []


def test_who_only_looks_sees_whether_a_run_is_going_on(tmp_path, holder):
    assert is_held(tmp_path)
    assert not is_held(tmp_path / "other")
    before = (tmp_path / "run.lock").read_text()
    holder.kill()  # leaves its file
    holder.wait()
    assert (tmp_path / "run.lock").read_text() == before
    assert not is_held(tmp_path)


@pytest.mark.parametrize(("age", "held"), [(60, True), (600, False)])
def test_on_another_host_the_age_of_the_lock_tells_whether_its_run_lives(tmp_path, age, held):
    path = tmp_path / "run.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    os.utime(path, (time.time() - age,) * 2)
    assert is_held(tmp_path) == held


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"host": "HERE"}', '{"host": "HERE", "pid": "x"}'])
def test_a_lock_file_that_says_nothing_is_nobodys(tmp_path, content):
    (tmp_path / "run.lock").write_text(content.replace("HERE", socket.gethostname()))
    assert not is_held(tmp_path)


def test_the_number_of_a_dead_run_that_another_process_has_now_holds_nothing(tmp_path):
    path = tmp_path / "run.lock"
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "began": 1.0}))
    assert not is_held(tmp_path)
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))  # of an earlier version
    assert is_held(tmp_path)
    with RunLock(tmp_path):
        assert is_held(tmp_path)


def test_a_clock_that_is_ahead_makes_nobody_wait_longer(tmp_path, monkeypatch):
    of_another_host(tmp_path, -3600)
    began, waits = time.monotonic(), []
    monkeypatch.setattr("semiseg.engine.lock.time.sleep", waits.append)
    monkeypatch.setattr("semiseg.engine.lock.time.monotonic", lambda: began + sum(waits))
    with RunLock(tmp_path):
        pass
    assert 115 < sum(waits) < 125
