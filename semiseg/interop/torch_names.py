"""From the names in other people's checkpoints to ours.

Our networks carry the names of U2PL's checkpoints, except inside BatchNorm, where MindSpore says gamma, beta,
moving_mean and moving_variance. Pure functions on {name: array}; nothing here reads files or builds networks.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from semiseg.checkpoints.match import stem_of
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
# The classifier of an EfficientNet, as efficientnet-lite-pytorch names it: _bn1 is not the stem's.
_EFFICIENTNET_HEAD = {"_conv_head": "head_conv", "_bn1": "head_bn", "_fc": "fc"}
# UniMatch's parts of a network -> ours.
_UNIMATCH = {
    "backbone": "encoder",
    "head": "decoder.head",
    "reduce": "decoder.reduce",
    "fuse": "decoder.fuse",
    "classifier": "decoder.classifier",
}
# Parts of published files that our networks rightly have no place for: ImageNet classifiers.
IGNORABLE_BACKBONE = ("encoder.fc.*", "encoder.classifier.*", "encoder.head_conv.*", "encoder.head_bn.*")
IGNORABLE_U2PL = ("decoder.representation.*",)
# First parts of the names by which ``place_backbone`` and our networks know their parameters.
_FIRST = {"encoder", "decoder", "backbone", "layer1", "_conv_stem"}


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


def strip_common(state: Mapping[str, np.ndarray]) -> State:
    """Names without what all have in common before the parts of a network: Lightning's ``model.``, or the attribute
    that a wrapper holds its network under. Names that have nothing in common, or begin with a part, pass unchanged.
    """
    first = next(iter(state), "").split(".")
    for depth in range(len(first)):
        prefix = "".join(f"{part}." for part in first[:depth])
        inner = {name: name.removeprefix(prefix) for name in state if name.startswith(prefix)}
        if len(inner) < len(state):
            break
        if any(name.partition(".")[0] in _FIRST for name in inner.values()):
            return {inner[name]: array for name, array in state.items()}
    return dict(state)


def place_backbone(state: Mapping[str, np.ndarray]) -> State:
    """Put a bare encoder under ``encoder.``, and UniMatch's network under our names; other states pass unchanged.

    A ResNet has conv1, bn1, layer1 ... layer4, fc. Both ways of numbering its deep stem are understood (conv1.0 ...
    conv1.6, or conv1, conv2, conv3), and mindcv's down_sample. An EfficientNet has _conv_stem, _bn0, _blocks, ...
    """
    if {"backbone.conv1.0.weight", "fuse.0.weight"} <= state.keys():
        parts = {name: name.partition(".") for name in state}
        return {f"{_UNIMATCH.get(part, part)}.{rest}": state[name] for name, (part, _, rest) in parts.items()}
    if "_conv_stem.weight" in state:
        return {f"encoder.{_without_underscores(name)}": array for name, array in state.items()}
    if not any(name.startswith("layer1.") for name in state):
        return dict(state)
    renamed = dict(state)
    if {"conv1.weight", "conv2.weight", "conv3.weight"} <= state.keys():
        renamed = {}
        for name, array in state.items():
            module, _, leaf = name.partition(".")
            renamed[f"{NUMBERED_STEM.get(module, module)}.{leaf}"] = array
    return {f"encoder.{name.replace('.down_sample.', '.downsample.')}": array for name, array in renamed.items()}


def _without_underscores(name: str) -> str:
    first, _, rest = name.partition(".")
    parts = (_EFFICIENTNET_HEAD.get(first, first), *rest.split("."))
    return ".".join(part.removeprefix("_") for part in parts)


def check_stem(names: Iterable[str], expected: Iterable[str], source: str) -> None:
    """Compares the stems of a file and of a network, by the names of their parameters.

    Raises:
        CheckpointError: both have one and they differ; says which key to change.
    """
    stem, wanted = stem_of(names), stem_of(expected)
    if stem and wanted and stem != wanted:
        words = {"deep": "three 3x3 convolutions (deep)", "conv7": "one 7x7 convolution (conv7)"}
        raise CheckpointError(
            f"{source}: its ResNet begins with {words[stem]}, the configured one with {words[wanted]}; set "
            f"net.encoder.kwargs.stem={stem}, or take weights with the other stem"
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
    state = strip_common(strip_prefix(state, source))
    return selected._replace(state=to_mindspore_names(place_backbone(state)))
