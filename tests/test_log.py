"""What a run leaves to read, and that a continued run leaves no holes and no doubles."""

import json

import pytest

from semiseg.engine.log import RunLog


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_and_numbers_are_on_disk_at_once(tmp_path, capsys):
    with RunLog(tmp_path / "run", 0, 10) as log:
        log.line("hello")
        log.numbers({"step": 2, "loss": 0.5})
        assert steps(tmp_path / "run") == [2]
        assert (tmp_path / "run/log.txt").read_text().endswith(" hello\n")
        log.progress({"loss": "0.5"}, 0.1)
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
