"""What is said of runs that start from random weights."""

from pathlib import Path

from semiseg.data.specs import get_spec
from semiseg.data.weights import random_weights_warning


def test_without_pretrained_weights_only_published_data_sets_are_warned_of():
    pascal, synthetic = (get_spec(name) for name in ("pascal", "synthetic"))
    assert "stay far below every published table of pascal" in random_weights_warning(pascal, None)
    assert random_weights_warning(pascal, Path("resnet101.pth")) == ""
    assert random_weights_warning(synthetic, None) == ""
