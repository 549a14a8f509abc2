"""Our reader of .ckpt files against MindSpore's, and files that MindSpore's would crash on."""

import mindspore as ms
import numpy as np
import pytest
from mindspore.train.checkpoint_pb2 import Checkpoint

from semiseg.checkpoints.reader import DamagedFile, read_ckpt

VALUES = {
    "floats": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4),
    "half": np.arange(5, dtype=np.float16),
    "double": np.arange(3, dtype=np.float64),
    "long": np.array([[1, -(2**40)]], np.int64),
    "byte": np.arange(7, dtype=np.uint8),
    "flags": np.array([True, False]),
    "one": np.array([3], np.int32),
    "scalar": np.array(2.5, np.float32),
}


@pytest.mark.parametrize("crc", [True, False])
def test_agrees_with_mindspore(tmp_path, crc):
    path = tmp_path / "x.ckpt"
    data = [{"name": name, "data": ms.Tensor(value)} for name, value in VALUES.items()]
    ms.save_checkpoint(data, str(path), append_dict={"note": 'ä "{}" \u4e2d', "lr": 0.5}, crc_check=crc)
    content = read_ckpt(path)
    theirs = ms.load_checkpoint(str(path))
    assert content.checked == crc
    assert content.texts == {"note": theirs.pop("note")}
    assert content.arrays.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(content.arrays[name], value.asnumpy(), strict=True)


def test_bfloat16_becomes_float32(tmp_path):
    path = tmp_path / "x.ckpt"
    values = ms.Tensor(np.array([1.5, -2.0, 3e38], np.float32)).astype(ms.bfloat16)
    ms.save_checkpoint([{"name": "b", "data": values}], str(path))
    np.testing.assert_array_equal(read_ckpt(path).arrays["b"], values.astype(ms.float32).asnumpy(), strict=True)


def entry(message, tag, dims, kind, content):
    value = message.value.add()
    value.tag = tag
    value.tensor.dims.extend(dims)
    value.tensor.tensor_type = kind
    value.tensor.tensor_content = content


def test_a_tensor_in_slices_is_joined(tmp_path):
    message, values = Checkpoint(), np.arange(12, dtype=np.float32)
    entry(message, "w", (3, 4), "Float32", values[:8].tobytes())
    entry(message, "w", (3, 4), "Float32", values[8:].tobytes())
    (tmp_path / "x.ckpt").write_bytes(message.SerializeToString())
    np.testing.assert_array_equal(read_ckpt(tmp_path / "x.ckpt").arrays["w"], values.reshape(3, 4))


@pytest.mark.parametrize(
    ("dims", "kind"),
    [((5, 4), "Float32"), ((-3, -4), "Float32"), ((3, 4), "Float64"), ((3, 4), "Flour32"), ((), "Bool")],
)
def test_shapes_and_types_that_do_not_fit_the_bytes(tmp_path, dims, kind):
    message = Checkpoint()
    entry(message, "w", dims, kind, bytes(48))
    (tmp_path / "x.ckpt").write_bytes(message.SerializeToString())
    with pytest.raises(DamagedFile, match="'w' has 48 bytes"):
        read_ckpt(tmp_path / "x.ckpt")
