"""First prototypes out of a file: the authors' pickle, an .npz, or a checkpoint of a network with a prototype head."""

from pathlib import Path

import numpy as np

from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.identity import identity_in
from semiseg.common.errors import CheckpointError
from semiseg.interop.torch_checkpoint import read_prototype_pickle

NAME = "proto_net.proto_list"


def read_prototypes(path: Path, per_class: int | None = None) -> np.ndarray:
    """Prototypes -> float32 (classes * K, D), class-major; ``per_class``: the K expected where a file says its own.

    Of a .ckpt (the authors' best.ckpt, a best.ckpt or last.ckpt of ours) everything but its prototypes is left aside;
    of a student's and a teacher's the teacher's are taken, which are the same.

    Raises:
        CheckpointError: unreadable, no prototypes in it, another K, or values that are not finite.
    """
    if path.suffix != ".ckpt":
        return read_prototype_pickle(path, per_class)
    arrays, record = checkpoint_io.read(path)
    held = sorted(name for name in arrays if name == NAME or name.endswith(f".{NAME}"))
    if not held:
        raise CheckpointError(
            f"{path}: holds no {NAME}, expected a checkpoint of a network with a prototype head, a pickle or an .npz"
        )
    of_class = (identity_in(record) or {}).get("net.proto_head.num_micro_proto")
    if per_class and of_class and of_class != per_class:
        raise CheckpointError(
            f"{path}: holds {of_class} prototypes a class, the network has {per_class} (net.proto_head.num_micro_proto)"
        )
    rows = arrays[next((name for name in held if name.startswith("teacher.")), held[0])]
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise CheckpointError(f"{path}: {NAME} is no table of finite numbers; fetch or train it again")
    return rows.astype(np.float32)
