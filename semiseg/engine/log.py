"""What a run leaves to read: log.txt (lines), metrics.jsonl (numbers), events, and one progress line on a terminal."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semiseg.common.errors import UserError
from semiseg.common.files import cannot_write, remove_leftovers, replace_file
from semiseg.common.run_files import RunFiles
from semiseg.common.text import has_terminal
from semiseg.engine.events import Recorder

_INTERVAL = 30  # seconds between two progress lines where there is no terminal
_ADVICE = "free some space, then the same command continues"
_SMOOTH = 0.1  # weight of the newest step in the speed that is shown


class LogError(UserError):
    """log.txt or metrics.jsonl cannot be written."""


class RunLog:
    """Writes to the run folder and to the terminal. Numbers go to metrics.jsonl, one JSON object a line.

    On a resumed run, lines of metrics.jsonl beyond ``start_step`` are dropped first, with ``to_score`` also the score
    of that step: they will be done again, so that the file has neither holes nor doubles. On a terminal there is a
    progress bar, elsewhere a line every half minute.

    Numbers and pictures go to ``events`` as well, and to all that ``record_with`` adds; they are closed with the log.

    Raises:
        LogError: here and in every method that writes, if the folder cannot be written (full disk, say).
    """

    def __init__(
        self, folder: Path, start_step: int, steps: int, events: Recorder | None = None, to_score: bool = False
    ):
        files = RunFiles(folder)
        with _written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _drop_from(files.metrics, start_step, to_score)
            self._metrics = files.metrics.open("a", encoding="utf-8")
            self._text = files.log.open("a", encoding="utf-8", errors="backslashreplace")
        self._recorders = [events] if events else []
        self._speed = 0.0  # images a second, smoothed
        self._first, self._step, self._steps = start_step, start_step, steps
        self._began = self._shown_at = time.monotonic()
        terminal = has_terminal()
        self._bar = tqdm(total=steps, initial=start_step, unit="step", dynamic_ncols=True, disable=not terminal)

    def line(self, text: str) -> None:
        """A line in log.txt and above the progress bar."""
        with _written(self._text.name):
            self._text.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            self._text.flush()
        with _shown_if_possible():
            tqdm.write(text, file=sys.stderr)

    def numbers(self, record: Mapping[str, object]) -> None:
        """One line of metrics.jsonl; ``record`` holds "step", the number of steps done. Events get the same, and the
        speed, which is no result and would make two equal runs differ.
        """
        with _written(self._metrics.name):
            self._metrics.write(json.dumps(record) + "\n")
            self._metrics.flush()
        for recorder in self._recorders:
            with _written("events"):
                recorder.numbers(record)
                if self._speed:
                    recorder.scalar("train/images per second", self._speed, record["step"])

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """uint8 H x W x 3 for the events."""
        for recorder in self._recorders:
            with _written("events"):
                recorder.picture(name, picture, step)

    def record_with(self, recorder: Recorder) -> None:
        """Gives it all numbers and pictures from here on."""
        self._recorders.append(recorder)

    def progress(self, shown: Mapping[str, str], speed: float) -> None:
        """One step further, at ``speed`` images a second."""
        self._step += 1
        self._speed += (_SMOOTH if self._speed else 1.0) * (speed - self._speed)
        shown = {**shown, "images/s": f"{self._speed:.1f}"}
        with _shown_if_possible():
            if not self._bar.disable:
                self._bar.set_postfix(shown, refresh=False)
                self._bar.update()
            elif time.monotonic() - self._shown_at >= _INTERVAL:
                self._shown_at = time.monotonic()
                print(f"step {self._step} of {self._steps}: {_joined(shown)}, {self._left()} left", file=sys.stderr)

    def _left(self) -> str:
        """Time to the end, at the mean speed since the start, evaluations included."""
        each = (time.monotonic() - self._began) / (self._step - self._first)
        return tqdm.format_interval((self._steps - self._step) * each)

    def sync(self) -> None:
        """Brings metrics.jsonl to the disk: a checkpoint written after this never stands beside a log with a hole."""
        with _written(self._metrics.name):
            os.fsync(self._metrics.fileno())

    def close(self) -> None:
        """Closes files and bar. May be called twice."""
        with _shown_if_possible():
            self._bar.close()
        for recorder in self._recorders:
            with contextlib.suppress(LogError):  # a last warning of a tracker
                recorder.close()
        for file in (self._metrics, self._text):
            with contextlib.suppress(OSError):  # what could not be written has been told
                file.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NoLog:
    """What all ranks but the first write: nothing."""

    def line(self, text: str) -> None:
        """As RunLog's."""

    def numbers(self, record: Mapping[str, object]) -> None:
        """As RunLog's."""

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """As RunLog's."""

    def progress(self, shown: Mapping[str, str], speed: float) -> None:
        """As RunLog's."""

    def sync(self) -> None:
        """As RunLog's."""

    def close(self) -> None:
        """As RunLog's."""

    def __enter__(self) -> "NoLog":
        return self

    def __exit__(self, *_: object) -> None:
        return None


@contextlib.contextmanager
def _shown_if_possible() -> Iterator[None]:
    """Where nobody reads the terminal any more (| head, a window that was closed) training goes on: log.txt has it."""
    with contextlib.suppress(OSError):
        yield


def _joined(shown: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in shown.items())


@contextlib.contextmanager
def _written(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(Path(path), error, _ADVICE, LogError) from error


def _drop_from(path: Path, step: int, to_score: bool) -> None:
    """Keeps the lines of metrics.jsonl up to ``step`` steps done; a half-written last line goes too."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            again = record["step"] > step or (to_score and record["step"] == step and "eval" in record)
        except (ValueError, KeyError, TypeError):
            continue
        if not again:
            kept.append(line)
    remove_leftovers(path)
    replace_file(path, "".join(f"{line}\n" for line in kept), _ADVICE, LogError)
