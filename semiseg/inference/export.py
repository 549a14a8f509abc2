"""A trained network as the bytes of an ONNX or MindIR file, and whether what was exported computes the same.

Shapes: H x W input, C classes.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from semiseg.common.errors import UserError
from semiseg.common.platform import numpy_of
from semiseg.inference.exportable import HEADS, ExportableNetwork
from semiseg.inference.onnx_names import with_output_names
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import resize
from semiseg.models.layers import Conv3x3

TOLERANCE = 1e-4  # of the largest logit; float32 in another order of operations stays far below


def exported(network: ExportableNetwork, size: tuple[int, ...], kind: str) -> bytes:
    """The file's content; MindSpore writes to a name of its own making, so a folder for the moment is needed."""
    with tempfile.TemporaryDirectory(prefix="semiseg-export-") as folder, _equal_padding(network):
        example = Tensor(np.zeros((1, 3, *size), np.float32))
        ms.export(network, example, file_name=str(Path(folder) / "network"), file_format=kind.upper())
        content = (Path(folder) / f"network.{kind}").read_bytes()
    # The linear head alone keeps the name that MindSpore gives it: programs may hold it.
    named = kind == "onnx" and network.heads != HEADS["linear"]
    return with_output_names(content, network.heads) if named else content


@contextlib.contextmanager
def _equal_padding(network: ExportableNetwork) -> Iterator[None]:
    """Inside, no convolution pads rows and columns differently: ONNX's four pads are written in a wrong order."""
    convolutions = [cell for _, cell in network.cells_and_names() if isinstance(cell, Conv3x3)]
    for convolution in convolutions:
        convolution.equal_padding = True
    try:
        yield
    finally:
        for convolution in convolutions:
            convolution.equal_padding = False


def verify(content: bytes, network: SegmentationNetwork, size: tuple[int, ...], kind: str, head: str = "linear") -> str:
    """Runs what was exported on a random image and compares with the network's logits; what came out, in words.

    Raises: UserError if they differ or it does not run; then nothing was written.
    """
    image = np.random.default_rng(0).normal(size=(1, 3, *size)).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="semiseg-export-") as folder:
        path = Path(folder) / f"network.{kind}"
        path.write_bytes(content)
        found = _run_mindir(path, image) if kind == "mindir" else _run_onnx(path, image)
    if found is None:
        return "not checked (onnxruntime is not installed)"
    expected = _logits(network, image, head)
    pairs = zip(found, expected, strict=True)
    difference = max(float(np.abs(logits - own).max() / np.abs(own).max()) for logits, own in pairs)
    if not all(np.isfinite(logits).all() for logits in found) or not difference < TOLERANCE:
        raise UserError(f"the exported network's logits differ by {difference:.1e} of the largest; nothing was written")
    return f"checked: logits differ by {difference:.0e} of the largest"


def _logits(network: SegmentationNetwork, image: np.ndarray, head: str) -> list[np.ndarray]:
    """Of the network itself, each of ``head``: 1 x C x H x W."""
    size = image.shape[2:]
    if head == "linear":
        return [numpy_of(resize(network.logits(Tensor(image)), size))]
    out = network(Tensor(image))
    logits = {"linear": resize(out.pred, size), "proto": out.proto}
    return [numpy_of(logits[name]) for name in HEADS[head]]


def _run_mindir(path: Path, image: np.ndarray) -> list[np.ndarray]:
    outputs = nn.GraphCell(ms.load(str(path)))(Tensor(image))
    return [numpy_of(logits) for logits in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _run_onnx(path: Path, image: np.ndarray) -> list[np.ndarray] | None:
    """None where there is no ONNX Runtime. Raises: UserError if it refuses the file."""
    try:
        import onnxruntime  # not a requirement: only this check uses it
    except ImportError:
        return None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: image})
    except Exception as error:  # of a dozen classes that share no other ancestor
        reason = " ".join(str(error).split())
        raise UserError(
            f"ONNX Runtime does not run what was exported, and nothing was written ({reason}); --format mindir "
            "may do, or training with another net.encoder.kwargs.replace_stride_with_dilation"
        ) from None
