"""Outputs of an ONNX file by name; all else stays."""

import numpy as np
import pytest
from mindspore import Tensor, export, nn, ops

from semiseg.inference.onnx_names import with_output_names


class Chain(nn.Cell):
    """The first output is an input of what makes the second."""

    def construct(self, x):
        double = x + x
        return double, ops.maximum(double, x)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "chain"
    export(Chain(), Tensor(np.zeros((2, 3), np.float32)), file_name=str(path), file_format="ONNX")
    return path.with_suffix(".onnx").read_bytes()


def test_outputs_are_named_and_computed_as_before(written):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(with_output_names(written, ("first", "second")))
    x = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
    first, second = session.run(["first", "second"], {"x": x})
    assert np.array_equal(first, 2 * x)
    assert np.array_equal(second, np.maximum(2 * x, x))


def test_as_many_names_as_outputs(written):
    with pytest.raises(ValueError):
        with_output_names(written, ("first",))
