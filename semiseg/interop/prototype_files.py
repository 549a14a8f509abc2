"""First prototypes out of a file: the authors' pickle, an .npz, or a checkpoint of a network with a prototype head."""

from pathlib import Path

import numpy as np

from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import CheckpointError
from semiseg.interop.torch_checkpoint import read_prototype_pickle

_NAME = "proto_net.proto_list"


def read_prototypes(path: Path) -> np.ndarray:
    """Prototypes -> float32 (classes * K, D), class-major.

    Of a .ckpt (the authors' best.ckpt, a best.ckpt or last.ckpt of ours) everything but its prototypes is left aside;
    of a student's and a teacher's the teacher's are taken, which are the same.

    Raises:
        CheckpointError: unreadable, no prototypes in it, or values that are not finite.
    """
    if path.suffix != ".ckpt":
        return read_prototype_pickle(path)
    arrays, _ = checkpoint_io.read(path)
    held = sorted(name for name in arrays if name == _NAME or name.endswith(f".{_NAME}"))
    if not held:
        raise CheckpointError(
            f"{path}: holds no {_NAME}, expected a checkpoint of a network with a prototype head, a pickle or an .npz"
        )
    rows = arrays[next((name for name in held if name.startswith("teacher.")), held[0])]
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise CheckpointError(f"{path}: {_NAME} is no table of finite numbers; fetch or train it again")
    return rows.astype(np.float32)
