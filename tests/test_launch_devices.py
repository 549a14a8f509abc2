"""The launcher's judgement of a job, from what msrun and the workers leave. Real jobs: test_distributed.py."""

import io
import subprocess
import sys
from types import SimpleNamespace

import pytest
from tiny import ROOT
from tool import load_tool

tool = load_tool("launch_devices")


@pytest.fixture
def job(tmp_path):
    """A job of two devices whose processes are gone."""
    made = object.__new__(tool.Job)
    made.logs, made._log, made.ranks = tmp_path, tmp_path / "msrun.log", {100: 0, 101: 1}
    made._log.write_text("")
    return made


def failed(job, process, code, log=""):
    job._log.write_text(f"[ERROR] ME(1:2,x): Worker process {process} exit with exception. Error code: {code}.\n")
    job.log_of(job.ranks[process]).write_text(log)


def test_a_folder_of_logs_that_cannot_be_made_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tool.signal, "signal", lambda *_: None)
    (tmp_path / "file").write_text("")
    assert tool.main(["--devices", "2", "--port", "1", "--logs", str(tmp_path / "file/logs"), "--", "x.py"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}/file/logs: Not a directory; ")


def test_no_failure_is_a_good_end(job):
    assert tool.verdict(job) == ("", 0)


def test_the_reason_is_the_workers_own_line(job):
    failed(job, 101, 2, "step 3 of 9\nerror: a.jpg: no such image; check the list\n")
    reason, code = tool.verdict(job)
    assert code == 2
    assert reason == f"device 1 ended the job: a.jpg: no such image; check the list (its log: {job.log_of(1)})"


def test_a_killed_worker_is_named_with_its_signal(job):
    failed(job, 100, -9)
    assert tool.verdict(job) == (f"device 0 ended the job: killed by signal SIGKILL (its log: {job.log_of(0)})", 1)


def test_without_a_line_of_its_own_the_last_one_is_shown(job):
    failed(job, 100, 1, "Traceback ...\nMemoryError: no memory\n")
    assert "exit code 1: MemoryError: no memory" in tool.verdict(job)[0]


def test_a_stop_in_good_order_needs_no_words(job):
    failed(job, 101, 130, "interrupted\n")
    assert tool.verdict(job) == ("", 130)


def test_workers_that_never_started_are_a_failure(job):
    job.ranks = {}
    assert tool.verdict(job) == (f"msrun started no device; its log: {job.logs}/msrun.log", 1)


def test_what_the_first_worker_writes_is_shown_without_chatter(tmp_path, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(tool.sys, "stdout", SimpleNamespace(buffer=shown, flush=lambda: None))
    path = tmp_path / "worker_0.log"
    follower = tool.Follower(path)
    follower.follow()  # not there yet
    path.write_text("one\n[INFO] DISTRIBUTED(1,2): connected\ntwo\n")
    follower.follow()
    follower.follow()
    with path.open("a") as file:
        file.write("three\n")
    follower.follow()
    assert shown.getvalue() == b"one\ntwo\nthree\n"


def test_a_stopwatch_starts_again_after_a_break(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(tool.time, "monotonic", lambda: now[0])
    watch = tool.Stopwatch()
    assert watch.seconds == 0
    watch.run(True)
    now[0] = 103.0
    watch.run(True)
    assert watch.seconds == 3
    watch.run(False)
    assert watch.seconds == 0


def test_several_hosts_are_passed_to_msrun(tmp_path, monkeypatch):
    started = []

    class Started:
        pid = 1

        def __init__(self, command, **options):
            started.append((command, options))

    monkeypatch.setattr(tool.subprocess, "Popen", Started)
    args = SimpleNamespace(devices=8, hosts=2, host=1, master="10.0.0.1", port=8118, logs=tmp_path, command=["x.py"])
    job = tool.Job(args)
    command, options = started[0]
    wanted = {"--worker_num=8", "--local_worker_num=4", "--node_rank=1", "--master_addr=10.0.0.1", "--master_port=8118"}
    assert wanted <= set(command)
    assert command[-2:] == ["python", "x.py"]
    assert job.first == 4
    assert options["env"]["PATH"].startswith(f"{tmp_path}/bin:")
    job._output.close()


def test_the_python_that_workers_run_is_this_one(tmp_path):
    job = object.__new__(tool.Job)
    job.logs = tmp_path
    shim = job._interpreter() / "python"
    done = subprocess.run([shim, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sys.executable
    assert (ROOT / "tools/launch_devices.py").is_file()
