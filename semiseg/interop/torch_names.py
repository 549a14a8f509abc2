"""From the names in a PyTorch checkpoint to ours.

Our networks carry the names of U2PL's checkpoints, except inside BatchNorm, where MindSpore says gamma, beta,
moving_mean and moving_variance. Pure functions on {name: array}; nothing here reads files or builds networks.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from semiseg.common.errors import CheckpointError

State = dict[str, np.ndarray]

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


def select_state(checkpoint: Mapping[str, Any], choice: Literal["teacher", "student"] | None, source: str) -> State:
    """The weights inside a checkpoint: its teacher, its student, or the checkpoint itself where it is a bare state.

    Args:
        checkpoint: what ``read_torch`` gave. U2PL keeps ``model_state`` (the student) and ``teacher_state``.
        choice: which of the two; None takes the teacher where there is one.
        source: the file's name, for errors.

    Raises:
        CheckpointError: the wanted part is not there, or no part holds weights.
    """
    keys = {"teacher": ("teacher_state",), "student": ("model_state", "state_dict", "model")}
    if _is_state(checkpoint):
        if choice is not None:
            raise CheckpointError(f"{source}: holds one network, no {choice} to choose; leave the choice out")
        return dict(checkpoint)
    wanted = keys[choice] if choice else (*keys["teacher"], *keys["student"])
    for key in wanted:
        if _is_state(checkpoint.get(key)):
            return dict(checkpoint[key])
    held = ", ".join(map(str, checkpoint))[:120] or "nothing"
    raise CheckpointError(f"{source}: expected weights under {' or '.join(wanted)}, found {held}; save a state_dict()")


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(array, np.ndarray) for name, array in value.items())
    )


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


def from_torch(
    checkpoint: Mapping[str, Any], source: str, choice: Literal["teacher", "student"] | None = None
) -> State:
    """All of the above in order: a checkpoint as ``read_torch`` gives it -> arrays under our parameter names."""
    state = strip_prefix(select_state(checkpoint, choice, source), source)
    return to_mindspore_names(place_backbone(state, source))
