"""Every method, at every width, in every kind of network: exported, run and unpacked, it is the network as trained."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from deploy_networks import NETWORKS, Quantized, quantized, uniform_policy
from exported_point import qdq_parity
from method_cases import granularities

from core.deploy.activation_grids import grids_by_name, site_grids
from core.deploy.deploy_layers import deploy_layers
from core.deploy.onnx_qdq import export_onnx_qdq
from core.deploy.packed import export_packed
from core.deploy.packed_reader import read_packed
from core.deploy.parity.records import Comparison
from core.graph.loaded_model import LoadedModel
from core.hardware.cost import size_bytes
from core.policy import LayerBits, Policy
from core.quantizers.base import WeightQuantizer
from core.quantizers.registry import METHODS

MIXED = (8, 0, 2, 4, 1, 3)


def _chosen(method: str, bits: int, offered: tuple[int, ...]) -> int:
    """The width, or the method's nearest above it."""
    return min(width for width in (*offered, 16) if width >= bits)


def _policy(loaded: LoadedModel, method: str, bits: int) -> Policy:
    card = METHODS[method].card
    return uniform_policy(loaded, _chosen(method, bits, card.weight_bits), _chosen(method, bits, card.activation_bits))


@lru_cache
def _quantized(method: str, network: str, bits: int) -> Quantized:
    return quantized(network, lambda loaded: _policy(loaded, method, bits), method, granularities(method)[-1])


def _step_of_output(case: Quantized) -> float:
    """What one step of the classifier's input is worth in the output."""
    grids = {site.name: site for site in site_grids(case.model).values()}
    grid = grids[case.loaded.inventory.layer("classifier").reads].grid
    levels = grid.values(np.array(grid.levels or (grid.low, grid.low + 1), np.int32))
    weight = case.model.get_submodule("classifier").quantized_weight()
    return float(np.diff(levels).max()) * weight.abs().max().item()


def _assert_same(case: Quantized, parity: Comparison) -> None:
    assert parity.images == len(case.images)
    assert parity.not_finite == 0
    assert parity.agreement is not None
    assert parity.agreement * parity.images >= parity.images - 1  # scores closer than a step may change places
    assert parity.mean_abs_difference <= _step_of_output(case) / 8
    assert parity.max_abs_difference <= _step_of_output(case) * 8  # a value half way between two levels, further in


def _cases() -> list[tuple[str, int, str]]:
    """Networks take turns: each method meets each of them."""
    return [
        (method, bits, list(NETWORKS)[(place + turn) % len(NETWORKS)])
        for place, method in enumerate(METHODS)
        for turn, bits in enumerate((8, 4, 3, 2, 1))
    ]


@pytest.mark.parametrize(("method", "bits", "network"), _cases())
def test_the_exported_files_are_the_network_as_trained(method: str, bits: int, network: str, tmp_path: Path) -> None:
    case = _quantized(method, network, bits)
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, tmp_path / "m.onnx")
    _assert_same(case, qdq_parity(case, tmp_path / "m.onnx"))
    _assert_packed_is_the_network(case, tmp_path / "m.safetensors")


def _assert_packed_is_the_network(case: Quantized, path: Path) -> None:
    size = export_packed(case.model, case.loaded.inventory, case.policy, path)
    file = read_packed(path)
    for layer in deploy_layers(case.model):
        assert layer.integers is not None
        np.testing.assert_array_equal(file[layer.name].values(), layer.integers.values())
        np.testing.assert_array_equal(file[layer.name].codes(), layer.integers.codes)
    x = torch.randn(200, generator=torch.Generator().manual_seed(1)).numpy() * 3
    for name, site in grids_by_name(case.model).items():
        grid, stored = site.grid, file.activations[name]
        np.testing.assert_array_equal(stored.values(stored.codes(x)), grid.values(grid.codes(x)))
    layers = case.loaded.inventory.layers
    blocks = sum(len({*bits.weights}) if isinstance(bits.weights, tuple) else 1 for bits in case.policy.layers.values())
    assert size.policy_bytes == size_bytes(layers, case.policy)
    assert 0 <= size.weight_bytes - size.policy_bytes < blocks
    assert size.file_bytes == path.stat().st_size


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if "kernel" in each.card.granularities])
@pytest.mark.parametrize("network", ["concat", "depthwise"])
def test_channels_of_different_widths(method: str, network: str, tmp_path: Path) -> None:
    """Pruned ones among them; a transposed, a grouped and a depthwise convolution."""
    offered = [width for width in MIXED if width in (0, *METHODS[method].card.weight_bits)]
    case = quantized(
        network, lambda loaded: uniform_policy(loaded, tuple(offered), 8), method, granularities(method)[-1]
    )
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, tmp_path / "m.onnx")
    _assert_same(case, qdq_parity(case, tmp_path / "m.onnx"))
    _assert_packed_is_the_network(case, tmp_path / "m.safetensors")


def test_a_layer_that_is_pruned_entirely(tmp_path: Path) -> None:
    def policy(loaded: LoadedModel) -> Policy:
        uniform = uniform_policy(loaded, 4, 4)
        return Policy(layers={**uniform.layers, "second": LayerBits(weights=(0,) * 16, activations=4)})

    case = quantized("residual", policy)
    export_onnx_qdq(case.model, case.loaded.inventory, case.policy, tmp_path / "m.onnx")
    _assert_same(case, qdq_parity(case, tmp_path / "m.onnx"))
    _assert_packed_is_the_network(case, tmp_path / "m.safetensors")
    assert len(read_packed(tmp_path / "m.safetensors")["second"].packed) == 0


@pytest.mark.parametrize("method", METHODS)
def test_training_starts_from_the_methods_own_latent_weight(method: str) -> None:
    case = _quantized(method, "residual", 4)
    for layer in case.loaded.inventory.layers:
        exact = case.loaded.module.get_submodule(layer.name).weight.detach()
        quantized_layer = case.model.get_submodule(layer.name)
        quantizer = quantized_layer.weight_quantizer
        assert isinstance(quantizer, WeightQuantizer)
        assert torch.equal(quantized_layer.layer.weight, quantizer.starting_weight(exact))
