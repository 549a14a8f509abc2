"""What a run leaves to read, and that a continued run leaves no holes and no doubles."""

import json
import sys

import numpy as np
import pytest
from event_files import pictures, scalars

from semiseg.engine import log as module
from semiseg.engine.events import Events, Recorder
from semiseg.engine.log import RunLog


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_and_numbers_are_on_disk_at_once(tmp_path, capsys):
    with RunLog(tmp_path / "run", 0, 10) as log:
        log.line("hello")
        log.numbers({"step": 2, "loss": 0.5})
        assert steps(tmp_path / "run") == [2]
        assert (tmp_path / "run/log.txt").read_text().endswith(" hello\n")
        log.progress({"loss": "0.5"}, 40.0)
    log.close()
    assert "hello" in capsys.readouterr().err


def test_a_continued_run_repeats_no_line(tmp_path):
    with RunLog(tmp_path, 0, 10) as log:
        for step in (2, 4, 5, 6):
            log.numbers({"step": step})
        log.numbers({"step": 4, "eval": {"miou": 1.0}})
    with RunLog(tmp_path, 4, 10) as log:
        log.numbers({"step": 6, "again": True})
    assert steps(tmp_path) == [2, 4, 4, 6]
    assert "again" in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("rest", [b'{"step": 3, "lo', b"\x00\x00\x00", b"\xff\xfe", b"[1]", b'{"loss": 1}', b"\n"])
def test_a_half_written_last_line_goes(tmp_path, rest):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 2}\n' + rest)
    with RunLog(tmp_path, 4, 10) as log:
        log.numbers({"step": 6})
    assert steps(tmp_path) == [2, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "metrics.jsonl"]


def test_the_text_log_is_continued(tmp_path):
    for step in (0, 4):
        with RunLog(tmp_path, step, 10) as log:
            log.line(f"from {step}")
    assert [line.split()[2:] for line in (tmp_path / "log.txt").read_text().splitlines()] == [
        ["from", "0"],
        ["from", "4"],
    ]


def test_a_fresh_run_in_a_used_folder_starts_its_numbers_anew(tmp_path):
    with RunLog(tmp_path, 0, 10) as log:
        log.numbers({"step": 2})
    with RunLog(tmp_path, 0, 10):
        pass
    assert steps(tmp_path) == []


def test_without_a_terminal_there_is_a_line_every_half_minute_and_no_bar(tmp_path, capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with RunLog(tmp_path, 100, 200) as log:
        for _ in range(80):
            now[0] += 1.0
            log.progress({"loss": "0.5", "confident": "80%"}, 8.0)
    assert capsys.readouterr().err.splitlines() == [
        "step 130 of 200: loss 0.5, confident 80%, images/s 8.0, 01:10 left",
        "step 160 of 200: loss 0.5, confident 80%, images/s 8.0, 00:40 left",
    ]


def test_on_a_terminal_one_bar_shows_all(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with RunLog(tmp_path, 0, 2) as log:
        for speed in (8.0, 9.0):
            log.progress({"loss": "0.5", "lr": "0.01"}, speed)
    last = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert "2/2" in last
    assert "loss=0.5, lr=0.01, images/s=8.1" in last


class Kept(Recorder):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__(("a", "b"))
        self.given, self.closed = [], False

    def scalars(self, values, step):
        self.given.append((values, step))

    def picture(self, tag, picture, step):
        self.given.append((tag, step))

    def close(self):
        self.closed = True


def test_another_recorder_gets_what_the_events_get_and_may_say_a_last_word(tmp_path):
    kept = Kept()
    with RunLog(tmp_path, 0, 10, Events(tmp_path, 0, ("a", "b"))) as log:
        log.record_with(kept)
        log.numbers({"step": 1, "loss": 0.5})
        log.picture("images/x", np.zeros((2, 3, 3), np.uint8), 1)
        kept.close = lambda: log.line("the tracker is off")
    assert kept.given == [({"loss/total": 0.5}, 1), ("images/x", 1)]
    assert (tmp_path / "log.txt").read_text().endswith("the tracker is off\n")


def test_events_get_the_same_numbers_the_speed_and_pictures(tmp_path):
    with RunLog(tmp_path, 0, 10, Events(tmp_path, 0, ("a", "b"))) as log:
        log.progress({}, 12.0)
        log.numbers({"step": 1, "loss": 0.5})
        log.picture("images/x", np.zeros((2, 3, 3), np.uint8), 1)
    found = scalars(tmp_path / "events")
    assert found == {"loss/total": [(1, 0.5)], "train/images_per_second": [(1, 12.0)]}
    assert list(pictures(tmp_path / "events")) == [("images/x", 1)]
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 0.5}


class NobodyReads:
    """A pipe whose reader has left."""

    def isatty(self):
        return False

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    flush = lambda self: self.write("")  # noqa: E731


@pytest.mark.parametrize("stream", [NobodyReads(), None])
def test_training_goes_on_where_nobody_reads_the_terminal(tmp_path, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "_INTERVAL", 0)
    with RunLog(tmp_path, 0, 10) as log:
        log.line("hello")
        log.progress({"loss": "0.5"}, 40.0)
        log.line("still there")
    assert "still there" in (tmp_path / "log.txt").read_text()
