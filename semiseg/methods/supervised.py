"""``suponly``: the labelled images alone, the baseline of every table. Scored on EMA weights, as the other methods.

Published supervised runs score the network itself: ``net.ema_decay: 0`` makes the average that.
"""

from semiseg.methods.context import RunContext
from semiseg.methods.teacher import WithTeacher


class Supervised(WithTeacher):
    """The base class learns from labels; only a head that would stay untrained is refused."""

    def __init__(self, context: RunContext):
        super().__init__(context)
        self.refuse_proto_head("suponly")
