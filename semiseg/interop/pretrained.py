"""ImageNet weights for the encoder: ``net.encoder.pretrained``."""

from pathlib import Path

from semiseg.interop.network_files import fill, read_file
from semiseg.interop.torch_names import IGNORABLE_BACKBONE
from semiseg.models.resnet import ResNet


def load_encoder(encoder: ResNet, path: Path) -> str:
    """Fills ``encoder`` from a .pth or .ckpt of a deep-stem ResNet, strictly; returns a line for the log.

    Names may be bare (``layer1.0.conv1.weight``) or start with ``encoder.``, ``module.`` or both; the ImageNet
    classifier (``fc``) is left out.

    Raises:
        CheckpointError: unreadable, of another depth or width, a 7x7 stem, or more than an encoder.
    """
    parameters = {f"encoder.{name}": parameter for name, parameter in encoder.parameters_and_names()}
    file = read_file(path)
    report = fill(parameters, file.state, path, IGNORABLE_BACKBONE)
    return f"encoder: {len(report.matched)} arrays from {path}{f' ({file.note})' if file.note else ''}"
