"""What a run leaves to read: log.txt (lines), metrics.jsonl (numbers), events, and one progress line on a terminal."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semiseg.engine.events import Events

_INTERVAL = 30  # seconds between two progress lines where there is no terminal
_SMOOTH = 0.1  # weight of the newest step in the speed that is shown


class RunLog:
    """Writes to the run folder and to the terminal. Numbers go to metrics.jsonl, one JSON object a line.

    On a resumed run, lines of metrics.jsonl from ``start_step`` on are dropped first: the steps will be done again, so
    that the file has neither holes nor doubles. On a terminal there is a progress bar, elsewhere a line every half
    minute.

    Numbers and pictures go to ``events`` as well, which are closed with the log.
    """

    def __init__(self, folder: Path, start_step: int, steps: int, events: Events | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics_path = folder / "metrics.jsonl"
        _drop_from(self._metrics_path, start_step)
        self._metrics = self._metrics_path.open("a", encoding="utf-8")
        self._text = (folder / "log.txt").open("a", encoding="utf-8")
        self._events = events
        self._speed = 0.0  # images a second, smoothed
        self._first, self._step, self._steps = start_step, start_step, steps
        self._began = self._shown_at = time.monotonic()
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=steps, initial=start_step, unit="step", dynamic_ncols=True, disable=not terminal)

    def line(self, text: str) -> None:
        """A line in log.txt and above the progress bar."""
        self._text.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        self._text.flush()
        tqdm.write(text, file=sys.stderr)

    def numbers(self, record: Mapping[str, object]) -> None:
        """One line of metrics.jsonl; ``record`` holds "step", the number of steps done. Events get the same, and the
        speed, which is no result and would make two equal runs differ.
        """
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()
        if self._events:
            self._events.numbers(record)
            if self._speed:
                self._events.scalar("train/images per second", self._speed, record["step"])

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """uint8 H x W x 3 for the events."""
        if self._events:
            self._events.picture(name, picture, step)

    def progress(self, shown: Mapping[str, str], speed: float) -> None:
        """One step further, at ``speed`` images a second."""
        self._step += 1
        self._speed += (_SMOOTH if self._speed else 1.0) * (speed - self._speed)
        shown = {**shown, "images/s": f"{self._speed:.1f}"}
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

    def close(self) -> None:
        """Closes files and bar. May be called twice."""
        self._bar.close()
        self._metrics.close()
        self._text.close()
        if self._events:
            self._events.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _joined(shown: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _drop_from(path: Path, step: int) -> None:
    """Keeps the lines of metrics.jsonl up to ``step`` steps done; a half-written last line goes too."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    partial = path.with_suffix(".partial")
    partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    partial.replace(path)
