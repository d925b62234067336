"""The networks of the benchmarks against published counts of their parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.networks import (
    mobilenet_v2,
    mobilenet_v3_large,
    mobilenet_v3_small,
    resnet18,
    resnet50,
    squeezenet,
)
from core.graph.inventory import Layer

# Torchvision's tables of its ImageNet weights: parameters to the unit, multiply-accumulates to 10 million.
PUBLISHED = {
    resnet18: (21, 11_689_512, 1.81),
    resnet50: (54, 25_557_032, 4.09),
    squeezenet: (26, 1_248_424, 0.82),
    mobilenet_v2: (53, 3_504_872, 0.30),
    mobilenet_v3_large: (64, 5_483_032, 0.22),
    mobilenet_v3_small: (54, 2_542_856, 0.06),
}


def parameters(layers: list[Layer]) -> int:
    """Weights and biases, and the scale and shift of the batch norm behind each layer that has no bias."""
    behind = sum(2 * layer.output_channels for layer in layers if not layer.bias_parameters)
    return behind + sum(layer.parameters + layer.bias_parameters for layer in layers)


@pytest.mark.parametrize("network", PUBLISHED)
def test_a_networks_counts_are_the_published_ones(network: Callable[[], list[Layer]]) -> None:
    layers, (count, published_parameters, published_gmacs) = network(), PUBLISHED[network]
    assert len(layers) == count
    assert parameters(layers) == published_parameters
    assert round(sum(layer.macs for layer in layers) / 1e9, 2) == published_gmacs


@pytest.mark.parametrize("network", PUBLISHED)
def test_a_layers_own_counts_follow_from_its_shapes(network: Callable[[], list[Layer]]) -> None:
    for layer in network():
        pixels = layer.output_shape[1] * layer.output_shape[2] if layer.kind == "conv2d" else 1
        assert layer.macs == layer.parameters * pixels
        assert layer.weight_shape[0] == layer.output_channels
        assert layer.weight_shape[1] * layer.groups == layer.input_shape[0]


@pytest.mark.parametrize("network", PUBLISHED)
def test_names_are_unique(network: Callable[[], list[Layer]]) -> None:
    names = [layer.name for layer in network()]
    assert len(set(names)) == len(names)
