"""From the names in a PyTorch checkpoint to ours.

Our networks carry the names of U2PL's checkpoints, except inside BatchNorm, where MindSpore says gamma, beta,
moving_mean and moving_variance. Pure functions on {name: array}; nothing here reads files or builds networks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from semiseg.common.errors import CheckpointError
from semiseg.interop.averaged import (
    TRAINED,
    Selected,
    State,
    Which,
    holds_weights,
    is_averaged,
    is_state,
    prefixes_in,
    select_by_prefix,
    state_in,
)

BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# The three stem convolutions and their BatchNorms as PSPNet's ImageNet files number them -> as U2PL does.
NUMBERED_STEM = {
    "conv1": "conv1.0",
    "bn1": "conv1.1",
    "conv2": "conv1.3",
    "bn2": "conv1.4",
    "conv3": "conv1.6",
    "bn3": "bn1",
}
# Parts of published files that our networks rightly have no place for.
IGNORABLE_BACKBONE = ("encoder.fc.*",)
IGNORABLE_U2PL = ("decoder.representation.*",)


def select_state(checkpoint: Mapping[str, Any], choice: Which | None, source: str) -> Selected:
    """The weights inside a checkpoint: averaged ones, trained ones, or the checkpoint itself where it is a bare state.

    Args:
        checkpoint: what ``read_torch`` gave. U2PL keeps ``model_state`` (the student) and ``teacher_state``, others
            ``model`` and ``model_ema``, or one state that holds both by prefixes.
        choice: teacher for averaged weights, student for trained ones; None takes averaged ones where there are any.
        source: the file's name, for errors.

    Raises:
        CheckpointError: the wanted part is not there, no part holds weights, or averaged weights have no names.
    """
    if is_state(checkpoint):
        return select_by_prefix(strip_prefix(checkpoint, source), choice, source)
    averaged = [key for key, value in checkpoint.items() if is_averaged(key) and holds_weights(value)]
    if averaged and choice != "student":
        state = next(((key, state) for key in averaged if (state := state_in(checkpoint[key]))), None)
        if state is None:
            raise CheckpointError(
                f"{source}: holds averaged weights under {averaged[0]}, but without the names of a state_dict(); save "
                "one, or take the trained weights with semiseg convert-checkpoint --which student"
            )
        return Selected(state[1], str(state[0]), averaged=True)
    for key in TRAINED:
        state = state_in(checkpoint.get(key))
        inner = prefixes_in(strip_prefix(state, source)) if state else {}
        if inner or (state and choice != "teacher"):
            return select_by_prefix(strip_prefix(state, source), choice if inner else None, source, key)
    held = ", ".join(map(str, checkpoint))[:120] or "nothing"
    averages, trained = "averaged weights (teacher_state, model_ema, ...)", f"weights under {' or '.join(TRAINED)}"
    expected = {"teacher": averages, "student": trained, None: f"{trained}, or {averages}"}[choice]
    raise CheckpointError(f"{source}: expected {expected}, found {held}; save a state_dict()")


def strip_prefix(state: Mapping[str, np.ndarray], source: str, prefix: str = "module.") -> State:
    """Names without the prefix that DistributedDataParallel puts before them; two that become one are an error."""
    stripped = {name.removeprefix(prefix): array for name, array in state.items()}
    if len(stripped) != len(state):
        twice = next(name for name in state if name.startswith(prefix) and name.removeprefix(prefix) in state)
        raise CheckpointError(f"{source}: holds both {twice} and {twice.removeprefix(prefix)}; delete one of them")
    return stripped


def place_backbone(state: Mapping[str, np.ndarray], source: str) -> State:
    """Put a bare ResNet (conv1, bn1, layer1 ... layer4, fc) under ``encoder.``; other states pass unchanged.

    Both ways of numbering the deep stem are understood (conv1.0 ... conv1.6, or conv1, conv2, conv3).

    Raises:
        CheckpointError: the stem is one 7x7 convolution, as in torchvision's ResNet.
    """
    check_stem(state, source)
    if not any(name.startswith("layer1.") for name in state):
        return dict(state)
    renamed = dict(state)
    if {"conv1.weight", "conv2.weight", "conv3.weight"} <= state.keys():
        renamed = {}
        for name, array in state.items():
            module, _, leaf = name.partition(".")
            renamed[f"{NUMBERED_STEM.get(module, module)}.{leaf}"] = array
    return {f"encoder.{name}": array for name, array in renamed.items()}


def check_stem(state: Mapping[str, np.ndarray], source: str) -> None:
    """Raise CheckpointError for weights of a ResNet whose first convolution is 7x7."""
    for name in ("conv1.weight", "encoder.conv1.weight"):
        if name in state and state[name].ndim == 4 and state[name].shape[-2:] == (7, 7):
            shape = "x".join(map(str, state[name].shape))
            raise CheckpointError(
                f"{source}: {name} is {shape}: torchvision's ResNet with one 7x7 stem convolution, but this network "
                "has the deep stem (three 3x3 convolutions, 64-64-128 channels), for which no 7x7 weights can stand "
                "in; take ImageNet weights of the deep-stem kind, such as the resnet101.pth that U2PL links to or the "
                "resnet50_v2/resnet101_v2 of PSPNet's releases"
            )


def to_mindspore_names(state: Mapping[str, np.ndarray]) -> State:
    """BatchNorm's names as MindSpore has them; num_batches_tracked is dropped, everything else keeps its name.

    A module is a BatchNorm if the data says so: if it has a ``running_mean``.
    """
    norms = {name.removesuffix(".running_mean") for name in state if name.endswith(".running_mean")}
    renamed: State = {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        if module not in norms:
            renamed[name] = array
        elif leaf != "num_batches_tracked":
            renamed[f"{module}.{BATCH_NORM.get(leaf, leaf)}"] = array
    return renamed


def from_torch(checkpoint: Mapping[str, Any], source: str, choice: Which | None = None) -> Selected:
    """All of the above in order: a checkpoint as ``read_torch`` gives it -> arrays under our parameter names."""
    selected = select_state(checkpoint, choice, source)
    state = {name: array for name, array in selected.state.items() if name != "n_averaged"}  # torch's AveragedModel
    return selected._replace(state=to_mindspore_names(place_backbone(strip_prefix(state, source), source)))
