"""Names for the outputs of an ONNX file: MindSpore numbers them.

What is renamed is read by its field numbers in ONNX's public schema (onnx.proto, stable since its first version); all
other fields pass through protobuf as they are.
"""

from collections.abc import Sequence
from functools import cache

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_PACKAGE = "semiseg.onnx_names"
# Message -> field -> (number, message; "" for text). All but the graph are repeated.
_FIELDS = {
    "Model": {"graph": (7, "Graph")},
    "Graph": {"node": (1, "Node"), "output": (12, "Value")},
    "Node": {"input": (1, ""), "output": (2, "")},
    "Value": {"name": (1, "")},
}
_SINGLE = ("graph", "name")


def with_output_names(content: bytes, names: Sequence[str]) -> bytes:
    """The same ONNX file whose outputs are called ``names``, in order."""
    model = _model_class().FromString(content)
    graph = model.graph
    new = dict(zip((value.name for value in graph.output), names, strict=True))
    for value in graph.output:
        value.name = new[value.name]
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new.get(name, name) for name in ends]
    return model.SerializeToString()


@cache
def _model_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="semiseg_onnx_names.proto", package=_PACKAGE, syntax="proto2")
    field_type = descriptor_pb2.FieldDescriptorProto
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            label = field_type.LABEL_OPTIONAL if name in _SINGLE else field_type.LABEL_REPEATED
            field = described.field.add(name=name, number=number, label=label)
            field.type = field_type.TYPE_MESSAGE if kind else field_type.TYPE_STRING
            if kind:
                field.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
