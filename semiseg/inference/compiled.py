"""A network for evaluation that is compiled for the sizes of images that come often.

On CPU the compiled network takes about four fifths of the time of the plain one: outside of a graph, MindSpore's
calling thread yields in a loop while the kernels of an operation run, which takes time from them. But a graph holds for
one size, costs seconds to compile and keeps its own buffers; so only sizes that have taken long already get one.
Results are the same, bit by bit.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import mindspore as ms
from mindspore import Tensor, jit

from semiseg.models.deeplabv3plus import Output, SegmentationNetwork
from semiseg.models.precision import Level, set_precision

PATIENCE = 20.0  # seconds that a size takes before it is compiled; a ResNet-101 compiles in about 5
MAX_GRAPHS = 2  # each for one size


class CompiledNetwork:
    """A network in evaluation mode, called like the network itself: ``network(x)`` or ``network.logits(x)``.

    Its weights may change by ops.assign, as in training, but not by set_data: MindSpore's graphs do not see that.
    """

    def __init__(self, network: SegmentationNetwork, patience: float = PATIENCE, max_graphs: int = MAX_GRAPHS):
        self._outputs = _CompiledByShape(network.outputs, patience, max_graphs)
        self.logits = _CompiledByShape(network.logits, patience, max_graphs)

    def __call__(self, x: Tensor) -> Output:
        """All outputs."""
        return Output(*self._outputs(x))


# What images are scored with.
Network = SegmentationNetwork | CompiledNetwork


class _CompiledByShape:
    """``function`` of one tensor, compiled for a shape once calls with it have taken ``patience`` seconds."""

    def __init__(self, function: Callable[[Tensor], Any], patience: float, max_graphs: int):
        self._plain, self._graph = function, jit(function)
        self._patience, self._max_graphs = patience, max_graphs
        self._seconds: dict[tuple[int, ...], float] = defaultdict(float)  # that calls have taken, by shape
        self._compiled: set[tuple[int, ...]] = set()

    def __call__(self, x: Tensor) -> Any:
        shape = x.shape
        if self._seconds[shape] >= self._patience and len(self._compiled) < self._max_graphs:
            self._compiled.add(shape)
        if shape in self._compiled:
            return self._graph(x)
        before = time.perf_counter()
        result = self._plain(x)
        ms.runtime.synchronize()
        self._seconds[shape] += time.perf_counter() - before
        return result


def for_evaluation(network: SegmentationNetwork, compiled: bool, amp: Level = "off") -> Network:
    """The network as images are scored with it; ``compiled``: sizes that come often may be compiled (on CPU); ``amp``:
    in which precision it computes.
    """
    set_precision(network, amp)
    return CompiledNetwork(network) if compiled and ms.get_context("device_target") == "CPU" else network
