"""What later versions of MindSpore change is used in one module alone, and does what numpy does."""

import ast

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from tiny import ROOT

from semiseg.common import platform

PACKAGE = ROOT / "semiseg"
CHANGING = {"pad_mode", "has_bias", "expand_dims", "asnumpy", "keep_dims"}
OF_OPS = {"assign", "Assign", "transpose"}  # names that numpy and others have too
# The doctor tries operators under their own names; three protocols say what a Tensor has.
EXCEPT = {"common/platform.py", "doctor/operators.py", "doctor/worker.py"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if str(path.relative_to(PACKAGE)) not in EXCEPT)


def changing_in(tree):
    """Attributes, keywords and strings that are keys of what changes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CHANGING:
            yield node.attr
        elif isinstance(node, ast.Attribute) and node.attr in OF_OPS and getattr(node.value, "id", "") == "ops":
            yield f"ops.{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg in CHANGING:
            yield node.arg
        elif isinstance(node, ast.Constant) and node.value in CHANGING:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_changes_is_used_in_one_module_alone(path):
    assert set(changing_in(ast.parse(path.read_text(encoding="utf-8")))) == set()


@pytest.mark.parametrize(
    "source",
    [
        "nn.Conv2d(1, 1, 3, pad_mode='same')",
        "x.asnumpy()",
        "ops.assign(a, b)",
        "{'has_bias': 1}",
        "ops.expand_dims(x, 1)",
    ],
)
def test_a_use_elsewhere_is_seen(source):
    assert set(changing_in(ast.parse(source)))


def test_the_functions_do_what_numpy_does():
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    x = Tensor(values)
    np.testing.assert_array_equal(platform.numpy_of(platform.permuted(x, (2, 0, 1))), values.transpose(2, 0, 1))
    np.testing.assert_array_equal(platform.numpy_of(platform.with_axis(x, 1)), values[:, None])
    np.testing.assert_array_equal(platform.numpy_of(platform.kept_max(x, 1)), values.max(1, keepdims=True))
    np.testing.assert_allclose(platform.numpy_of(platform.kept_sum(x, -1)), values.sum(-1, keepdims=True), rtol=1e-6)
    mean = values.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(platform.numpy_of(platform.kept_mean(x, (1, 2))), mean, atol=1e-6)
    target = Parameter(Tensor(np.zeros(3, np.float32)))
    platform.assign(target, Tensor(values[0, :, 0]))
    np.testing.assert_array_equal(platform.numpy_of(target), values[0, :, 0])


@pytest.mark.parametrize(
    ("padding", "size", "expected"), [(0, 9, 7), (1, 9, 9), (2, 9, 11), (None, 9, 9), (None, 8, 8)]
)
def test_a_convolution_is_padded_as_it_says_and_has_a_bias_if_it_says(padding, size, expected):
    for bias in (False, True):
        cell = nn.Conv2d(2, 3, 3, **platform.convolution_options(padding, 1, 1, bias))
        assert cell(Tensor(np.ones((1, 2, size, size), np.float32))).shape == (1, 3, expected, expected)
        assert any(p.name.endswith("bias") for p in cell.get_parameters()) == bias
