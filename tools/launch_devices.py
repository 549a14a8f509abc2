"""Runs a training on several devices under msrun: shows process 0, passes signals on, says why a job ended.

    python tools/launch_devices.py --devices 2 --port 8118 --logs DIR -- -m semiseg.train --config F [key=value ...]

launch.sh calls it. It stands alone: it watches processes that load the package and MindSpore, and loads neither itself.
On several hosts the same command runs on each, with --hosts, --host and --master:
docs/distributed.md.
"""

import argparse
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

_LOOK = 0.5  # seconds between two looks at the processes
_GRACE = 5.0  # seconds that the scheduler may outlive the last worker; it would wait for half a minute
_HEADLESS = 15.0  # seconds that workers may outlive the scheduler
_PROBES = 6  # so many failed connections to the master, 5 seconds apart, and it is taken for gone
_FAILED = re.compile(r"Worker process (\d+) exit with exception. Error code: (-?\d+)")


class Job:
    """msrun with its workers (one a device) and, on the first host, the scheduler."""

    def __init__(self, args: argparse.Namespace):
        self.local = args.devices // args.hosts
        self.first = args.host * self.local  # rank of the first worker here
        self.logs, self._log = args.logs, args.logs / "msrun.log"
        self.logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mindspore.parallel.cluster.run"]
        command += [f"--worker_num={args.devices}", f"--local_worker_num={self.local}", f"--node_rank={args.host}"]
        command += [f"--master_addr={args.master}", f"--master_port={args.port}", "--join=True"]
        # A worker that is not there: what is shown comes from follow() below, to the last line.
        command += [f"--tail_worker_log={args.devices}", f"--log_dir={self.logs}"]
        command += ["python", *args.command]
        for old in self.logs.glob("*.log"):
            old.unlink()
        self._output = self._log.open("w", encoding="utf-8")
        # In a session of its own: Ctrl-C in the terminal would make it kill the workers on the spot.
        self._msrun = subprocess.Popen(
            command,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"PATH": f"{self._interpreter()}{os.pathsep}{os.environ['PATH']}", "GLOG_v": "3"},
        )
        self._tree = psutil.Process(self._msrun.pid)
        self.ranks: dict[int, int] = {}  # process id -> rank, of every worker seen
        self.had_scheduler = False

    def _interpreter(self) -> Path:
        """A folder with a program ``python`` that is this interpreter: msrun starts workers by that name alone.

        msrun itself runs with GLOG_v=3, for its lines that say which worker failed; the workers with what they had.
        """
        folder = self.logs / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "python"
        level = os.environ.get("GLOG_v", "4")  # noqa: SIM112 (MindSpore's name)
        script.write_text(f'#!/bin/sh\nGLOG_v={level} exec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        return folder

    def look(self) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """(workers, schedulers) that are alive."""
        workers, schedulers = [], []
        try:
            children = self._tree.children()
        except psutil.NoSuchProcess:
            return [], []
        for child in children:
            try:
                environment = child.environ()
                if child.status() == psutil.STATUS_ZOMBIE:
                    continue
            except psutil.Error:
                continue
            if environment.get("MS_ROLE") == "MS_WORKER":
                workers.append(child)
                self.ranks[child.pid] = int(environment.get("RANK_ID", "-1"))
            elif environment.get("MS_ROLE") == "MS_SCHED":
                schedulers.append(child)
                self.had_scheduler = True
        return workers, schedulers

    def ended(self) -> bool:
        """Whether msrun is gone."""
        return self._msrun.poll() is not None

    def log_of(self, rank: int) -> Path:
        """Where a worker's output goes."""
        return self.logs / f"worker_{rank}.log"

    def failures(self) -> list[tuple[int, int]]:
        """(rank, exit code) of the workers that msrun saw fail; those it killed afterwards are not among them."""
        found = _FAILED.findall(self._log.read_text(encoding="utf-8", errors="replace"))
        return [(self.ranks.get(int(process), -1), int(code)) for process, code in found]

    def kill(self) -> None:
        """Ends whatever is left."""
        workers, schedulers = self.look()
        for process in (*workers, *schedulers, self._tree):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._msrun.wait()
        self._output.close()


class Follower:
    """Copies what is added to a file to our output, but for MindSpore's chatter on connections."""

    def __init__(self, path: Path):
        self._path, self._at = path, 0

    def follow(self) -> None:
        """Copies what is new."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
            self._at = file.tell()
        sys.stdout.buffer.write(re.sub(rb"(?m)^\[INFO\] DISTRIBUTED.*\n", b"", new))
        sys.stdout.flush()


class Stopwatch:
    """How long something has been so without a break."""

    def __init__(self) -> None:
        self._since: float | None = None

    def run(self, so: bool) -> None:
        """Runs while ``so``, else back to 0."""
        self._since = (self._since or time.monotonic()) if so else None

    @property
    def seconds(self) -> float:
        """Since it began to be so; 0 where it is not."""
        return 0.0 if self._since is None else time.monotonic() - self._since


def main(argv: Sequence[str]) -> int:
    """The command line; the exit code is that of the first worker to fail (130 after a signal), else 0."""
    parser = argparse.ArgumentParser(description="Train on several devices under msrun.")
    parser.add_argument("--devices", type=int, required=True, help="of all hosts together")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--host", type=int, default=0, help="number of this host, from 0")
    parser.add_argument("--master", default="127.0.0.1", help="address of host 0")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and what python runs on each device")
    args = parser.parse_args(argv)
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: signals.append(number))
    try:
        job = Job(args)
    except OSError as error:
        place = error.filename or args.logs
        print(f"error: {place}: {error.strerror}; logs go there: mend its rights or free some space", file=sys.stderr)
        return 2
    try:
        reason, code = watch(job, signals, (args.master, args.port) if args.host else None)
    finally:
        job.kill()
    if not reason:
        reason, code = verdict(job)
    if reason:
        print(f"error: {reason}", file=sys.stderr)
    return code


def watch(job: Job, signals: list[int], master: tuple[str, int] | None) -> tuple[str, int]:
    """Until the job has ended: shows the first worker, passes signals on, ends what hangs.

    ``master``: where the scheduler listens, if it runs on another host.

    Returns (why it must be ended from here, exit code), ("", 0) if it ended by itself.
    """
    shown = Follower(job.log_of(job.first))
    passed, silent, probed = 0, 0, time.monotonic()
    headless, alone = Stopwatch(), Stopwatch()
    while not job.ended():
        shown.follow()
        workers, schedulers = job.look()
        if len(signals) > passed:
            passed = len(signals)
            if passed > 1:
                return "killed at the second signal, without waiting for the end of the step", 130
            print("stopping: all devices finish the step and the checkpoint is written", file=sys.stderr)
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        headless.run(bool(workers) and job.had_scheduler and not schedulers)
        if headless.seconds > _HEADLESS:
            return "a device on another host is gone, so the scheduler has ended", 1
        if workers and master and time.monotonic() - probed > 5:
            silent, probed = (0 if _answers(master) else silent + 1), time.monotonic()
            if silent >= _PROBES:
                return f"host 0 ({master[0]}) does not answer any more", 1
        alone.run(bool(job.ranks) and not workers)
        if alone.seconds > _GRACE:
            break
        time.sleep(_LOOK)
    shown.follow()
    return "", 0


def verdict(job: Job) -> tuple[str, int]:
    """(which device failed and why, exit code); ("", 130) after a stop in good order."""
    failures = job.failures()
    if not failures:
        return ("", 0) if job.ranks else (f"msrun started no device; its log: {job.logs}/msrun.log", 1)
    rank, code = failures[0]
    if code == 130:
        return "", code
    log = job.log_of(rank)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    reasons = [line for line in lines if line.startswith("error: ")]
    if code < 0:
        reason = f"killed by signal {signal.Signals(-code).name}"
    else:
        reason = reasons[-1].removeprefix("error: ") if reasons else f"exit code {code}: {lines[-1] if lines else ''}"
    return f"device {rank} ended the job: {reason} (its log: {log})", 2 if code == 2 else 1


def _answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=4):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
