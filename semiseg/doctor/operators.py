"""Every operator that networks, losses and methods use, at the shapes of a training step: what to run and in numpy.

A test holds this table against the source: an operator that is used in ``semiseg/`` and not ``covered`` here fails it.
Shapes: B images, C classes, H x W crop, h x w the decoder's map, D channels.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops.operations.array_ops import Col2Im

from semiseg.doctor import references as ref


class Sizes(NamedTuple):
    """Of a training step."""

    name: str
    images: int  # of a forward pass of the student
    classes: int
    side: int  # of the crop; odd, as published ones are
    low: int  # side of the decoder's map
    high: int  # side of the encoder's last map
    wide: int  # channels of the encoder's last map
    inner: int  # channels of the decoder
    points: int  # pixels that the prototype head looks at
    prototypes: int  # of a class


SMALL = Sizes("small", 2, 5, 33, 9, 5, 24, 8, 12, 2)
PUBLISHED = Sizes("published", 4, 21, 513, 129, 65, 2048, 256, 1024, 4)  # ResNet-101 at 513 px, VOC's classes
SIZES = {sizes.name: sizes for sizes in (SMALL, PUBLISHED)}

FLOAT, DISTINCT, POSITIVE, LABEL = "float", "distinct", "positive", "label"


class Input(NamedTuple):
    """An array: normal numbers (FLOAT), the same apart (DISTINCT, see ``_apart``), numbers from 0.1 to 1 (POSITIVE), or
    indices from 0 to ``below`` - 1 (LABEL).
    """

    shape: tuple[int, ...]
    kind: str = FLOAT
    below: int = 0


@dataclass(frozen=True)
class Operator:
    """One operator as a training step uses it.

    Args:
        name: as people know it. covers: as the source writes it, without ``ops.`` or ``nn.``; ``Tensor.`` for methods.
        inputs: of some sizes.
        run: a function of tensors, or with ``layer`` what makes a Cell whose trained parameters are further inputs.
        reference: the same function of arrays in numpy.
        gradient: whether training differentiates it (by its inputs of floating-point numbers).
        tolerance: largest relative difference, of float32 with the sums in another order.
        reduced: the same on accelerators that calculate it in TF32 or HF32 by default, or sort with less accuracy.
    """

    name: str
    covers: tuple[str, ...]
    inputs: Callable[[Sizes], tuple[Input, ...]]
    run: Callable[..., Any]
    reference: Callable[..., np.ndarray]
    gradient: bool = True
    layer: bool = False
    tolerance: float = 1e-5
    reduced: float | None = None

    def allowed(self, device: str) -> float:
        """The tolerance on a device (cpu, gpu, ascend)."""
        return self.tolerance if device == "cpu" or self.reduced is None else self.reduced


def arrays(operator: Operator, sizes: Sizes) -> list[np.ndarray]:
    """The inputs, the same in every process: float32, int32 for labels."""
    rng = np.random.default_rng(zlib.crc32(f"{operator.name} {sizes.name}".encode()))
    made = []
    for shape, kind, below in operator.inputs(sizes):
        if kind == LABEL:
            made.append(rng.integers(0, below, shape, dtype=np.int32))
        elif kind == DISTINCT:
            made.append(_apart(rng.normal(0, 1, shape), len(made)))
        else:
            made.append(
                (rng.uniform(0.1, 1, shape) if kind == POSITIVE else rng.normal(0, 1, shape)).astype(np.float32)
            )
    return made


def _apart(x: np.ndarray, number: int) -> np.ndarray:
    """Numbers of which no two that a maximum chooses from are equal or nearly so, and none is an integer: where they
    are, devices may choose either, and a slope is none. Neighbours in a window, classes of a pixel and the same places
    of two inputs (by their ``number``) differ by 2^-17 at least.
    """
    places = np.arange(x.size).reshape(x.shape) % 61
    return (np.round(x * 2**8) / 2**8 + places / 2**16 + (1 + number) / 2**17).astype(np.float32)


def _distinct(inputs: Input) -> Input:
    return inputs._replace(kind=DISTINCT)


def _logits(s: Sizes) -> Input:
    return Input((s.images, s.classes, s.side, s.side))


def _chosen(s: Sizes) -> Input:
    return _distinct(_logits(s))


def _high(s: Sizes, channels: int | None = None) -> Input:
    return Input((s.images, channels or s.wide, s.high, s.high))


def _low(s: Sizes) -> Input:
    return Input((s.images, s.inner, s.low, s.low))


def _pixels(s: Sizes) -> Input:
    return Input((s.images, s.side, s.side))


def _rows(s: Sizes) -> Input:
    return Input((s.images * s.points, 2 * s.inner))


def _each(name: str, run: Callable, reference: Callable, inputs: Callable = _logits, **options: Any) -> Operator:
    """An operator whose name in the source is its own."""
    return Operator(name, (name,), lambda s: _as_tuple(inputs(s)), run, reference, **options)


def _as_tuple(inputs: Input | tuple[Input, ...]) -> tuple[Input, ...]:
    return (inputs,) if isinstance(inputs, Input) else inputs


def _conv(name: str, inputs: Callable, make: Callable[[Sizes], nn.Cell], **options: Any) -> Operator:
    """nn.Conv2d with its kernel (and bias) as inputs."""
    return Operator(
        f"convolution {name}",
        ("Conv2d", "conv2d"),
        inputs,
        make,
        lambda x, *weights: ref.conv2d(x, *weights, **options),
        layer=True,
        reduced=2e-3,
    )


def _norm(training: bool) -> Operator:
    return Operator(
        f"BatchNorm2d, {'training' if training else 'evaluation'}",
        ("BatchNorm2d",),
        lambda s: (_high(s, s.inner), Input((s.inner,), POSITIVE), Input((s.inner,))),
        lambda s: nn.BatchNorm2d(s.inner).set_train(training),
        lambda x, gamma, beta: ref.batch_norm(x, gamma, beta, training),
        layer=True,
        tolerance=3e-5,
    )


def _assigned(x: Tensor) -> Tensor:
    parameter = Parameter(ops.zeros_like(x), requires_grad=False)
    ops.assign(parameter, x)
    ops.Assign()(parameter, parameter.value() * 2)
    return parameter.value()


def _momentum(p: Tensor, v: Tensor, gradient: Tensor) -> Tensor:
    parameter, moved = Parameter(p), Parameter(v)
    ops.ApplyMomentum()(parameter, moved, Tensor(0.1, ms.float32), gradient, 0.9)
    return parameter.value()


def _scattered(x: Tensor, rows: Tensor) -> Tensor:
    parameter = Parameter(x)
    ops.ScatterUpdate()(parameter, Tensor([2, 0], ms.int32), rows)
    return parameter.value()


LAYERS = (
    _conv(
        "3x3, stride 2, of the image",
        lambda s: (Input((s.images, 3, s.side, s.side)), Input((s.inner // 4, 3, 3, 3))),
        lambda s: nn.Conv2d(3, s.inner // 4, 3, 2, pad_mode="pad", padding=1),
        stride=2,
        padding=1,
    ),
    _conv(
        "1x1",
        lambda s: (_high(s), Input((s.inner, s.wide, 1, 1))),
        lambda s: nn.Conv2d(s.wide, s.inner, 1),
    ),
    _conv(
        "3x3, dilation 2",
        lambda s: (_high(s, s.inner), Input((s.inner, s.inner, 3, 3))),
        lambda s: nn.Conv2d(s.inner, s.inner, 3, 1, pad_mode="pad", padding=2, dilation=2),
        padding=2,
        dilation=2,
    ),
    _conv(
        "3x3 with bias, the classifier",
        lambda s: (_low(s), Input((s.classes, s.inner, 3, 3)), Input((s.classes,))),
        lambda s: nn.Conv2d(s.inner, s.classes, 3, pad_mode="pad", padding=1, has_bias=True),
        padding=1,
    ),
    _conv(
        "3x3 of each channel",
        lambda s: (_low(s), Input((s.inner, 1, 3, 3))),
        lambda s: nn.Conv2d(s.inner, s.inner, 3, pad_mode="pad", padding=1, group=s.inner),
        padding=1,
    ),
    _norm(training=True),
    _norm(training=False),
    Operator(
        "MaxPool2d",
        ("MaxPool2d",),
        lambda s: (Input((s.images, s.inner // 4, (s.side + 1) // 2, (s.side + 1) // 2), DISTINCT),),
        lambda s: nn.MaxPool2d(3, 2, pad_mode="same"),  # of odd sides: with one row around
        ref.max_pool,
        layer=True,
    ),
    Operator(
        "ReLU", ("ReLU",), lambda s: (_distinct(_low(s)),), lambda s: nn.ReLU(), lambda x: np.maximum(x, 0), layer=True
    ),
    Operator(
        "ReLU6",
        ("ReLU6",),
        lambda s: (_distinct(_low(s)),),
        lambda s: nn.ReLU6(),
        lambda x: np.clip(x, 0, 6),
        layer=True,
    ),
    Operator(
        "bilinear resize",
        ("ResizeBilinearV2",),
        lambda s: (Input((s.images, s.classes, s.low, s.low)),),
        lambda x: ops.ResizeBilinearV2(align_corners=True)(x, (4 * x.shape[2] - 3, 4 * x.shape[3] - 3)),
        lambda x: ref.resize(x, (4 * x.shape[2] - 3, 4 * x.shape[3] - 3)),
    ),
    Operator(
        "Col2Im",
        ("Col2Im",),
        lambda s: (Input((s.images, s.inner, 9, s.high * s.high)),),
        lambda x: Col2Im([3, 3], [2, 2], [2, 2], [1, 1])(x, Tensor([round(x.shape[3] ** 0.5)] * 2, ms.int32)),
        lambda x: ref.col2im(x, (round(x.shape[3] ** 0.5),) * 2, 2),
    ),
)

ELEMENTWISE = (
    _each("exp", ops.exp, np.exp),
    _each("log", ops.log, np.log, lambda s: Input(_logits(s).shape, POSITIVE)),
    _each("sqrt", ops.sqrt, np.sqrt, lambda s: Input(_pixels(s).shape, POSITIVE)),
    _each("maximum", ops.maximum, np.maximum, lambda s: (_distinct(_logits(s)), _distinct(_logits(s)))),
    _each(
        "where",
        lambda choice, x, y: ops.where(choice > 0, x, y),
        lambda choice, x, y: np.where(choice > 0, x, y),
        lambda s: (Input(_pixels(s).shape, LABEL, 2), _pixels(s), _pixels(s)),
    ),
    _each(
        "logical_and",
        lambda x: ops.logical_and(x >= 0, x < 3),
        lambda x: (x >= 0) & (x < 3),
        lambda s: Input(_pixels(s).shape, LABEL, 5),
        gradient=False,
    ),
    Operator(
        "sums, products, quotients, parts",
        (),
        lambda s: (_logits(s), Input(_logits(s).shape, POSITIVE)),
        lambda x, y: (x[:, 1:] * y[:, :-1] - x[:, :1]) / y[:, 1:] + 2 * -x[:, :-1],
        lambda x, y: (x[:, 1:] * y[:, :-1] - x[:, :1]) / y[:, 1:] + 2 * -x[:, :-1],
    ),
    Operator(
        "comparisons as numbers",
        ("Tensor.astype", "Tensor.max"),
        lambda s: (_pixels(s), _pixels(s)),
        lambda x, y: (x <= y).astype("float32") + (x > 0).astype("int32") * 2,
        lambda x, y: (x <= y) + (x > 0) * 2.0,
        gradient=False,
    ),
    _each("stop_gradient", lambda x: x * ops.stop_gradient(x * 0 + 2), lambda x: x * 2, _pixels),
    _each("zeros_like", lambda x: ops.zeros_like(x) + x, lambda x: x, _pixels),
    _each("full_like", lambda x: ops.full_like(x, 255) + x, lambda x: 255 + x, _pixels),
    _each("zeros", lambda x: ops.zeros(x.shape, x.dtype) + x, lambda x: x, _pixels),
    _each("ones", lambda x: ops.ones(x.shape, x.dtype) + x, lambda x: 1 + x, _pixels),
)

REDUCTIONS = (
    _each("amax", lambda x: ops.amax(x, 1, keepdims=True), lambda x: x.max(1, keepdims=True), _chosen),
    _each("softmax", lambda x: ops.softmax(x, 1), ref.softmax),
    _each("log_softmax", lambda x: ops.log_softmax(x, 1), lambda x: np.log(ref.softmax(x)), gradient=False),
    _each("argmax", lambda x: ops.argmax(x, 1), lambda x: x.argmax(1), _chosen, gradient=False),
    Operator("sum over channels", ("Tensor.sum",), lambda s: (_logits(s),), lambda x: x.sum(1), lambda x: x.sum(1)),
    Operator(
        "sum over pixels",
        ("Tensor.sum",),
        lambda s: (_logits(s),),
        lambda x: x.sum((0, 2, 3)),
        lambda x: x.sum((0, 2, 3)),
        tolerance=1e-4,
    ),
    Operator(
        "mean, the image pooling",
        ("Tensor.mean",),
        lambda s: (_high(s),),
        lambda x: x.mean((2, 3), keep_dims=True),
        lambda x: x.mean((2, 3), keepdims=True),
    ),
    _each(
        "sort", lambda x: ops.sort(x.reshape(-1))[0], lambda x: np.sort(x, None), _pixels, gradient=False, reduced=2e-3
    ),
    _each(
        "matmul",
        ops.matmul,
        np.matmul,
        lambda s: (_rows(s), Input((2 * s.inner, s.classes * s.prototypes))),
        reduced=2e-3,
    ),
)

PLACES = (
    _each(
        "stack",
        lambda x, y: ops.stack((x.sum(), (x * y).mean(), y.sum())),
        lambda x, y: np.stack((x.sum(), (x * y).mean(), y.sum())),
        lambda s: (Input((s.points,)), Input((s.points,))),
    ),
    _each(
        "concat",
        lambda x, y: ops.concat((x, y), 1),
        lambda x, y: np.concatenate((x, y), 1),
        lambda s: (_low(s), _low(s)),
    ),
    _each(
        "split",
        lambda x: ops.split(x, x.shape[1] // 2, 1)[1],
        lambda x: x[:, x.shape[1] // 2 : x.shape[1] // 2 * 2],
        _low,
    ),
    _each(
        "gather",
        lambda x, at: ops.gather(x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2), at, 1),
        lambda x, at: x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2)[:, at],
        lambda s: (_low(s), Input((4 * s.points,), LABEL, s.low * s.low)),
    ),
    _each(
        "gather_elements",
        lambda x, at: ops.gather_elements(x, 1, ops.expand_dims(at, 1)).squeeze(1),
        lambda x, at: np.take_along_axis(x, at[:, None], 1)[:, 0],
        lambda s: (_logits(s), Input(_pixels(s).shape, LABEL, s.classes)),
    ),
    _each("expand_dims", lambda x: ops.expand_dims(x, 1), lambda x: x[:, None], _pixels),
    _each("tile", lambda x: ops.tile(x[:, None], (1, 3, 1, 1)), lambda x: np.tile(x[:, None], (1, 3, 1, 1)), _pixels),
    _each("transpose", lambda x: ops.transpose(x, (0, 2, 3, 1)), lambda x: x.transpose(0, 2, 3, 1), _low),
    Operator(
        "flip, reshape, swapaxes",
        ("Tensor.flip", "Tensor.reshape", "Tensor.swapaxes", "Tensor.squeeze", "Tensor.transpose", "Tensor.gather"),
        lambda s: (_low(s),),
        lambda x: x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2).flip((1,)),
        lambda x: x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2)[:, ::-1],
    ),
    _each(
        "one_hot",
        lambda x: ops.one_hot(x, 12, Tensor(1.0), Tensor(0.0)),
        lambda x: ref.one_hot(x, 12),
        lambda s: Input((s.images * s.points,), LABEL, 12),
        gradient=False,
    ),
    _each(
        "arange",
        lambda x: ops.arange(x.shape[0]) + x,
        lambda x: np.arange(x.shape[0]) + x,
        lambda s: Input((s.points,), LABEL, 9),
        gradient=False,
    ),
)

UPDATES = (
    Operator(
        "ScatterUpdate",
        ("ScatterUpdate",),
        lambda s: (_rows(s), Input((2, 2 * s.inner))),
        _scattered,
        lambda x, rows: np.concatenate((rows[1:], x[1:2], rows[:1], x[3:])),
        gradient=False,
    ),
    Operator(
        "assign",
        ("assign", "Assign", "Tensor.value"),
        lambda s: (_rows(s),),
        _assigned,
        lambda x: 2 * x,
        gradient=False,
    ),
    Operator(
        "ApplyMomentum",
        ("ApplyMomentum",),
        lambda s: (_rows(s), _rows(s), _rows(s)),
        _momentum,
        lambda p, v, g: ref.momentum(p, v, g, 0.1, 0.9),
        gradient=False,
    ),
)

OPERATORS = (*LAYERS, *ELEMENTWISE, *REDUCTIONS, *PLACES, *UPDATES)
# What holds operators together and is none itself.
STRUCTURE = frozenset(
    {"Cell", "CellList", "SequentialCell", "Identity", "GraphCell", "HyperMap", "MultitypeFuncGraph", "partial"}
)
# These need several devices: tests/test_distributed.py tries them on several processes.
OF_SEVERAL_DEVICES = frozenset({"AllGather", "AllReduce", "Broadcast", "SyncBatchNorm"})
