"""What is printed costs no result: terminals that cannot show a name, readers that leave (| head), full disks."""

import io
import json
import os
import subprocess
import sys

import pytest
from tiny import ROOT, TINY_NET

from semiseg import cli, evaluate, predict
from semiseg.checkpoints import io as checkpoint_io
from semiseg.config import load
from semiseg.data.build import complete
from semiseg.engine import build

CLASSES = ("Straße", "δένδρο", "木", "небо", "🐈", "plain")


@pytest.fixture
def scored(tmp_path, tiny_data):
    """The arguments that name a network of six classes, most of them with names that ASCII does not hold."""
    path = tmp_path / "own.yaml"
    path.write_text(
        f"""method: suponly
device: cpu
trainer: {{jit: false}}
dataset:
  type: custom
  data_root: '{tiny_data}'
  splits: '{tiny_data}/splits'
  split: 4
  workers: 0
  custom:
    classes: [{", ".join(CLASSES)}]
    image: "JPEGImages/{{id}}.jpg"
    mask: "SegmentationClassAug/{{id}}.png"
""",
        encoding="utf-8",
    )
    config, _ = complete(load(path, TINY_NET))
    arrays = checkpoint_io.network_arrays(build.fresh_network(config, seed=3))
    checkpoint_io.save(tmp_path / "own.ckpt", arrays, {"step": 1})
    return ["--config", str(path), "--checkpoint", str(tmp_path / "own.ckpt"), *TINY_NET]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_class_names_are_printed_on_any_terminal(scored, tmp_path, monkeypatch, encoding):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.run(evaluate.main, [*scored, "--json", str(tmp_path / "x.json")]) == 0
    assert tuple(json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["iou"]) == CLASSES
    terminal.seek(0)
    printed = [line.split()[0] for line in terminal.read().splitlines()]
    shown = [name.encode(encoding, "backslashreplace").decode(encoding) for name in CLASSES]
    assert [name for name in shown if name not in printed] == []
    if encoding == "ascii":
        assert shown[0] == r"Stra\xdfe"


def test_scores_are_written_before_anything_of_them_is_printed(scored, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluate, "table", full)
    assert cli.run(evaluate.main, [*scored, "--json", str(tmp_path / "x.json")]) == 2
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["images"] == 3


def test_messages_with_such_names_are_one_line_too(tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stderr", terminal)
    photo = os.fsdecode(b"no\xffne-\xe6\x9c\xa8.png")  # a name that is no UTF-8
    assert cli.run(predict.main, ["--checkpoint", str(tmp_path / photo), photo, "--out", str(tmp_path / "o")]) == 2
    terminal.seek(0)
    (line,) = terminal.read().splitlines()
    assert "no such checkpoint" in line
    assert r"no\udcffne-\u6728.png" in line


LEAF = "experiments/pascal/183/ours"
LONG_OUTPUT = [
    ["-m", "semiseg", "config", "show", LEAF],
    ["-m", "semiseg.config", "show", LEAF],
    ["-m", "semiseg", "--help"],
    ["-m", "semiseg", "config", "show", "--help"],
    ["-m", "semiseg", "--version"],
    ["tools/make_splits.py", "--help"],
]


def surroundings(buffered=True):
    """The environment; unbuffered output fails at another moment, in the middle and not at the end."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return plain if buffered else plain | {"PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize("arguments", LONG_OUTPUT, ids=" ".join)
@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_has_left_ends_a_command_quietly(arguments, buffered):
    reader, writer = os.pipe()
    os.close(reader)  # every write fails
    program = [sys.executable, *arguments]
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(
            program, cwd=ROOT, env=surroundings(buffered), stdout=output, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def piped(arguments, reader):
    """(what the reader printed, exit code of the command, standard error) of ``semiseg ARGUMENTS | READER``."""
    line = f"'{sys.executable}' -m semiseg {arguments} | {reader}; echo ${{PIPESTATUS[0]}}"
    options = {"cwd": ROOT, "env": surroundings(), "capture_output": True, "text": True, "check": True}
    done = subprocess.run(["bash", "-c", line], **options)
    *shown, status = done.stdout.splitlines()
    return shown, int(status), done.stderr


def test_head_takes_the_first_line():
    (first,), status, errors = piped(f"config show {LEAF}", "head -1")
    assert first.split()[:2] == ["method", "ours"]
    assert (status, errors) == (0, "")


def test_an_error_stays_an_error_where_nobody_reads_the_output():
    shown, status, errors = piped("config show nowhere", "true")
    assert (shown, status) == ([], 2)
    assert errors.count("\n") == 1
