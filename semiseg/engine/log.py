"""What a run leaves to read: log.txt (lines), metrics.jsonl (numbers), and one progress bar on a terminal."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm


class RunLog:
    """Writes to the run folder and to the terminal. Numbers go to metrics.jsonl, one JSON object a line.

    On a resumed run, lines of metrics.jsonl from ``start_step`` on are dropped first: the steps will be done again, so
    that the file has neither holes nor doubles.
    """

    def __init__(self, folder: Path, start_step: int, steps: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics_path = folder / "metrics.jsonl"
        _drop_from(self._metrics_path, start_step)
        self._metrics = self._metrics_path.open("a", encoding="utf-8")
        self._text = (folder / "log.txt").open("a", encoding="utf-8")
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=steps,
            initial=start_step,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5 if self._terminal else 30,
            maxinterval=10 if self._terminal else 60,
        )

    def line(self, text: str) -> None:
        """A line in log.txt and above the progress bar."""
        self._text.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        self._text.flush()
        tqdm.write(text, file=sys.stderr)

    def numbers(self, record: Mapping[str, object]) -> None:
        """One line of metrics.jsonl; ``record`` holds "step", the number of steps done."""
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()

    def progress(self, shown: Mapping[str, str]) -> None:
        """One step further on the bar."""
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Closes files and bar. May be called twice."""
        self._bar.close()
        self._metrics.close()
        self._text.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
