"""``suponly``: the labelled images alone, the baseline of every table. Scored on EMA weights, as the other methods."""

from semiseg.common.errors import ConfigError
from semiseg.methods.base import Method, Settings
from semiseg.models import SegmentationNetwork


class Supervised(Method):
    """The base class is the supervised method; only heads that would stay untrained are refused."""

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        if settings.net.proto_head:
            raise ConfigError("net.proto_head: method suponly does not train a prototype head; set it to null")
        super().__init__(student, teacher, settings)
