"""Whether two configurations are of one run: what may change between two starts of it."""

from collections.abc import Mapping
from pathlib import Path

from semiseg.common.text import shortened
from semiseg.config.fields import flatten
from semiseg.config.keys import Config
from semiseg.config.unread import unread_in

# What does not touch the result. Where images and lists lie may change: a run keeps its ids, which are compared. How a
# step's images are divided may change too, for whoever runs out of memory or devices: BatchNorm then sees others at
# once, which the log says. That their number stays is checked when last.ckpt is read.
_FREE = (
    *("device", "dataset.workers", "dataset.data_root", "dataset.splits", "dataset.batch_size", "dataset.on_error"),
    *("dataset.train.data_root", "dataset.train.data_list", "dataset.val.data_root", "dataset.val.data_list"),
    *("dataset.train.unlabeled_list", "dataset.train.unlabeled_dir", "dataset.max_pixels"),
    *("trainer.log_every", "trainer.resume", "trainer.accumulate", "trainer.deterministic", "trainer.recompute"),
    *("saver.", "monitor.", "expected"),
)
_BOUND = ("saver.snapshot_dir",)  # all the same: elsewhere no last.ckpt would be found, and training begin anew


def changed_keys(before: Config, now: Config) -> dict[str, str]:
    """Keys that make ``now`` another run than ``before``, each with a sentence on its two values; not those that
    nothing reads in either, such as pseudo-labels of a supervised run.
    """
    was, is_now = flatten(before), flatten(now)
    # A section that is null on one side has its keys on the other only.
    differing = [key for key in is_now | was if was.get(key) != is_now.get(key)]
    unread = dict(unread_in(before)).keys() & dict(unread_in(now)).keys()
    bound = [key for key in differing if key in _BOUND or not (key.startswith(_FREE) or key in unread)]
    return {key: f"{key} was {was.get(key)}, now {is_now.get(key)}" for key in bound}


def another_run(folder: Path, changed: Mapping[str, str]) -> str:
    """The beginning of a message on a ``folder`` whose run differs in keys, see ``changed_keys``."""
    return f"{folder}: holds a run of another configuration ({shortened(changed.values(), 4, '; ')})"
