"""``mean_teacher``: the CutMix mean teacher, what ``ours`` is without its prototype head."""

from semiseg.common.errors import ConfigError
from semiseg.methods.base import Settings
from semiseg.methods.semi import SemiSupervised
from semiseg.models import SegmentationNetwork


class MeanTeacher(SemiSupervised):
    """The shared base is the method; only a head that would stay untrained is refused."""

    def __init__(self, student: SegmentationNetwork, teacher: SegmentationNetwork, settings: Settings):
        if settings.net.proto_head:
            raise ConfigError("net.proto_head: method mean_teacher does not train a prototype head; set it to null")
        super().__init__(student, teacher, settings)
