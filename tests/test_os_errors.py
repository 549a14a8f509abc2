"""What the operating system refuses is one line with the file, the reason and what to do, from every command."""

import builtins
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, TINY_NET
from tool import snapshot

from semiseg import cli
from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.run import Checkpoints, Progress
from semiseg.common import os_errors
from semiseg.common.errors import CheckpointError, DataError
from semiseg.common.files import matching, open_file, read_file, real_path, replace_file, replacing
from semiseg.config import load
from semiseg.config.keys import SaverConfig
from semiseg.data import build as data_build
from semiseg.engine import build

RIGHTS, DRIVE = "ls -l, chmod", "mount it again"
CODES = {errno.EACCES: RIGHTS, errno.EIO: DRIVE, errno.ESTALE: DRIVE, errno.EMFILE: "ulimit -n"}
LOOKING = ("stat", "lstat", "open", "mkdir", "listdir", "scandir", "replace", "rename", "unlink", "readlink", "access")


def refuse_below(monkeypatch, folder, code):
    """Every call of the system on what lies below ``folder`` fails with ``code``, as where it may not be entered."""

    def guarded(name, real):
        def call(path, *args, **options):
            known = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
            if f"{known}{'' if name in ('stat', 'lstat') else '/'}".startswith(f"{folder}/"):  # it is there
                raise OSError(code, os.strerror(code), os.fspath(path))
            return real(path, *args, **options)

        return call

    for name in LOOKING:
        monkeypatch.setattr(os, name, guarded(name, getattr(os, name)))
    monkeypatch.setattr(io, "open", guarded("open", io.open))
    monkeypatch.setattr(builtins, "open", guarded("open", builtins.open))


def one_line(capsys, command, arguments):
    """The line of a command that must end with code 2."""
    capsys.readouterr()
    target = cli.COMMANDS[command].target
    assert cli.main([command, *map(str, arguments)]) == 2, target
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line and "|" not in line]
    assert len(lines) == 1, lines
    return lines[0]


# What is read: command -> its arguments, where DRIVE/ is the folder that cannot be entered.
READS = {
    "config": ["show", "DRIVE/x"],
    "train": ["--config", "DRIVE/x"],
    "train, images": ["--config", "CONFIG", "saver.main_dir=OUT", "dataset.data_root=DRIVE/x"],
    "train, splits": ["--config", "CONFIG", "saver.main_dir=OUT", "dataset.splits=DRIVE/x"],
    "train, list": ["--config", "CONFIG", "saver.main_dir=OUT", "dataset.train.unlabeled_list=DRIVE/x"],
    "train, folder of images": ["--config", "CONFIG", "saver.main_dir=OUT", "dataset.train.unlabeled_dir=DRIVE/x"],
    "train, weights": ["--config", "CONFIG", "saver.main_dir=OUT", "net.encoder.pretrained=DRIVE/x.pth"],
    "train, run folder": ["--config", "CONFIG", "saver.main_dir=DRIVE/x"],
    "evaluate": ["--checkpoint", "DRIVE/x.ckpt"],
    "evaluate, list": ["--config", "CONFIG", "--checkpoint", "CKPT", "dataset.val.data_list=DRIVE/x"],
    "evaluate, images": ["--config", "CONFIG", "--checkpoint", "CKPT", "dataset.data_root=DRIVE/x"],
    "predict": ["--config", "CONFIG", "--checkpoint", "CKPT", "DRIVE/x", "--out", "OUT"],
    "predict, .pth": ["--config", "CONFIG", "--checkpoint", "DRIVE/x.pth", "DATA", "--out", "OUT"],
    "report": ["DRIVE/x", "--out", "OUT/x.html"],
    "export": ["--checkpoint", "DRIVE/x.safetensors", "--config", "CONFIG", "--format", "onnx", "--out", "OUT/x.onnx"],
    "check-data": ["--config", "DRIVE/x"],
    "check-data, images": ["--config", "CONFIG", "dataset.data_root=DRIVE/x"],
    "make-splits": ["--list", "DRIVE/x", "--count", 1, "--out", "OUT"],
    "fetch-splits": ["--from-dir", "DRIVE/x", "--out", "OUT"],
    "weights": ["resnet50", "--from", "DRIVE/x"],
    "prepare-voc": ["--voc", "DRIVE/x"],
    "prepare-voc, masks": ["--voc", "VOC", "--masks", "DRIVE"],
    "prepare-cityscapes": ["--root", "DRIVE/x"],
    "prepare-camvid": ["--from", "DRIVE/x", "--out", "OUT"],
    "convert-checkpoint": ["DRIVE/x.pth", "OUT/x.ckpt"],
    "new": ["never-written", "--images", "DRIVE/x", "--masks", "DRIVE/x"],
    "new, masks": ["never-written", "--images", "DATA", "--masks", "DRIVE/x"],
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tiny_data):
    """Names in the tables above -> paths that no test writes to."""
    folder = tmp_path_factory.mktemp("prepared")
    config, best, voc = folder / "config.yaml", folder / "best.ckpt", folder / "voc"
    config.write_text(
        f"base: {ROOT}/experiments/synthetic/16/ours/config.yaml\ndevice: cpu\ntrainer: {{jit: false}}\n"
        f"dataset: {{data_root: '{tiny_data}', splits: '{tiny_data}/splits', split: 4, workers: 0}}\n"
    )
    whole, _ = data_build.complete(load(config, TINY_NET))
    checkpoint_io.save(best, checkpoint_io.network_arrays(build.fresh_network(whole, seed=3)), {"step": 1})
    for name in ("JPEGImages", "SegmentationClass"):
        (voc / name).mkdir(parents=True)
    Image.new("RGB", (9, 7)).save(voc / "JPEGImages/a.jpg")
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(voc / "SegmentationClass/a.png")
    (folder / "ids.txt").write_text("a\nb\nc\n")
    return {"CONFIG": config, "CKPT": best, "DATA": tiny_data, "VOC": voc, "LIST": folder / "ids.txt"}


@pytest.fixture
def places(prepared, tmp_path):
    """With DRIVE, a folder that cannot be entered, and OUT, which is not there."""
    (tmp_path / "drive").mkdir()
    return prepared | {"DRIVE": tmp_path / "drive", "OUT": tmp_path / "out"}


def filled(arguments, places):
    text = [str(argument) for argument in arguments]
    for name in ("DRIVE", "CONFIG", "CKPT", "DATA", "VOC", "OUT", "LIST"):
        text = [argument.replace(name, str(places[name])) for argument in text]
    return text + list(TINY_NET if "CONFIG" in arguments else ())


@pytest.mark.parametrize("case", READS)
def test_a_folder_one_may_not_enter_is_one_line_from_every_command(case, places, capsys, monkeypatch):
    arguments = filled(READS[case], places)
    code = list(CODES)[list(READS).index(case) % len(CODES)]
    with monkeypatch.context() as patch:
        refuse_below(patch, places["DRIVE"], code)
        line = one_line(capsys, case.partition(",")[0], arguments)
    assert str(places["DRIVE"]) in line
    assert os.strerror(code) in line or "no permission" in line
    assert CODES[code] in line or "name another" in line
    assert not places["OUT"].exists()


def fail(code, path):
    raise OSError(code, os.strerror(code), str(path))


@pytest.mark.parametrize("name", ["n" * 300, "loop/x", "file/x", "pipe", "/dev/zero"])
@pytest.mark.parametrize("case", ["train", "train, list", "evaluate", "predict", "make-splits", "convert-checkpoint"])
def test_names_too_long_circles_of_links_pipes_and_devices_are_one_line(name, case, places, capsys):
    drive = places["DRIVE"]
    (drive / "loop").symlink_to(drive / "loop")
    (drive / "file").write_text("")
    os.mkfifo(drive / "pipe")
    arguments = [argument.replace("DRIVE/x", str(drive / name)) for argument in map(str, READS[case])]
    line = one_line(capsys, case.partition(",")[0], filled(arguments, places))
    assert str(drive / name) in line
    assert not places["OUT"].exists()


def test_every_command_that_reads_is_tried():
    tried = {case.partition(",")[0] for case in READS}
    of_the_clone = {"make-synthetic", "show-prototypes", "compare"}  # in test_..._of_the_clone
    assert set(cli.COMMANDS) - tried - of_the_clone == {"doctor"}  # reads no file that somebody names


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("compare", ["--collect", "--out", "DRIVE/x"]), ("show-prototypes", ["--checkpoint", "DRIVE/x", "--out", "OUT"])],
)
def test_the_programs_of_the_clone_say_it_in_one_line_too(command, arguments, places, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["semiseg"])
    arguments = filled(arguments, places)
    with monkeypatch.context() as patch:
        refuse_below(patch, places["DRIVE"], errno.EACCES)
        with pytest.raises(SystemExit) as stop:
            cli.main([command, *arguments])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Permission denied" in line
    assert RIGHTS in line


# ---- what is written

WRITES = {
    "train": ["--config", "CONFIG", "saver.main_dir=OUT/run"],
    "evaluate": ["--config", "CONFIG", "--checkpoint", "CKPT", "--json", "OUT/x.json"],
    "predict": ["--config", "CONFIG", "--checkpoint", "CKPT", "DATA/JPEGImages", "--out", "OUT/x"],
    "report": ["RUN", "--out", "OUT/x.html"],
    "export": [
        "--config",
        "CONFIG",
        "--checkpoint",
        "CKPT",
        "--format",
        "onnx",
        "--size",
        33,
        33,
        "--out",
        "OUT/x.onnx",
    ],
    "make-splits": ["--list", "LIST", "--count", 1, "--out", "OUT/x"],
    "make-synthetic": ["--out", "OUT/x"],
    "prepare-voc": ["--voc", "VOC", "--out", "OUT/x"],
    "convert-checkpoint": ["CKPT", "OUT/x.ckpt", "--config", "CONFIG"],
    "doctor": ["--device", "cpu", "--small", "--json", "OUT/x.json"],
}


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", [name for name in WRITES if name not in ("report", "convert-checkpoint", "export")])
def test_a_read_only_folder_is_one_line_before_the_work_and_nothing_is_lost(command, places, capsys, monkeypatch):
    places["OUT"].mkdir()
    (places["OUT"] / "mine.txt").write_text("mine")
    before = snapshot(places["OUT"])
    arguments = filled(WRITES[command], places)
    with monkeypatch.context() as patch:
        refuse_writing(patch, places["OUT"], errno.EROFS)
        line = one_line(capsys, command, arguments)
    assert str(places["OUT"]) in line
    assert "can only be read" in line or "Read-only file system" in line
    assert snapshot(places["OUT"]) == before


def refuse_writing(monkeypatch, folder, code):
    def guarded(real, writes):
        def call(path, *args, **options):
            below = isinstance(path, str | os.PathLike) and f"{os.fspath(path)}/".startswith(f"{folder}/")
            if below and writes(*args):
                raise OSError(code, os.strerror(code), os.fspath(path))
            return real(path, *args, **options)

        return call

    for name in ("mkdir", "replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), lambda *_: True))
    monkeypatch.setattr(os, "open", guarded(os.open, lambda flags, *_: flags & (os.O_WRONLY | os.O_RDWR)))
    monkeypatch.setattr(io, "open", guarded(io.open, lambda mode="r", *_: set(mode) & set("wax+")))
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **options: False if mode & os.W_OK else real(path, mode))
    monkeypatch.setattr(os, "supports_effective_ids", {os.access})


@pytest.mark.parametrize("command", ["evaluate", "predict", "make-splits", "make-synthetic", "prepare-voc"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(command, places, capsys, monkeypatch):
    def half(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    arguments = filled(WRITES[command], places)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        line = one_line(capsys, command, arguments)
    assert "No space left on device" in line
    assert "free some space" in line
    assert files_below(places["OUT"]) == set()


def test_scores_that_find_no_place_on_the_disk_are_printed(places, capsys, monkeypatch):
    def full(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert cli.main(["evaluate", *filled(WRITES["evaluate"], places)]) == 2
    assert "mIoU" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "report", "make-splits"])
def test_a_device_or_pipe_is_never_replaced_by_an_output(command, places, capsys):
    os.mkfifo(places["DRIVE"] / "pipe")
    (places["DRIVE"] / "run").mkdir()
    (places["DRIVE"] / "run/config.resolved.yaml").write_text("")
    arguments = [str(argument).replace("RUN", str(places["DRIVE"] / "run")) for argument in WRITES[command]]
    arguments[-1] = str(places["DRIVE"] / "pipe")
    assert str(places["DRIVE"] / "pipe") in one_line(capsys, command, filled(arguments, places))
    assert (places["DRIVE"] / "pipe").is_fifo()
    with pytest.raises(DataError, match="pipe, no file"):
        replace_file(places["DRIVE"] / "pipe", "x", error_type=DataError)


def test_output_that_finds_no_space_is_one_line_and_code_2():
    with Path("/dev/full").open("wb") as full:
        options = {"stdout": full, "stderr": subprocess.PIPE, "text": True, "check": False, "cwd": ROOT}
        done = subprocess.run([sys.executable, "-m", "semiseg", "--help"], **options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: what this prints to")
    assert done.stderr.count("\n") == 1


# ---- the mechanism


def test_every_reason_has_a_line_of_its_own_and_a_cause_of_ours_keeps_its_traceback(capsys):
    def raising(error):
        def work(_):
            raise error

        return work

    for code in os_errors._MEND:
        assert cli.run(raising(OSError(code, os.strerror(code), "/a/b")), []) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"error: /a/b: {os.strerror(code)}; ")
        assert line.count("\n") == 1
    assert cli.run(raising(OSError(errno.EIO, "Input/output error", b"/a/\xff")), []) == 2
    assert r"/a/\udcff: Input/output error; " in capsys.readouterr().err
    assert cli.run(raising(OSError(99, "as yet unknown", 7)), []) == 2
    assert "as yet unknown" in capsys.readouterr().err
    with pytest.raises(OSError, match="a decoder's own"):
        cli.run(raising(OSError("a decoder's own")), [])
    with pytest.raises(PermissionError):
        cli.run(raising(PermissionError(errno.EACCES, "x", "y")), ["--debug"])


def test_pipes_are_refused_without_waiting_but_what_the_shell_opened_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (open_file, read_file):
        with pytest.raises(os_errors.SpecialFile, match="is a pipe"):
            read(tmp_path / "pipe")
    reader, writer = os.pipe()
    os.write(writer, b"a\n")
    os.close(writer)
    assert read_file(f"/dev/fd/{reader}") == b"a\n"
    os.close(reader)


def test_folders_are_listed_or_refused_never_taken_for_empty(tmp_path, monkeypatch):
    (tmp_path / "b.png").touch()
    (tmp_path / "a.png").touch()
    (tmp_path / "c.txt").touch()
    assert [path.name for path in matching(tmp_path, "*.png")] == ["a.png", "b.png"]
    assert matching(tmp_path / "none", "*") == matching(tmp_path / "c.txt", "*") == []
    monkeypatch.setattr(os, "listdir", lambda path: fail(errno.EACCES, path))
    with pytest.raises(PermissionError):
        matching(tmp_path, "*.png")


def test_links_in_a_circle_have_a_real_path_all_the_same(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert real_path(tmp_path / "loop/x") == tmp_path / "loop/x"


def test_names_of_250_letters_are_written(tmp_path):
    paths = [tmp_path / ("n" * 240 + f"{number}.json") for number in range(8)]
    threads = [threading.Thread(target=replace_file, args=(path, path.name)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_text() for path in paths] == [path.name for path in paths]
    assert len(list(tmp_path.iterdir())) == 8


def test_an_error_of_another_file_is_not_blamed_on_the_output(tmp_path):
    def write():
        with replacing(tmp_path / "x") as partial:
            partial.write_text("half")
            (tmp_path / "elsewhere/source").read_text()

    with pytest.raises(FileNotFoundError, match="elsewhere"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_cannot_be_read_is_never_passed_over_for_an_older_one(tmp_path, prepared, monkeypatch):
    folder = tmp_path / "run2"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("last.ckpt", "step_00000002.ckpt"):
        shutil.copy(prepared["CKPT"], folder / "checkpoints" / name)

    def dead(path):
        fail(errno.EIO, path)

    monkeypatch.setattr(checkpoint_io, "read_ckpt", dead)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be read .*mount it again"):
        Checkpoints(folder, SaverConfig(), {}).resume(Progress())


def test_paths_that_no_file_can_have_are_told_by_the_key(tmp_path, capsys):
    for text in (r'"a\0b"', r'"a\ud800b"', "~nobody_of_this_name/x"):
        path = tmp_path / "config.yaml"
        path.write_text(f"dataset: {{data_root: {text}}}\n")
        line = one_line(capsys, "config", ["show", path])
        assert "dataset.data_root: " in line
        assert json.dumps(str(path))[1:-1] in line
    path.write_text('base: "a\\0b"\n')
    assert "base: expected a file name" in one_line(capsys, "config", ["show", path])
