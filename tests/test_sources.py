"""Training images by index: what is read and what decides the augmentation."""

import numpy as np
import pytest
from tiny import write_voc

from semiseg.common.errors import DataError
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.sources import ImageSource
from semiseg.data.specs import get_spec
from semiseg.data.transforms import TrainTransform


@pytest.fixture
def dataset(tmp_path):
    write_voc(tmp_path, {"labeled": 3}, (30, 40), 6, "3")
    return SegmentationDataset(get_spec("synthetic"), tmp_path, [f"labeled_{i:03}" for i in range(3)])


def source(dataset, seed=1, purpose="paste"):
    return ImageSource(dataset, TrainTransform((20, 24)), seed, purpose)


def test_seed_purpose_and_keys_decide_what_is_drawn(dataset):
    first = source(dataset).read(2, 7, 0)
    assert first[0].shape == (3, 20, 24)
    assert first[1].shape == (20, 24)
    assert all(np.array_equal(a, b) for a, b in zip(first, source(dataset).read(2, 7, 0), strict=True))
    for other in (
        source(dataset).read(2, 7, 1),
        source(dataset, 2).read(2, 7, 0),
        source(dataset, 1, "x").read(2, 7, 0),
    ):
        assert not np.array_equal(first[0], other[0])


def test_places_are_indices_of_ids(dataset):
    assert len(source(dataset)) == 3
    assert source(dataset).indices_of(["labeled_002", "labeled_000"]) == [2, 0]


def test_an_image_that_is_gone_is_named(dataset):
    dataset.image_path(1).unlink()
    with pytest.raises(DataError, match=r"labeled_001\.jpg"):
        source(dataset).read(1, 0)
