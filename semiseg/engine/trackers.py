"""Experiment trackers beside TensorBoard: SwanLab and Weights & Biases, each an optional package.

A tracker must never stop a run nor slow it down: everything it does happens in a thread of its own, training hands
records over and waits for nothing, and whatever goes wrong there is one warning, after which the tracker is off.
"""

import contextlib
import io
import json
import os
import queue
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.common.checkout import checkout
from semiseg.common.errors import ConfigError
from semiseg.common.files import replace_file
from semiseg.engine.events import Recorder

_PROJECT = "semiseg"
_PATIENCE = 60.0  # seconds to wait for its start, and for its end
_MOST_WAITING = 1000  # records


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run. ``id``: the same at every start of a run that continues."""

    folder: Path
    name: str
    id: str
    config: Mapping[str, Any]
    classes: Sequence[str]


class _PackageRecorder(Recorder):
    """What both packages do alike, once a subclass has begun a run with them.

    ``_run``: theirs, with log and finish; ``_image``: their class of pictures; ``place``: where all goes.
    """

    _run: Any
    _image: Callable[[np.ndarray], Any]
    place: str

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """As Recorder's."""
        self._run.log(dict(values), step=step)

    def picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        """As Recorder's."""
        self._run.log({tag: self._image(picture)}, step=step)

    def close(self) -> None:
        """Waits until all is sent."""
        self._run.finish()


class Wandb(_PackageRecorder):
    """https://docs.wandb.ai. Its own variables decide on the rest: WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY."""

    def __init__(self, run: TrackedRun):
        super().__init__(run.classes)
        import wandb

        self._image = wandb.Image
        # Where the network is gone it gives up before this module does, and says why.
        limits = {"init_timeout": _PATIENCE / 2, "finish_timeout": _PATIENCE / 2, "finish_timeout_raises": True}
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.name,
            id=run.id,
            resume="allow",
            dir=run.folder,
            config=dict(run.config),
            settings=wandb.Settings(console="off", silent=True, **limits),
        )
        self.place = str(self._run.sync_dir if self._run.offline else self._run.url)


class Swanlab(_PackageRecorder):
    """https://docs.swanlab.cn. Its own variables decide on the rest: SWANLAB_MODE=offline, SWANLAB_WORKSPACE, ..."""

    def __init__(self, run: TrackedRun):
        super().__init__(run.classes)
        import swanlab

        self._image = swanlab.Image
        # The setting that leaves the terminal alone has moved; each version reads its own and passes over the other.
        settings = swanlab.Settings(log_proxy_type="none", terminal={"proxy_type": "none"})
        self._run = swanlab.init(
            project=os.environ.get("SWANLAB_PROJ_NAME", _PROJECT),
            experiment_name=run.name,
            id=run.id,  # 0.6 passes over this and the next one: each start is an experiment there
            resume="allow",
            logdir=str(run.folder / "swanlog"),
            config=dict(run.config),
            settings=settings,
        )
        self.place = f"{run.folder}/swanlog"


# monitor.tracker -> what writes to it; the names are those of the packages and of our extras.
TRACKERS: dict[str, Callable[[TrackedRun], _PackageRecorder]] = {"swanlab": Swanlab, "wandb": Wandb}


def require_package(name: str) -> None:
    """Refuses a tracker that is not installed, before a run begins.

    Raises:
        ConfigError: how to install it.
    """
    if find_spec(name) is None:
        install = f'pip install -c constraints.txt -e ".[{name}]"' if checkout() else f'pip install "semiseg[{name}]"'
        raise ConfigError(f"monitor.tracker: {name} is not installed; {install}, or monitor.tracker=none")


def run_id(folder: Path, start_step: int) -> str:
    """The id of a run, in its folder's tracker.json: a run that continues keeps it, one that starts gets a new one.

    Raises:
        UserError: the file cannot be written.
    """
    path = folder / "tracker.json"
    if start_step:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none there, or not ours
            return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    new = secrets.token_hex(8)
    replace_file(path, json.dumps({"id": new}) + "\n")
    return new


class Tracker(Recorder):
    """One of ``TRACKERS`` in a thread of its own; ``say`` gets a line on where it writes, and one where it fails.

    ``patience``: seconds to wait for its start, and at the end for what is not sent yet.
    """

    def __init__(self, name: str, run: TrackedRun, say: Callable[[str], None], patience: float = _PATIENCE):
        super().__init__(run.classes)
        self._name, self._say, self._patience = name, say, patience
        self._waiting: queue.Queue[Callable[[Recorder], None] | None] = queue.Queue(_MOST_WAITING)
        self._started, self._ended = threading.Event(), threading.Event()
        self._place, self._failure, self._off = "", "", False
        threading.Thread(target=self._serve, args=(run,), name=f"semiseg-{name}", daemon=True).start()
        if not self._started.wait(patience):
            self._turn_off(f"no answer within {patience:g} s")
        elif not self._failed():
            say(f"{name}: {self._place}")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """As Recorder's."""
        self._hand_over(lambda recorder: recorder.scalars(values, step))

    def picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        """As Recorder's."""
        self._hand_over(lambda recorder: recorder.picture(tag, picture, step))

    def close(self) -> None:
        """Waits for what is not sent yet, but not for ever. May be called twice."""
        self._hand_over(None)
        if not self._off:
            if not self._ended.wait(self._patience):
                self._turn_off(f"not finished within {self._patience:g} s; it can be sent later from {self._place}")
            self._failed()
            self._off = True

    def _hand_over(self, work: Callable[[Recorder], None] | None) -> None:
        if self._off or self._failed():
            return
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            self._turn_off(f"{_MOST_WAITING} records wait to be sent")

    def _failed(self) -> bool:
        if self._failure and not self._off:
            self._turn_off(self._failure)
        return bool(self._failure)

    def _turn_off(self, reason: str) -> None:
        self._off = True
        self._say(
            f"WARNING: monitor.tracker: {self._name} failed and is off from here on ({reason}); the run goes on, and "
            "metrics.jsonl has all numbers"
        )

    def _serve(self, run: TrackedRun) -> None:
        """The thread: what is handed over, in order, until None comes or something fails."""
        try:
            with _no_questions():
                recorder = TRACKERS[self._name](run)
            self._place = getattr(recorder, "place", "")
            self._started.set()
            while work := self._waiting.get():
                work(recorder)
            recorder.close()
        except (Exception, SystemExit) as error:  # of a package that may change: none of its errors is ours
            self._failure = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        finally:
            self._started.set()
            self._ended.set()


@contextlib.contextmanager
def _no_questions() -> Iterator[None]:
    """Inside, nobody is asked at the terminal: for a login, trackers would wait there with the run behind them."""
    before, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = before
