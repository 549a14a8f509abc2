"""Averaged weights beside trained ones: by which names files of many projects keep both.

A mean teacher is scored, and so is every other moving average: U2PL's ``teacher_state``, ``model_ema``,
``state_dict_ema``, ``ema_state_dict``; or one flat state with ``ema.x`` beside ``x``. Pure functions on names.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from semiseg.common.errors import CheckpointError

State = dict[str, np.ndarray]
Which = Literal["teacher", "student"]  # averaged weights, trained weights

TRAINED = ("model_state", "state_dict", "model")  # keys of trained weights
_TRAINED_PREFIXES = ("student", "model", "net", "network", "online")
_AVERAGED = {"teacher", "ema", "swa", "average", "averaged", "avg", "shadow", "polyak"}
_NO_WEIGHTS = {"optimizer", "optim", "scheduler", "scaler"}
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "moving_mean", "moving_variance")  # BatchNorm's
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")


class Selected(NamedTuple):
    """The weights of one network. ``key``: where in the file they were, "" for the file itself; ``averaged``: they are
    a moving average, with or without the trained weights beside them.
    """

    state: State
    key: str = ""
    averaged: bool = False

    @property
    def note(self) -> str:
        """What to say of it; "" where there is nothing."""
        return f"averaged weights: {self.key}" if self.averaged else ""


def is_averaged(name: object) -> bool:
    """Whether a name says that weights are averaged over steps: teacher_state, model_ema, EMAModel, swa.model."""
    words = set(_WORDS.sub(" ", str(name)).lower().split())
    return bool(words & _AVERAGED) and not words & _NO_WEIGHTS


def select_by_prefix(state: Mapping[str, np.ndarray], which: Which | None, source: str, key: str = "") -> Selected:
    """One network of a flat state that may hold two by prefix; None takes the averaged one, and an only one as it is.

    Names of neither stay, to be refused with the rest or to be used: BatchNorm's statistics beside averaged weights
    that have none. Averaged weights are filled up with nothing else: trained ones beside them would make a mixture.

    Raises:
        CheckpointError: the wanted one is not there, or weights of no prefix stand beside averaged ones that have no
            counterpart for any. ``source``: the file's name.
    """
    prefixes = prefixes_in(state)
    if not prefixes:
        if which:
            raise CheckpointError(f"{source}: holds one network, no {which} to choose; leave the choice out")
        return Selected(dict(state), key)
    wanted = which or "teacher"
    if wanted not in prefixes:
        (held,) = prefixes
        raise CheckpointError(f"{source}: expected a {wanted}, found only a {held}; ask for the {held} by name")
    left = {name: array for name, array in state.items() if not name.startswith(tuple(filter(None, prefixes.values())))}
    prefix = prefixes[wanted]
    chosen = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
    chosen = chosen if prefix else {}  # the bare names are what is left
    if wanted == "teacher":
        left = _without_trained(left, prefixes, source)
    return Selected(left | chosen, prefix.removesuffix(".") or key, wanted == "teacher")


def _without_trained(left: State, prefixes: Mapping[Which, str], source: str) -> State:
    """What stands beside averaged weights without a prefix, less the weights of the trained network."""
    learned = {name for name, array in left.items() if array.ndim and not name.endswith(_STATISTICS)}
    if prefixes.get("student") == "":
        return {name: array for name, array in left.items() if name not in learned}
    if learned:
        raise CheckpointError(
            f"{source}: holds averaged weights under {prefixes['teacher']} and {min(learned)} beside them, which is "
            "not averaged; save the weights of one network"
        )
    return left


def prefixes_in(names: Iterable[str]) -> dict[Which, str]:
    """The prefix of the averaged and of the trained network, of those that are there; {} for one network alone.

    Beside an averaged one the trained network may have no prefix: "".
    """
    names = set(names)
    firsts = dict.fromkeys(name.partition(".")[0] for name in sorted(names) if "." in name)
    averaged = next((f"{first}." for first in firsts if is_averaged(first)), None)
    if averaged is None:
        return {"student": "student."} if "student" in firsts else {}
    trained = next((f"{first}." for first in _TRAINED_PREFIXES if first in firsts), None)
    if trained is None and any(averaged + name in names for name in names):
        trained = ""
    return {"teacher": averaged} | ({} if trained is None else {"student": trained})


def holds_weights(value: Any) -> bool:
    """Whether a mapping or list has arrays in it: a number of steps or a decay is no network."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(holds_weights(item) or (isinstance(item, np.ndarray) and item.ndim > 0) for item in items)


def state_in(value: Any) -> State | None:
    """A state, or the only one inside: ``{"module": state, "decay": 0.99}``."""
    if is_state(value):
        return dict(value)
    inner = [item for item in value.values() if is_state(item)] if isinstance(value, Mapping) else []
    return dict(inner[0]) if len(inner) == 1 else None


def is_state(value: Any) -> bool:
    """Whether it is a non-empty mapping from names to arrays and nothing else."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(array, np.ndarray) for name, array in value.items())
    )
