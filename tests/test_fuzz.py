"""benchmarks/fuzz.py in small: the readers hold, and the judge sees each kind of fault."""

import os
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import fuzz
from fuzz_inputs import SOUND, Sound, pngs
from fuzz_judge import READERS, Fuzzer, Input, Reader, run
from fuzz_mutations import Damaged

from semiseg.common.errors import DataError
from semiseg.data.decode import Picture

PNG = next(sound for sound in pngs() if sound.name == "rgb")


@pytest.mark.parametrize("kind", SOUND)
def test_damaged_files_of_every_kind_are_refused_or_read_soundly(kind, tmp_path):
    fuzzer = Fuzzer(kind, seed=18)
    fuzzer.learn(tmp_path)
    verdicts = [fuzzer.judge(fuzzer.input(index), tmp_path) for index in range(18)]
    assert [verdict for verdict in verdicts if verdict[0] == "fault"] == []
    assert "refused" in {verdict for verdict, _ in verdicts}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_files_are_read_unchanged_and_a_number_gives_one_input(kind, tmp_path):
    fuzzer = Fuzzer(kind, seed=0)
    fuzzer.learn(tmp_path)
    verdicts = [fuzzer.judge(Input(0, sound, Damaged(sound.data, "")), tmp_path)[0] for sound in SOUND[kind]()]
    assert verdicts.count("unchanged") >= len(verdicts) - 1
    assert set(verdicts) <= {"unchanged", "refused"}
    assert fuzzer.input(5).damaged == Fuzzer(kind, seed=0).input(5).damaged


def test_kinds_and_readers_are_the_same():
    assert list(SOUND) == list(READERS)


# ---- the judge can fail


def judged(read, tmp_path, data=None, sound=PNG, consistent=False):
    fuzzer = Fuzzer("png", 0, Reader(read, ".png"))
    fuzzer.learn(tmp_path)
    return fuzzer.judge(Input(0, sound, Damaged(data or sound.data[:-5] + b"wrong", "", consistent)), tmp_path)


def pixels(value=0):
    return Picture(np.full((2, 2, 3), value, np.uint8), "PNG RGB")


def once(first, later):
    """A reader that gives ``first`` of sound files and calls ``later`` of damaged ones."""
    return lambda path: later(path) if path.read_bytes().endswith(b"wrong") else first


def test_other_pixels_in_spite_of_a_checksum_are_a_fault(tmp_path):
    def swallows(path):
        with Image.open(path) as image:
            return Picture(np.asarray(image.convert("RGB")) + len(path.read_bytes()) % 2, "PNG RGB")

    unlike = once(pixels(), lambda _: pixels(1))
    assert judged(unlike, tmp_path) == ("fault", "changed in silence where a checksum tells")
    assert judged(unlike, tmp_path, consistent=True) == ("changed", "")
    assert judged(unlike, tmp_path, sound=Sound("bmp", PNG.data, checked=False)) == ("changed", "")
    assert judged(once(pixels(), lambda _: pixels()), tmp_path) == ("unchanged", "")


def raises(error):
    def read(_):
        raise error

    return read


@pytest.mark.parametrize(
    ("later", "problem"),
    [
        (raises(KeyError("IHDR")), "KeyError: 'IHDR'"),
        (raises(RecursionError("deep")), "RecursionError: deep"),
        (raises(SystemExit(1)), "SystemExit: 1"),
        (raises(OSError("cut")), "OSError: cut"),
        (raises(DataError("not readable")), "no single line that names the file: not readable"),
        (raises(DataError("/x.png: two\nlines")), "no single line"),
        (raises(MemoryError()), "asks for memory without end"),
        (lambda _: pixels()._replace(pixels=np.zeros((2, 2), np.uint8)), "gives pixels of uint8 (2, 2)"),
        (lambda _: np.ones(256 << 20, np.uint8)[:0].tolist() or pixels(), "MiB are needed"),
        (lambda _: ["", "a"], "lines that are no ids"),
    ],
    ids=lambda value: "" if callable(value) else value,
)
def test_every_other_end_is_a_fault(later, problem, tmp_path):
    verdict, wrong = judged(once(pixels(), later), tmp_path)
    assert verdict == "fault"
    assert problem in wrong


def test_what_hangs_or_ends_the_process_is_a_fault_and_the_next_inputs_are_read():
    ends = {2: lambda: os._exit(3), 4: forever}

    class Numbered(Fuzzer):
        def input(self, index):
            return super().input(index)._replace(index=index)

        def judge(self, item, folder):
            ends.get(item.index, lambda: None)()
            return "refused", ""

    answers = list(run(Numbered("lists", 0, Reader(lambda path: [path.name], ".txt")), range(6), seconds=0.2))
    assert [index for index, _, _ in answers] == [*range(6)]
    assert [verdict for _, verdict, _ in answers] == ["refused", "refused", "fault", "refused", "fault", "refused"]
    assert "ends the process (exit code 3)" in answers[2][2]
    assert "hangs: not done after" in answers[4][2]


def forever():
    while True:
        pass


def test_the_command_prints_a_table_with_its_seed_and_keeps_faults(tmp_path, capsys, monkeypatch):
    assert fuzz.main(["--inputs", "20", "--kinds", "lists", "--seed", "3", "--out", str(tmp_path / "out")]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "seed 3"
    assert lines[2].startswith("| lists | 20 | ")
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(READERS, "lists", Reader(raises(KeyError("x")), ".txt"))
    monkeypatch.setattr(Fuzzer, "learn", lambda *_: None)
    assert fuzz.main(["--inputs", "2", "--kinds", "lists", "--seed", "3", "--out", str(tmp_path / "out")]) == 1
    assert "KeyError: 'x'" in (tmp_path / "out/lists_1.txt").read_text()
    assert (tmp_path / "out/lists_1").read_bytes() == Fuzzer("lists", 3).input(1).damaged.data
    assert "fault: lists 0: " in capsys.readouterr().out
