"""The names that published checkpoints use: the network's own, behind ``module.``."""

from mindspore import Parameter

from semiseg.models import SegmentationNetwork

PREFIX = "module."


def published_arrays(network: SegmentationNetwork) -> dict[str, Parameter]:
    """A network's parameters under the published names, ready to be saved as best.ckpt."""
    return {PREFIX + name: parameter for name, parameter in network.parameters_and_names()}
