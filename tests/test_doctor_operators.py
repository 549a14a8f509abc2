"""The doctor tries every operator that the source uses, and sees one that calculates something else."""

import ast
import dataclasses

import numpy as np
import pytest
from mindspore import Tensor
from tiny import ROOT

from semiseg.doctor import trials
from semiseg.doctor.operators import OF_SEVERAL_DEVICES, OPERATORS, PUBLISHED, SMALL, STRUCTURE, arrays

PACKAGE = ROOT / "semiseg"
PARTS = ("models", "methods", "losses.py", "engine", "inference", "common")
FILES = sorted(
    path for part in PARTS for path in ([PACKAGE / part] if part[-3:] == ".py" else PACKAGE.glob(f"{part}/**/*.py"))
)
COVERED = {name for operator in OPERATORS for name in operator.covers}
BY_NAME = {operator.name: operator for operator in OPERATORS}
SPACES = ("ops", "nn", "mint")
# Names of Tensor's methods that are called on something else there (arrays, dicts, texts), or run nothing on a device.
OTHERS = {"asnumpy", "set_data", "__init__", "copy", "ravel", "any", "take", "norm", "register", "uniform"}


def last_name(node):
    """``ops`` of ``ops`` and of ``ms.ops``; None of what is no name."""
    return getattr(node, "attr", getattr(node, "id", None))


def operators_in(tree):
    """Names after ``ops.`` and the like, and what is imported from MindSpore's modules of operators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and last_name(node.value) in SPACES:
            yield f"mint.{node.attr}" if last_name(node.value) == "mint" else node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("mindspore.ops", "mindspore.nn")):
            yield from (alias.name for alias in node.names)


def methods_in(tree):
    """Calls of what Tensor has a method for, but of modules."""
    modules = {"np", "cv2", "os", "math", *SPACES}
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
        if called and hasattr(Tensor, called.attr) and last_name(called.value) not in modules:
            yield called.attr


def untried(tree, with_methods):
    missing = set(operators_in(tree)) - COVERED - STRUCTURE - OF_SEVERAL_DEVICES
    methods = set(methods_in(tree)) - OTHERS if with_methods else set()
    return missing | {name for name in methods if f"Tensor.{name}" not in COVERED}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_operator_in_use_is_tried(path):
    with_methods = path.relative_to(PACKAGE).parts[0] in ("models", "methods", "losses.py")
    assert untried(ast.parse(path.read_text(encoding="utf-8")), with_methods) == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("y = ops.cumprod(x, 0)", {"cumprod"}),
        ("nn.Conv3d(1, 1, 3)", {"Conv3d"}),
        ("ms.mint.exp(x) + mint.exp(x)", {"mint.exp"}),
        ("from mindspore.ops.operations.nn_ops import Dilation2D", {"Dilation2D"}),
        ("y = x.cumsum(0) + np.cumsum(x)", {"cumsum"}),
        ("y = ops.concat((x, ops.exp(x)), 1).sum(0)", set()),
    ],
)
def test_an_operator_that_is_not_tried_is_seen(source, names):
    assert untried(ast.parse(source), with_methods=True) == names


@pytest.mark.parametrize("name", BY_NAME)
def test_operators_do_on_this_cpu_what_numpy_does(name):
    apart = trials.against_numpy(BY_NAME[name], SMALL, trials.run(BY_NAME[name], SMALL))
    assert apart.forward <= BY_NAME[name].tolerance
    assert (apart.backward is None) == (not BY_NAME[name].gradient)
    assert (apart.backward or 0) <= BY_NAME[name].tolerance


@pytest.mark.parametrize("name", ["softmax", "convolution 3x3, dilation 2", "BatchNorm2d, training"])
def test_a_gradient_with_a_small_error_is_seen(name):
    trial = trials.run(BY_NAME[name], SMALL)
    wrong = (*trial.gradients[:-1], trial.gradients[-1] * np.float32(1.001))
    apart = trials.against_numpy(BY_NAME[name], SMALL, dataclasses.replace(trial, gradients=wrong))
    assert apart.forward <= BY_NAME[name].tolerance < apart.backward


def test_a_result_with_a_small_error_or_no_number_is_seen():
    operator = BY_NAME["matmul"]
    trial = trials.run(operator, SMALL)
    for change, least in ((1e-3, 1e-5), (np.nan, np.inf), (np.inf, np.inf)):
        wrong = trial.output.copy()
        wrong[0, 0] += change
        changed = dataclasses.replace(trial, output=wrong)
        assert trials.against_numpy(operator, SMALL, changed).forward >= least
        assert trials.against(changed, trial).forward >= least
    assert trials.against(trial, trial) == (0, 0)
    assert trials.relative(np.zeros((2, 3)), np.zeros((3, 2))) == np.inf


def test_inputs_are_the_same_in_every_process_and_of_the_stated_shapes():
    for operator in OPERATORS:
        for one, again, (shape, *_) in zip(
            arrays(operator, SMALL), arrays(operator, SMALL), operator.inputs(SMALL), strict=True
        ):
            assert one.shape == tuple(shape)
            assert np.array_equal(one, again)
        assert all(max(shape) > 0 for shape, *_ in operator.inputs(PUBLISHED))
    assert len(BY_NAME) == len(OPERATORS)


@pytest.mark.parametrize("sizes", [SMALL, PUBLISHED])
@pytest.mark.parametrize("name", ["amax", "maximum", "MaxPool2d", "ReLU"])
def test_nothing_chooses_between_numbers_that_are_nearly_equal(name, sizes):
    one = sizes._replace(images=1, classes=min(sizes.classes, 9), inner=8)
    first, *others = arrays(BY_NAME[name], one)
    if name == "amax":
        pairs = [(first[:, c], first[:, d]) for c in range(first.shape[1]) for d in range(c)]
    elif name == "MaxPool2d":
        pairs = [
            (first[..., 2:, 2:], first[..., 2 - i : -i or None, 2 - j : -j or None])
            for i, j in ((0, 1), (2, 1), (1, 2))
        ]
    else:
        pairs = [(first, others[0] if others else np.round(first))]
    assert min(np.abs(a.astype(np.float64) - b).min() for a, b in pairs) >= 2**-18


def test_accelerators_that_calculate_with_fewer_bits_are_allowed_more():
    assert BY_NAME["matmul"].allowed("gpu") > BY_NAME["matmul"].allowed("cpu") == BY_NAME["exp"].allowed("ascend")
