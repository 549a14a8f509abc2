"""What a run continues from: last.ckpt, the ones kept before it, and where the run stands."""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor

from semiseg.checkpoints import identity as checkpoint_identity
from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.io import Saved
from semiseg.common.distributed import ALONE, Group
from semiseg.common.errors import CheckpointError
from semiseg.common.files import cannot_write
from semiseg.common.host_array import HostArray
from semiseg.common.platform import numpy_of
from semiseg.common.run_files import RunFiles
from semiseg.config.keys import SaverConfig


@dataclass
class Progress:
    """Where a run stands: the part of its state that is no tensor."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    score: float | None = None  # mIoU of the last evaluation
    supervised: float | None = None  # mIoU at the end of the supervised phase, where another one follows
    # Sum and count of the loss and each term since the last line of metrics.jsonl; saved, so that no step is lost.
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    to_score: bool = False  # the step's evaluation was interrupted: it comes first when the run continues
    skipped: int = 0  # draws of unreadable images that were replaced
    devices: int = 1
    images: int = 0  # labelled images a step, over all devices and micro-batches; 0: not recorded
    scored: str = ""  # the network that is scored at this step, by its role in the state; "": not recorded


# What terms were called in earlier versions.
_RENAMED = {"kept": "mask_ratio"}
_ALWAYS = {"step", "best", "best_step", "sums"}  # in every record; what was added later has a default


class Checkpoints:
    """The checkpoints of one run: written by rank 0, read by rank 0 and sent to the others.

    Args:
        state: everything that lives between steps, by name. Of what is ``per_device`` (see ``HostArray``) a file holds
            that of all devices, world x shape.
        identity: what the network and its preprocessing are, kept beside the progress; see ``checkpoints.identity``.
    """

    def __init__(
        self,
        folder: Path,
        saver: SaverConfig,
        state: Mapping[str, Saved],
        group: Group = ALONE,
        identity: Mapping[str, Any] | None = None,
    ):
        self._identity = identity
        self._files = RunFiles(folder, saver.snapshot_dir)
        self._keep, self._state, self._group = saver.keep, state, group
        own = (name for name, value in state.items() if getattr(value, "per_device", False))
        self._own = frozenset(own if group.world > 1 else ())
        # The step of a whole last.ckpt that this run wrote or continued from. Any other is replaced and never kept: a
        # damaged one.
        self._last_step: int | None = None
        self._rows: dict[str, HostArray] = {}  # of ``own``, those of all devices, while a run is being continued

    def set_aside(self) -> str:
        """Moves a run that is there and not continued to ``replaced`` in the folder of its checkpoints, in place of an
        earlier one there, so that whatever ends the new run early nothing passes for it; a line for the log, or "".

        Raises:
            CheckpointError: it cannot be moved.
        """
        best, metrics = self._files.best, self._files.metrics
        # last.ckpt when no older one can be taken for it any more, best.ckpt when nothing says that a run is finished.
        there = [path for path in (*self._files.older(), self._files.last, best, metrics) if path.is_file()]
        goes_on = self._last_step is not None
        if goes_on or set(there) <= {metrics} or not self._group.first:  # without a checkpoint nothing is worth keeping
            return ""
        place = self._files.checkpoints / "replaced"
        try:
            if place.is_dir():
                shutil.rmtree(place)
            place.mkdir()
            for path in there:
                path.rename(place / path.name)
        except OSError as error:
            raise cannot_write(place, error, "choose another folder, e.g. saver.name=mine", CheckpointError) from error
        return f"starts anew: the run that was here lies in {place}, until the next one is replaced"

    def keep_best_of_old_masks(self) -> None:
        """Renames best.ckpt: the next best one is of other validation masks, or of other data under the same ids.

        Raises:
            CheckpointError: it cannot be renamed.
        """
        if not self._group.first:
            return
        best = self._files.best
        try:
            best.replace(best.with_name("best_of_old_masks.ckpt"))
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_write(best, error, "choose another folder, e.g. saver.name=mine", CheckpointError) from error

    def save(self, progress: Progress) -> None:
        """Writes last.ckpt; the one before stays as step_<n>.ckpt, the oldest beyond ``keep`` goes. All ranks call it.

        Raises:
            CheckpointError: it cannot be written; what was there is untouched.
        """
        arrays: dict[str, Any] = dict(self._state)
        for name in sorted(self._own):
            arrays[name] = Tensor(self._group.gather(numpy_of(self._state[name])))
        if not self._group.first:
            return
        record = checkpoint_identity.recorded(vars(progress), self._identity)
        again = progress.step == self._last_step  # of the same step: no further one to keep
        checkpoint_io.save(self._files.last, arrays, record, before=(lambda: None) if again else self._retain)
        self._last_step = progress.step
        for path in self._files.older()[self._keep - 1 :]:
            with contextlib.suppress(OSError):
                path.unlink()

    def resume(self, fresh: Progress) -> tuple[Progress, list[str]]:
        """Continues from last.ckpt if there is one: fills the state, says where the run stands, and lines for the log.

        ``fresh`` stands at the beginning and says on how many devices, with how many images a step. A damaged
        last.ckpt is passed over where an older one is whole. On other ranks nothing happens until ``share``.

        Raises:
            CheckpointError: damaged, of another network or preprocessing, not a run's last.ckpt, or of other devices or
                batches.
        """
        if not self._group.first:
            return fresh, []
        path, arrays, record, notes = self._newest()
        if path is None:
            return fresh, notes
        progress = self._fill(path, arrays, record, fresh)
        if progress.devices != fresh.devices:
            notes.append(
                f"{path.name} was written on {progress.devices} device(s), now there are {fresh.devices}: the same "
                "images and draws, but the last bits of sums may differ from here on"
            )
        return replace(progress, devices=fresh.devices, images=fresh.images), notes

    def share(self, progress: Progress) -> Progress:
        """Gives every rank the state and the progress of rank 0. All ranks call it."""
        if self._group.world == 1:
            return progress
        sent = self._group.texts(json.dumps(vars(progress)) if self._group.first else "")[0]
        progress = Progress(**json.loads(sent))
        self._group.broadcast(value for name, value in self._state.items() if name not in self._own)
        if progress.step:
            for name in sorted(self._own):
                rows = self._rows.get(name) or self._room(name)
                self._group.broadcast([rows])
                self._state[name].set_data(Tensor(rows.array[self._group.rank]))
        self._rows = {}
        return progress

    def _newest(self) -> tuple[Path | None, dict[str, np.ndarray], dict[str, Any] | None, list[str]]:
        paths = [path for path in (self._files.last, *self._files.older()) if path.is_file()]
        first_error, notes = None, []
        for path in paths:
            try:
                arrays, record = checkpoint_io.read(path)
            except CheckpointError as error:
                if isinstance(error.__cause__, OSError):  # it may be whole: nothing must take its place
                    raise
                first_error = first_error or error
                notes.append(str(error))
                continue
            if path != self._files.last:
                notes.append(f"continuing from {path} instead of {self._files.last}")
            return path, arrays, record, notes
        if first_error:
            raise first_error
        return None, {}, None, []

    def _fill(
        self, path: Path, arrays: dict[str, np.ndarray], record: dict[str, Any] | None, fresh: Progress
    ) -> Progress:
        known = {*vars(fresh), checkpoint_identity.RECORD}
        if record is None or not _ALWAYS <= set(record) <= known:
            what = "holds no training run that this version continues; move it away to start anew"
            raise CheckpointError(f"{path}: {what}")
        trained = checkpoint_identity.identity_in(record)
        if self._identity:
            advice = "choose another folder, e.g. saver.name=mine, or move this one away"
            checkpoint_identity.require_same(trained, self._identity, str(path), advice)
        record = {name: value for name, value in record.items() if name != checkpoint_identity.RECORD}
        before = Progress(**record | {"sums": _renamed(record["sums"])})
        if before.images not in (0, fresh.images):
            raise CheckpointError(
                f"{path}: this run takes {before.images} labelled images a step (on {before.devices} device(s)), now "
                f"it would be {fresh.images}: dataset.batch_size x trainer.accumulate x devices must stay the same"
            )
        if self._own and before.devices != self._group.world:
            raise CheckpointError(
                f"{path}: each of {before.devices} device(s) has state of its own ({', '.join(sorted(self._own))}), so "
                f"the run cannot go on with {self._group.world}; start it with {before.devices}"
            )
        self._rows = {name: self._room(name) for name in self._own}
        expected = {**self._state, **self._rows}
        # Earlier versions kept the previous image at batch 1 even where nothing is mixed with it.
        arrays = {name: a for name, a in arrays.items() if name in expected or not name.startswith("previous.")}
        if not any(name.startswith("previous.") for name in arrays):  # it was trained with more images at once
            expected = {name: value for name, value in expected.items() if not name.startswith("previous.")}
        checkpoint_io.restore(path, arrays, expected)
        self._last_step = before.step if path == self._files.last else None
        return before

    def _room(self, name: str) -> HostArray:
        own = numpy_of(self._state[name])
        return HostArray(name, np.zeros((self._group.world, *own.shape), own.dtype))

    def _retain(self) -> None:
        """Keeps last.ckpt under its step's name, just before it is replaced."""
        last = self._files.last
        if self._keep < 2 or self._last_step is None or not last.is_file():
            return
        kept = self._files.kept(self._last_step)
        with contextlib.suppress(OSError):
            kept.unlink(missing_ok=True)
            try:
                os.link(last, kept)  # last.ckpt is there at every moment
            except OSError:
                last.rename(kept)  # a file system without links


def _renamed(sums: Mapping[str, tuple[float, int]]) -> dict[str, tuple[float, int]]:
    return {_RENAMED.get(name, name): pair for name, pair in sums.items()}
