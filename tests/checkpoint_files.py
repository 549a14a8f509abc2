"""Checkpoints as other programs write them, from a network of ours: the authors' .ckpt and PyTorch's .pth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from tiny import CLASSES, context_of, network_of
from torch_bytes import tensor, write_zip

from semiseg.interop.torch_names import BATCH_NORM
from semiseg.models import SegmentationNetwork

TO_TORCH = {ours: theirs for theirs, ours in BATCH_NORM.items()}
__all__ = ["CLASSES", "arrays_of", "network", "torch_state", "write_ckpt", "write_pth"]


def network(*overrides: str, seed: int = 0) -> SegmentationNetwork:
    """The tiny network with 3 classes, linear and prototype head; its weights depend on the seed."""
    return network_of(context_of(*overrides).net, seed)


def arrays_of(built: SegmentationNetwork) -> dict[str, np.ndarray]:
    return {name: parameter.asnumpy().copy() for name, parameter in built.parameters_and_names()}


def write_ckpt(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """As MindSpore 1.10 wrote it: no checksum, nothing but parameters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ms.save_checkpoint([{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()], str(path))
    path.chmod(0o600)
    return path


def torch_state(arrays: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
    """PyTorch's names, a step counter beside each BatchNorm included."""
    state: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        stem, _, leaf = name.rpartition(".")
        state[f"{prefix}{stem}.{TO_TORCH.get(leaf, leaf)}"] = array
        if leaf == "moving_variance":
            state[f"{prefix}{stem}.num_batches_tracked"] = np.array(7, np.int64)
    return state


def write_pth(path: Path, content: Mapping[str, Any]) -> Path:
    """A zip .pth of nested dicts whose arrays become tensors."""
    storages: dict[str, bytes] = {}

    def convert(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: convert(item) for key, item in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        key = str(len(storages))
        storages[key] = np.ascontiguousarray(value).tobytes()
        kind = {"float32": "Float", "float64": "Double", "int64": "Long", "float16": "Half"}[value.dtype.name]
        strides = tuple(int(s) // value.itemsize for s in np.ascontiguousarray(value).strides) if value.ndim else ()
        return tensor(kind, key, value.size, value.shape, strides)

    return write_zip(path, convert(content), storages)
