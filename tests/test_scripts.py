"""The shell scripts, run with stand-ins for Python and pip: no network, nothing installed."""

import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [*sorted((ROOT / "tools").glob("*.sh")), ROOT / ".ci" / "run"]
LEAF_SCRIPT = """#!/usr/bin/env bash
here="$(dirname "${BASH_SOURCE[0]}")" && exec bash "$here/../../../../tools/launch.sh" ACTION "$here" "$@"
"""

# An interpreter whose version is FAKE_VERSION or, in the file name, given after a dash; its pip only writes down how it
# was called. Code given with -c runs in the real Python, which is told to have that version.
FAKE_PYTHON = """#!/usr/bin/env bash
version="@VERSION@"
case "$1 $2" in
    "-c "*)
        [ "$version" != broken ] || exit 127
        exec "@REAL@" -I -S -c "import sys; sys.version_info = (${version//./, })
$2" "${@:3}" ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "venv $version" >>"$FAKE_LOG" ;;
    "-m pip")
        [ "$3" = install ] || exit 0
        echo "pip ${*:3}" >>"$FAKE_LOG"
        case "${FAKE_PIP:-}" in
            fails) echo "ERROR: no network" >&2; exit 1 ;;
            is-cut-short) kill -KILL 0 ;;
        esac ;;
    *) echo "unexpected: $*" >>"$FAKE_LOG"; exit 9 ;;
esac
"""

# An interpreter that has semiseg and prints its process id and the arguments it would run with, one a line.
PRINTING_PYTHON = """#!/usr/bin/env bash
if [ "$1" = -c ]; then
    [ "$2" != "import semiseg" ] || exit "${FAKE_IMPORT_STATUS:-0}"
    [ "$2" != "import xdist" ] || exit "${FAKE_XDIST_STATUS:-0}"
    exec "@REAL@" -I -S "$@"
fi
printf '%s\\n' "pid $$" "$@"
"""


def write_program(path: Path, text: str, version: str = "") -> Path:
    """An executable file at path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("@REAL@", sys.executable).replace("@VERSION@", version))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Clone:
    """A copy of the files that the scripts read, in a folder with a space in its name; its PATH has no Python."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "a clone"
        self.programs = tmp_path / "programs"
        self.log = tmp_path / "log.txt"
        self.venv = self.root / ".venv"
        self.stamp = self.venv / ".semiseg-stamp"
        shutil.copytree(ROOT / "tools", self.root / "tools", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        for name in ("setup.py", "pyproject.toml", "requirements.txt", "constraints.txt"):
            shutil.copy(ROOT / name, self.root / name)
        self.programs.mkdir()
        for tool in (
            "bash",
            "cat",
            "cksum",
            "cp",
            "date",
            "dirname",
            "basename",
            "flock",
            "grep",
            "mkdir",
            "mv",
            "rm",
            "touch",
        ):
            if found := shutil.which(tool):
                (self.programs / tool).symlink_to(found)
        self.env = {"PATH": str(self.programs), "FAKE_LOG": str(self.log), "HOME": str(tmp_path)}

    def add_python(self, name: str, version: str) -> Path:
        """A stand-in called name on the PATH."""
        return write_program(self.programs / name, FAKE_PYTHON, version)

    def run(
        self, script: str, *arguments: str, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script of the clone, in a process group of its own and without input."""
        return subprocess.run(
            ["bash", str(self.root / script), *arguments],
            cwd=cwd or self.root.parent,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=60,
            check=False,
        )

    def set_up(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """tools/setup_env.sh."""
        return self.run("tools/setup_env.sh", *arguments, **env)

    def calls(self) -> list[str]:
        """What the stand-ins were asked to do since the last question."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split(" -c constraints.txt ")[-1] for line in lines]

    def add_leaf(self) -> Path:
        """An experiment folder with both scripts."""
        leaf = self.root / "experiments" / "pascal" / "92" / "ours"
        leaf.mkdir(parents=True)
        (leaf / "config.yaml").write_text("")
        for action in ("train", "eval"):
            (leaf / f"{action}.sh").write_text(LEAF_SCRIPT.replace("ACTION", action))
        return leaf


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture
def installed(clone: Clone) -> Clone:
    """A clone that is set up."""
    clone.add_python("python3.12", "3.12.1")
    assert clone.set_up().returncode == 0
    assert clone.calls() == ["venv 3.12.1", "-e .[test]"]
    return clone


@pytest.fixture
def printing(clone: Clone) -> Clone:
    """A clone with an experiment, used with the interpreter that prints its arguments."""
    clone.env["SEMISEG_PYTHON"] = str(write_program(clone.root.parent / "own env" / "python", PRINTING_PYTHON))
    clone.add_leaf()
    return clone


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_parses_and_can_be_executed(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False).stderr == b""
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert os.access(script, os.X_OK)


def test_every_experiment_has_the_same_two_scripts() -> None:
    leaves = [path.parent for path in (ROOT / "experiments").glob("*/*/*/config.yaml")]
    assert leaves
    for leaf in leaves:
        for action in ("train", "eval"):
            assert (leaf / f"{action}.sh").read_text() == LEAF_SCRIPT.replace("ACTION", action), leaf


# ---- setup_env.sh


def test_second_setup_installs_nothing(installed: Clone) -> None:
    assert installed.set_up().returncode == 0
    assert installed.calls() == []


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt", "pyproject.toml", "setup.py"])
def test_changed_input_is_installed_once_into_the_same_environment(installed: Clone, name: str) -> None:
    with (installed.root / name).open("a") as file:
        file.write("# changed\n")
    assert installed.set_up().returncode == 0
    assert installed.calls() == ["-e .[test]"]
    assert installed.set_up().returncode == 0
    assert installed.calls() == []


def test_parity_is_added_and_then_kept(installed: Clone) -> None:
    assert installed.set_up("--parity").returncode == 0
    assert installed.calls() == ["-e .[test,parity]"]
    assert installed.set_up().returncode == 0
    assert installed.calls() == []
    (installed.root / "constraints.txt").write_text("numpy<2\n")
    assert installed.set_up().returncode == 0
    assert installed.calls() == ["-e .[test,parity]"]


def test_moved_clone_is_installed_again(installed: Clone) -> None:
    installed.root = installed.root.rename(installed.root.parent / "moved")
    assert installed.set_up().returncode == 0
    assert installed.calls() == ["-e .[test]"]


def test_environment_made_by_hand_is_adopted(clone: Clone) -> None:
    write_program(clone.venv / "bin" / "python", FAKE_PYTHON, "3.11.7")
    (clone.venv / "own.txt").write_text("kept")
    assert clone.set_up().returncode == 0
    assert clone.calls() == ["-e .[test]"]
    assert (clone.venv / "own.txt").read_text() == "kept"
    assert clone.set_up().returncode == 0
    assert clone.calls() == []


def test_environment_whose_python_is_gone_is_made_anew(installed: Clone) -> None:
    python = installed.venv / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.12")
    assert installed.set_up().returncode == 0
    assert installed.calls() == ["venv 3.12.1", "-e .[test]"]


def test_environment_with_unsuitable_python_is_left_alone(clone: Clone) -> None:
    clone.add_python("python3", "3.12.1")
    python = write_program(clone.venv / "bin" / "python", FAKE_PYTHON, "3.9.18")
    result = clone.set_up()
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "3.9.18" in result.stderr
    assert python.exists()
    assert clone.calls() == []


def test_first_install_cut_short_starts_over(clone: Clone) -> None:
    clone.add_python("python3.12", "3.12.1")
    assert clone.set_up(FAKE_PIP="is-cut-short").returncode == -9
    assert clone.calls() == ["venv 3.12.1", "-e .[test]"]
    assert not clone.stamp.exists()
    assert clone.set_up().returncode == 0
    assert clone.calls() == ["venv 3.12.1", "-e .[test]"]
    assert clone.set_up().returncode == 0
    assert clone.calls() == []


def test_failed_update_is_one_line_and_is_tried_again(installed: Clone) -> None:
    (installed.root / "constraints.txt").write_text("numpy<2\n")
    result = installed.set_up(FAKE_PIP="fails")
    assert result.returncode == 2
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1
    assert installed.calls() == ["-e .[test]"]
    assert installed.set_up().returncode == 0
    assert installed.calls() == ["-e .[test]"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="without flock there is no lock")
def test_second_setup_at_the_same_time_waits_and_finds_the_work_done(installed: Clone) -> None:
    good = installed.stamp.read_text()
    installed.stamp.unlink()
    command = ["bash", str(installed.root / "tools" / "setup_env.sh")]
    with (installed.root / "constraints.txt").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = subprocess.Popen(command, env=installed.env, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        installed.stamp.write_text(good)
    assert process.communicate(timeout=60)[1].startswith("ready: ")
    assert process.returncode == 0
    assert installed.calls() == []


def test_newest_python_that_runs_is_taken(clone: Clone) -> None:
    clone.add_python("python3.12", "broken")
    clone.add_python("python3.11", "3.11.7")
    clone.add_python("python3.10", "3.10.13")
    assert clone.set_up().returncode == 0
    assert clone.calls() == ["venv 3.11.7", "-e .[test]"]


def test_python_variable_goes_first_and_is_not_replaced_by_another(clone: Clone) -> None:
    clone.add_python("python3.12", "3.12.1")
    old = clone.add_python("my python", "3.9.1")
    result = clone.set_up(PYTHON=str(old))
    assert result.returncode == 2
    assert "3.9.1" in result.stderr
    assert not clone.venv.exists()
    clone.add_python("my python", "3.10.2")
    assert clone.set_up(PYTHON=str(old)).returncode == 0
    assert clone.calls() == ["venv 3.10.2", "-e .[test]"]


def test_no_suitable_python_is_one_line_that_names_what_was_found(clone: Clone) -> None:
    clone.add_python("python3.12", "broken")
    clone.add_python("python3", "3.13.0")
    result = clone.set_up()
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    for part in ("error: ", "3.10, 3.11 or 3.12", "python3 (3.13.0)", "python3.12 (does not run)", "PYTHON="):
        assert part in result.stderr


def test_no_python_at_all_is_one_line(clone: Clone) -> None:
    result = clone.set_up()
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "found none" in result.stderr


def test_own_environment_is_used_and_no_venv_made(printing: Clone) -> None:
    result = printing.set_up()
    assert result.returncode == 0
    assert printing.env["SEMISEG_PYTHON"] in result.stderr
    assert not printing.venv.exists()


def test_own_environment_without_semiseg_is_one_line(printing: Clone) -> None:
    result = printing.set_up(FAKE_IMPORT_STATUS="1")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "cannot import semiseg" in result.stderr


# ---- test.sh


def test_plain_test_run_leaves_parity_out_and_says_so(printing: Clone) -> None:
    result = printing.run("tools/test.sh", "-k", "two words")
    assert result.stdout.splitlines()[1:] == ["-m", "pytest", "-m", "not parity", "-k", "two words"]
    assert "bash tools/test.sh --parity" in result.stderr


def test_parity_test_run_takes_everything(printing: Clone) -> None:
    result = printing.run("tools/test.sh", "--parity", "tests/test_a.py")
    assert result.stdout.splitlines()[1:] == ["-m", "pytest", "tests/test_a.py"]
    assert result.stderr == ""


def test_the_whole_suite_runs_in_several_processes(printing: Clone) -> None:
    result = printing.run("tools/test.sh", "--parity")
    several = ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
    assert result.stdout.splitlines()[1:] == ["-m", "pytest", *several]
    printing.env["FAKE_XDIST_STATUS"] = "1"  # not there
    assert printing.run("tools/test.sh", "--parity").stdout.splitlines()[1:] == ["-m", "pytest"]


# ---- launch.sh and the scripts of an experiment


def leaf_output(clone: Clone, action: str, *arguments: str, cwd: Path | None = None) -> list[str]:
    """What the interpreter was started with, without the process id; the experiment folder's path reads LEAF."""
    result = clone.run(f"experiments/pascal/92/ours/{action}.sh", *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    leaf = str(clone.root.resolve() / "experiments" / "pascal" / "92" / "ours")
    return [line.replace(leaf, "LEAF") for line in result.stdout.splitlines()[1:]]


@pytest.mark.parametrize("devices", [[], ["1"], ["1", "12345"]])
def test_training_on_one_device_needs_no_launcher(printing: Clone, devices: list[str]) -> None:
    lines = leaf_output(printing, "train", *devices, "trainer.epochs=2", "--debug", "saver.main_dir=a b")
    expected = [
        "-m",
        "semiseg.train",
        "--config",
        "LEAF/config.yaml",
        "trainer.epochs=2",
        "--debug",
        "saver.main_dir=a b",
    ]
    assert lines == expected


def test_evaluation_passes_everything_on(printing: Clone) -> None:
    lines = leaf_output(printing, "eval", "--checkpoint", "x.ckpt", "--json", "2")
    assert lines == ["-m", "semiseg.evaluate", "--config", "LEAF/config.yaml", "--checkpoint", "x.ckpt", "--json", "2"]


def test_training_on_several_devices_goes_through_the_launcher(printing: Clone) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    lines = leaf_output(printing, "train", "2", port, "trainer.epochs=2")
    assert lines[0] == f"{printing.root.resolve()}/tools/launch_devices.py"
    options = dict(zip(lines[1 : lines.index("--") : 2], lines[2 : lines.index("--") : 2], strict=True))
    assert (options["--devices"], options["--port"], options["--hosts"]) == ("2", port, "1")
    assert options["--logs"].startswith(f"{printing.root.resolve()}/ckpt/msrun_logs/pascal/92/ours/")
    command = lines[lines.index("--") + 1 :]
    assert command == ["-m", "semiseg.train", "--config", "LEAF/config.yaml", "trainer.epochs=2"]


def test_several_hosts_are_named_by_the_environment(printing: Clone) -> None:
    printing.env |= {"SEMISEG_HOSTS": "2", "SEMISEG_HOST": "1", "SEMISEG_MASTER": "10.0.0.7"}
    lines = leaf_output(printing, "train", "4", "8118")
    assert lines[lines.index("--hosts") : lines.index("--")] == [
        *("--hosts", "2", "--host", "1"),
        *("--master", "10.0.0.7"),
    ]


@pytest.mark.parametrize(
    ("arguments", "master", "message"),
    [
        (["4"], "10.0.0.7", "several hosts need a port"),
        (["4", "8118"], "", "SEMISEG_MASTER: expected the address of host 0"),
        (["3", "8118"], "10.0.0.7", "3 devices cannot be shared equally by 2 hosts"),
    ],
)
def test_several_hosts_without_what_they_need_are_one_line(
    printing: Clone, arguments: list[str], master: str, message: str
) -> None:
    printing.env |= {"SEMISEG_HOSTS": "2", "SEMISEG_HOST": "1", "SEMISEG_MASTER": master}
    result = printing.run("experiments/pascal/92/ours/train.sh", *arguments)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert message in result.stderr


def test_port_is_found_where_none_is_given(printing: Clone) -> None:
    lines = leaf_output(printing, "train", "2")
    port = lines[lines.index("--port") + 1]
    assert 1024 <= int(port) <= 65535


def test_port_in_use_is_one_line(printing: Clone) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        result = printing.run("experiments/pascal/92/ours/train.sh", "2", port)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: port {port} is in use: name another, or none to have one found\n"


@pytest.mark.parametrize("arguments", [["0"], ["2", "80"], ["2", "65536"]])
def test_impossible_numbers_are_one_line(printing: Clone, arguments: list[str]) -> None:
    result = printing.run("experiments/pascal/92/ours/train.sh", *arguments)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert arguments[-1] in result.stderr


@pytest.mark.parametrize("arguments", [[], ["train"], ["train", "nowhere"], ["teach", "experiments/pascal/92/ours"]])
def test_wrong_launch_is_one_line(printing: Clone, arguments: list[str]) -> None:
    result = printing.run("tools/launch.sh", *arguments, cwd=printing.root)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize("where", ["beside", "inside", "root"])
def test_experiment_scripts_work_from_any_directory(printing: Clone, where: str) -> None:
    leaf = printing.root / "experiments" / "pascal" / "92" / "ours"
    cwd = {"beside": leaf.parent, "inside": leaf, "root": Path("/")}[where]
    script = os.path.relpath(leaf / "train.sh", cwd)
    result = subprocess.run(
        ["bash", script], cwd=cwd, env=printing.env, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.splitlines()[1:] == ["-m", "semiseg.train", "--config", f"{leaf.resolve()}/config.yaml"]


def test_interpreter_replaces_the_script_so_that_signals_reach_it(printing: Clone) -> None:
    script = printing.root / "experiments" / "pascal" / "92" / "ours" / "train.sh"
    process = subprocess.Popen(["bash", str(script)], env=printing.env, stdout=subprocess.PIPE, text=True)
    output = process.communicate(timeout=60)[0]
    assert output.splitlines()[0] == f"pid {process.pid}"


def test_experiment_script_sets_the_clone_up_first(installed: Clone) -> None:
    installed.add_leaf()
    installed.stamp.unlink()
    result = installed.run("experiments/pascal/92/ours/eval.sh")
    assert result.returncode == 9
    config = f"{installed.root.resolve()}/experiments/pascal/92/ours/config.yaml"
    assert installed.calls() == ["-e .[test]", f"unexpected: -m semiseg.evaluate --config {config}"]
