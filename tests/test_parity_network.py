"""Evaluation outputs of the network against the PyTorch twin with the same weights."""

import dataclasses

import pytest

pytest.importorskip("torch")

from parity_cases import SMALL, difference, evaluation_outputs
from reference.network import NetworkSpec

pytestmark = pytest.mark.parity
OUTPUTS = {"pred", "rep", "aux", "proto"}


def assert_close(found) -> None:
    for name, (ours, single, double) in found.items():
        assert ours.shape == single.shape, name
        assert difference(ours, single) < 1e-5, name
        assert difference(ours, double) < 1e-5, name


@pytest.mark.parametrize("size", [(64, 64), (65, 65), (320, 320), (321, 321), (64, 97), (33, 80)])
def test_logits_and_features_at_even_and_odd_sizes(size):
    found = evaluation_outputs(SMALL, size)
    assert found.keys() == OUTPUTS
    assert_close(found)


def test_a_published_crop_size():
    spec = dataclasses.replace(SMALL, width=4, inner_planes=8)
    assert_close(evaluation_outputs(spec, (513, 513)))


def test_resnet101_with_multi_grid_and_all_heads():
    spec = NetworkSpec(depth=101, num_classes=21, width=8, inner_planes=32, aux=True, prototypes=4)
    found = evaluation_outputs(dataclasses.replace(spec, zero_init_residual=False), (65, 65))
    assert found.keys() == OUTPUTS
    assert_close(found)


def test_image_pooling_with_a_bias_in_place_of_batchnorm():
    found = evaluation_outputs(dataclasses.replace(SMALL, pool_norm=False), (65, 65))
    assert found.keys() == OUTPUTS
    assert_close(found)


def test_resnet50_at_output_stride_16_without_multi_grid():
    spec = NetworkSpec(
        depth=50,
        num_classes=3,
        width=4,
        inner_planes=8,
        replace_stride_with_dilation=(False, False, True),
        multi_grid=None,
        zero_init_residual=False,
    )
    found = evaluation_outputs(spec, (81, 70))
    assert found.keys() == {"pred", "rep"}
    assert_close(found)
