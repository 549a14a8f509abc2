"""Names that are no UTF-8 work from list to report and are printed as escapes; lists in other forms are named."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from own_data import QUICK, write_config, write_ids
from PIL import Image
from tiny import ROOT

from semiseg import cli
from semiseg.common.errors import DataError
from semiseg.data.discover import scan
from semiseg.data.splits import read_list, write_list

BYTES = [os.fsdecode(name) for name in (b"caf\xe9", b"\xff\xfe", b"na\xefve")]
NAMES = [*BYTES, "größe", "木", *(f"{number:02}" for number in range(5))]
SHORT = ["trainer.epochs=1", "trainer.sup_only_epoch=0", "dataset.batch_size=2", "trainer.eval_every=1"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """(folder of an experiment, data root, folder of more images); NAMES are images with masks."""
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    for part in ("data/images", "data/masks", "more"):
        (folder / part).mkdir(parents=True)
    for name in NAMES:
        Image.fromarray(rng.integers(0, 256, (40, 44, 3), np.uint8)).save(str(folder / f"data/images/{name}.jpg"))
        mask = np.kron(rng.permutation(16).reshape(4, 4) % 3, np.ones((10, 11))).astype(np.uint8)
        Image.fromarray(mask).save(str(folder / f"data/masks/{name}.png"))
    for name in (*BYTES, "a\nb", " c"):
        Image.new("RGB", (44, 40), "red").save(str(folder / f"more/{name}.png"))
    (folder / f"more/half{BYTES[1]}.png").write_bytes(b"\x89PNG")
    data = {"data_root": str(folder / "data"), "splits": str(folder / "splits"), "split": "mine"}
    write_config(folder / "exp", **data, train={"unlabeled_dir": str(folder / "more")})
    config = ["--config", str(folder / "exp")]
    assert (
        cli.main(["make-splits", *config, "--count", "4", "--val-count", "4", "--class-aware", "--name", "mine"]) == 0
    )
    return folder


@pytest.fixture
def run(monkeypatch):
    """A command on a terminal that knows ASCII alone: (exit code, what it printed)."""

    def call(*arguments):
        terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        code = cli.main([str(argument) for argument in arguments])
        terminal.flush()
        return code, terminal.buffer.getvalue().decode("ascii")

    return call


def test_drawn_lists_hold_the_bytes_and_are_read_back(own):
    paths = [*(own / "splits").rglob("*labeled.txt"), own / "splits/val.txt"]
    assert sorted(sample for path in paths for sample in read_list(path)) == sorted(NAMES)
    assert os.fsencode(BYTES[0]) in b"".join(path.read_bytes() for path in paths)


def test_check_data_names_such_files_as_escapes(own, run):
    code, printed = run("check-data", "--config", own / "exp")
    assert code == 1
    assert r"half\udcff\udcfe.png: not a complete, readable image" in printed
    assert r"names that no list can hold: 2 ( c.png, a\nb.png)" in printed
    assert "unlabeled        4        0           1" in printed


def test_training_predicting_and_reporting_work_with_such_names(own, run, tmp_path):
    folder = tmp_path / os.fsdecode(b"run\xe9")
    options = [*QUICK, *SHORT, "dataset.on_error=skip", "monitor.panels=9", f"saver.main_dir={folder}"]
    code, printed = run("train", "--config", own / "exp", *options)
    assert code == 0, printed
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert r"skipped an image: " in log
    assert r"half\udcff\udcfe.png" in log
    assert set(read_list(folder / "lists/unlabeled.txt")) == {f"{name}.png" for name in (*BYTES, f"half{BYTES[1]}")}
    assert "this run is finished" in run("train", "--config", own / "exp", *options)[1]  # the lists are the same
    images = own / "data/images"
    code, printed = run("predict", "--checkpoint", folder / "checkpoints/best.ckpt", images, "--out", tmp_path / "out")
    assert (code, f"{len(NAMES)} of {len(NAMES)} images predicted" in printed) == (0, True)
    assert {path.stem for path in (tmp_path / "out/index").iterdir()} == set(NAMES)
    assert r"caf\udce9,44,40," in (tmp_path / "out/shares.csv").read_text(encoding="utf-8")
    assert run("report", folder)[0] == 0
    assert r"run\udce9" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_path_with_such_bytes_may_be_an_override(own, run):
    code, printed = run("config", "show", own / "exp", f"dataset.data_root=/data/{BYTES[0]}")
    assert code == 0
    assert r'"/data/caf\uDCE9"' in printed


def test_where_the_locale_allows_ascii_alone_the_line_says_what_to_set(own):
    env = os.environ | {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "semiseg", "check-data", "--quick", "--config", str(own / "exp")]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("set LC_ALL=C.UTF-8 (or PYTHONUTF8=1)")


def test_names_with_line_breaks_or_outer_spaces_are_left_out_and_counted(own):
    found = scan(own / "more")
    assert found.left_out == {"names that no list can hold": [" c.png", r"a\nb.png"]}
    assert set(found.images) == {f"{name}.png" for name in (*BYTES, f"half{BYTES[1]}")}


FORMS = {
    "Latin-1": ("größe\n00\n".encode("latin-1"), r"line 1 ('gr\xf6\xdfe') is no UTF-8 (Latin-1 or Windows-1252?)"),
    "a later line": (b"00\n01\n\xe4\n", r"line 3 ('\xe4') is no UTF-8"),
    "UTF-16": ("00\n01\n".encode("utf-16"), "UTF-16, as some editors on Windows save it"),
    "UTF-16 without a mark": ("00\n01\n".encode("utf-16-le"), "UTF-16, as some editors on Windows save it"),
    "a picture": (
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        "UTF-16, as some editors on Windows save it, or no text; save it as UTF-8",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_lists_in_another_form_are_refused_by_its_name(form, own, run, tmp_path):
    content, problem = FORMS[form]
    (tmp_path / "list.txt").write_bytes(content)
    options = [f"dataset.train.data_list={tmp_path / 'list.txt'}", "dataset.split=null"]
    code, printed = run("check-data", "--quick", "--config", own / "exp", *options)
    assert code == 1
    assert f"list.txt: {problem}" in printed
    assert printed.count("\n") == 1


def test_a_mark_at_the_beginning_is_read_past(tmp_path):
    path = write_ids(tmp_path / "list.txt", ["a", "b"])
    path.write_bytes(path.read_text().encode("utf-8-sig"))
    assert read_list(path) == ["a", "b"]


def test_bytes_that_name_no_image_are_refused_and_those_that_do_are_read(tmp_path):
    write_list(tmp_path / "list.txt", BYTES)

    def clean(line):
        line.encode()
        return line

    assert read_list(tmp_path / "list.txt") == BYTES
    with pytest.raises(DataError, match="Latin-1"):
        read_list(tmp_path / "list.txt", clean)


@pytest.mark.parametrize("content", [b"method: \xff\n", "method: ours\n".encode("utf-16")])
def test_configurations_in_another_form_are_refused_by_its_name(content, run, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content)
    code, printed = run("config", "show", tmp_path)
    assert code == 2
    assert "save it as UTF-8" in printed
    assert printed.count("\n") == 1
