"""Methods by name. A new one: a file with a subclass of ``Method``, a line here, a YAML in experiments/_base."""

from semiseg.common.errors import ConfigError
from semiseg.common.text import did_you_mean
from semiseg.methods.ael.method import AEL
from semiseg.methods.base import Method
from semiseg.methods.context import RunContext
from semiseg.methods.fixmatch import FixMatch
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.methods.prototype import PrototypeConsistency
from semiseg.methods.supervised import Supervised
from semiseg.methods.u2pl.method import U2PL
from semiseg.methods.unimatch import UniMatch

__all__ = ["METHODS", "Method", "RunContext", "get_method"]

METHODS: dict[str, type[Method]] = {
    "suponly": Supervised,
    "mean_teacher": MeanTeacher,
    "u2pl": U2PL,
    "ael": AEL,
    "ours": PrototypeConsistency,
    "fixmatch": FixMatch,
    "unimatch": UniMatch,
}


def get_method(name: str, proto_head: bool = True) -> type[Method]:
    """The class of a method; ``ours`` without its prototype head is the mean teacher. ConfigError: unknown name."""
    if name == "ours" and not proto_head:
        return MeanTeacher
    if name not in METHODS:
        raise ConfigError(f"method: unknown method {name!r}{did_you_mean(name, METHODS)}")
    return METHODS[name]
