"""ImageNet weights for the encoder: ``net.encoder.pretrained``."""

from pathlib import Path

from semiseg.common.errors import CheckpointError
from semiseg.config.weights import find_weights, weights_path
from semiseg.interop.architecture import infer_encoder
from semiseg.interop.averaged import State
from semiseg.interop.network_files import fill, read_network_file
from semiseg.interop.torch_names import IGNORABLE_BACKBONE, check_stem
from semiseg.models.encoder import Encoder


def load_encoder(encoder: Encoder, weights: Path | str) -> str:
    """Fills ``encoder`` from a file, or from known weights in data/weights, strictly; returns a line for the log.

    Names may be bare (``layer1.0.conv1.weight``) or start with ``encoder.``, ``module.`` or both; the ImageNet
    classifier is left out.

    Raises:
        CheckpointError: not there, unreadable, of another encoder, stem or width, or more than an encoder.
        ConfigError: no weights of this name.
    """
    path = weights if isinstance(weights, Path) else _known(weights)
    file = read_network_file(path)
    parameters = {f"encoder.{name}": parameter for name, parameter in encoder.parameters_and_names()}
    _check_encoder(file.state, parameters, path)
    report = fill(parameters, file.state, path, IGNORABLE_BACKBONE)
    return f"encoder: {len(report.matched)} arrays from {path}{f' ({file.note})' if file.note else ''}"


def _known(name: str) -> Path:
    path = weights_path(find_weights(name))
    if not path.is_file():
        raise CheckpointError(f"{path}: not there yet; semiseg weights {name} fetches it (net.encoder.pretrained)")
    return path


def _check_encoder(arrays: State, parameters: State, path: Path) -> None:
    """Raises CheckpointError for the weights of another encoder; says which key to change."""
    check_stem(arrays, parameters, str(path))
    held, wanted = infer_encoder(arrays, str(path)).type, infer_encoder(parameters, "the network").type
    if held != wanted:
        raise CheckpointError(
            f"{path}: weights of {held}, the configured encoder is {wanted}; set net.encoder.type={held}, or take "
            f"weights of {wanted}"
        )
