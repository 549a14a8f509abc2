"""Which of MindSpore's operators are used, and when: what no device or not every device does well stays out."""

import ast
import subprocess
import sys

import pytest
from tiny import ROOT

PACKAGE = ROOT / "semiseg"
TRAINED = ("models", "methods", "engine", "losses.py")  # what runs in a training step
FILES = [
    path for name in TRAINED for path in sorted((PACKAGE / name).rglob("*.py") if "." not in name else [PACKAGE / name])
]


def refused(tree):
    """Lines of calls that must not be there, with the reason."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name.lower() in ("pad", "padv3", "mirrorpad", "zeropad2d", "constantpad2d") and owner != "np":
            yield node.lineno, "gradients through ops.pad are wrong from the second call of a compiled function on"
        if "MaxPool" in name and (keywords.get("pad_mode") == "'pad'" or "ceil_mode" in keywords):
            yield node.lineno, "compiles to a three-dimensional pooling, which Ascend runs on its CPU cores"
        if "adaptive" in name.lower() and "pool" in name.lower():
            yield node.lineno, "Ascend has no kernel of its own for it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_operator_that_a_device_does_wrong_or_slowly(path):
    assert list(refused(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "line",
    [
        "ops.pad(x, (1, 1))",
        "ops.operations.Pad(((0, 0), (1, 1)))(x)",
        "nn.ZeroPad2d(1)(x)",
        "x.pad((1, 1))",
        "nn.MaxPool2d(3, 2, pad_mode='pad', padding=1)",
        "nn.MaxPool2d(3, 2, pad_mode='valid', ceil_mode=True)",
        "nn.AdaptiveAvgPool2d((1, 1))",
        "ops.adaptive_avg_pool2d(x, 1)",
    ],
)
def test_such_a_line_would_be_seen(line):
    assert len(list(refused(ast.parse(line)))) == 1


def test_others_are_not_taken_for_such():
    lines = "np.pad(x, 1)\nnn.MaxPool2d(3, 2, pad_mode='same')\nnn.Conv2d(3, 3, 3, pad_mode='pad', padding=1)"
    assert list(refused(ast.parse(lines))) == []


_IMPORTS = """
import importlib, sys
import semiseg
from mindspore import Tensor
from mindspore.ops import Primitive

def imported(names):
    for name in names:
        importlib.import_module(name)

names = sys.argv[1:]
imported(names)  # once as it is, so that MindSpore's own modules are there
for name in [name for name in sys.modules if name.partition(".")[0] == "semiseg"]:
    del sys.modules[name]

def refusing(kind):
    def made(self, *args, **kwargs):
        raise AssertionError(f"{kind} made at import")
    return made

Tensor.__init__ = refusing("a tensor")
Primitive.__init__ = refusing("a primitive")
imported(names)
print("none")
"""


def test_importing_makes_no_tensor_and_no_primitive():
    """On Ascend the group of several devices must be there before the first of either."""
    paths = [path.relative_to(ROOT).with_suffix("") for path in sorted(PACKAGE.rglob("*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__"]
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "none", done.stderr[-2000:]
