"""Read .safetensors files: a header of names, shapes and types, and the raw numbers."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from semiseg.common.errors import CheckpointError
from semiseg.common.os_errors import how_to_mend, reason, refuse_special


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file by name.

    Raises:
        CheckpointError: it is not there, truncated or damaged, or has a type of numbers that NumPy has not (8 bits).
    """
    try:
        refuse_special(path)
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)}); {how_to_mend(error)}") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: truncated, damaged or no .safetensors file ({error}); copy or download it again"
        ) from None
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: holds numbers of an unknown type ({error}); save it in float32 or 16") from None
