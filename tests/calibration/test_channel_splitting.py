"""Channels that are read twice, at half their size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from deploy_networks import load, make_images, uniform_policy
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import as_loaded, largest_difference, networks, random_images
from torch import Tensor, fx, nn

from core.calibration.calibration import calibrate
from core.calibration.channel_splitting import (
    _divided,
    divide_in_steps,
    parents_of,
    split_activations,
    split_weights,
)
from core.calibration.quantize import quantize
from core.errors import InvalidInput
from core.graph.loaded_model import LoadedModel
from core.graph.split_channels import origins, shares_of
from core.hardware.cost import size_bytes
from core.jobs.specification import QuantizerChoice
from core.quantizers.registry import METHODS


@settings(max_examples=20)
@given(networks(), st.sampled_from([0.02, 0.1, 0.5]))
@torch.no_grad()
def test_a_split_network_computes_the_same(loaded: LoadedModel, ratio: float) -> None:
    x = random_images()
    for split in (split_weights(loaded, ratio), split_activations(loaded, ratio)):
        assert largest_difference(split.module(x), loaded.module(x)) < 1e-4
    both = split_weights(split_activations(loaded, ratio), ratio)
    assert largest_difference(both.module(x), loaded.module(x)) < 1e-4


def test_the_largest_channel_is_found_anew_for_each_split() -> None:
    assert parents_of(np.array([1.0, 8.0, 5.0]), 4) == [1, 2, 1, 3]  # 8 -> 4 4, 5 -> 2.5 2.5, then both fours
    assert origins([1, 2, 1, 3], 3) == [0, 1, 2, 1, 2, 1, 1]
    assert shares_of([1, 2, 1, 3], 3) == [1, 0.25, 0.5, 0.25, 0.5, 0.25, 0.25]


def test_a_large_negative_weight_is_large() -> None:
    loaded = as_loaded(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    loaded.module.get_submodule("2").weight.data[1, 3] = -9.0
    split = split_weights(loaded, 0.01).module.get_submodule("2")
    assert split.weight[1].flatten()[[3, 4]].tolist() == [-4.5, -4.5]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=4), st.integers(0, 4), st.floats(0.1, 3))
def test_halves_in_steps_round_to_what_the_whole_rounds_to(values: list[float], splits: int, step: float) -> None:
    """On a grid without ends, and but for ties, which one rounding of several settles."""
    weight = torch.tensor(values, dtype=torch.float64)
    weight = torch.where((weight / step % 1 - 0.5).abs() < 1e-6, weight + step / 4, weight)
    parents = parents_of(weight.abs().numpy(), splits)
    halves = weight[origins(parents, len(values))] * torch.tensor(shares_of(parents, len(values)))
    parts = _divided(halves.view(1, -1, 1), parents, torch.tensor([[step]], dtype=torch.float64)).flatten()
    codes = torch.zeros_like(weight).index_add(
        0, torch.tensor(origins(parents, len(values))), torch.floor(parts / step + 0.5)
    )
    assert torch.equal(codes, torch.floor(weight / step + 0.5))
    sums = torch.zeros_like(weight).index_add(0, torch.tensor(origins(parents, len(values))), parts)
    assert torch.allclose(sums, weight)


def layers_around(ratio: float, activations: bool) -> tuple[LoadedModel, LoadedModel]:
    loaded = load("residual")
    return loaded, split_activations(loaded, ratio) if activations else split_weights(loaded, ratio)


@pytest.mark.parametrize("activations", [False, True])
def test_all_see_the_larger_layer_and_the_first_stays(activations: bool) -> None:
    loaded, split = layers_around(0.1, activations)
    for before, after in zip(loaded.inventory.layers, split.inventory.layers, strict=True):
        channels = before.input_shape[0]
        added = 0 if before.name == "stem" else math.ceil(0.1 * channels)
        assert after.input_shape[0] == after.weight_shape[1] == channels + added
        assert after.macs == before.macs * (channels + added) // channels
        assert (after.batch_norm, after.reads_signed) == (before.batch_norm, before.reads_signed)
    policy, larger = uniform_policy(loaded, 4, 4), uniform_policy(split, 4, 4)
    assert size_bytes(split.inventory.layers, larger) > size_bytes(loaded.inventory.layers, policy)


def test_layers_with_groups_stay_whole_and_a_network_without_any_other_is_refused() -> None:
    split = split_weights(load("depthwise"), 0.1)
    assert split.inventory.layer("depth").weight_shape == (12, 1, 3, 3)
    assert split.inventory.layer("project").weight_shape == (6, 14, 1, 1)
    grouped = as_loaded(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=4)))
    with pytest.raises(InvalidInput, match="channels split"):
        split_weights(grouped, 0.1)


def test_each_reader_of_a_tensor_has_a_selection_of_its_own() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.relu = nn.Conv2d(3, 4, 1), nn.ReLU()
            self.left, self.right = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.stem(x))
            return torch.add(self.left(x), self.right(x))

    loaded = as_loaded(Fork())
    for name, channel in (("left", 0), ("right", 2)):
        loaded.module.get_submodule(name).weight.data[0, channel] = 5.0
    split = split_weights(loaded, 0.1)
    index = {name: split.module.get_buffer(f"channel_splits.{name}_weights.index") for name in ("left", "right")}
    assert index["left"].tolist() == [0, 1, 2, 3, 0]
    assert index["right"].tolist() == [0, 1, 2, 3, 2]
    assert split.inventory.layer("left").reads != split.inventory.layer("right").reads
    x = random_images()
    assert largest_difference(split.module(x), loaded.module(x)) < 1e-6


def quantized(loaded: LoadedModel, method: str, bits: int) -> fx.GraphModule:
    granularity = "tensor" if "tensor" in METHODS[method].card.granularities else "channel"
    choice = QuantizerChoice.model_validate({"method": method, "granularity": granularity})
    return quantize(loaded, uniform_policy(loaded, bits, bits), calibrate(loaded, [make_images()]), choice)


def test_quantized_halves_add_up_to_the_quantized_whole() -> None:
    """Where the grid is wide enough to clip nothing: then a split costs no accuracy at the same step."""
    split = split_weights(load("residual"), 0.25)
    model = quantized(split, "lsq", 8)
    layer, index = model.get_submodule("second"), model.get_buffer("channel_splits.second_weights.index")
    codes = layer.weight_quantizer.integers(layer.layer.weight)
    whole = torch.zeros((16, 16, 3, 3)).index_add(1, index, codes.codes.float())
    exact = load("residual").module.get_submodule("second").weight / codes.scale
    clipped = codes.codes.abs().flatten(1).amax() >= 127
    within = (whole - exact).abs() <= 0.5 + 1e-3
    assert within.float().mean() > 0.99 if clipped else within.all()


def test_activations_are_divided_in_steps_of_their_own_grid() -> None:
    loaded, images = load("residual"), make_images()
    largest = {layer.name: [1.0] * (layer.input_shape[0] - 1) + [4.0] for layer in loaded.inventory.layers}
    split = split_activations(loaded, 0.1, largest)
    model = quantized(split, "lsq", 4)
    shift = model.get_buffer("channel_splits.second_activations.shift").flatten()
    step = next(
        module.grid().scale
        for name, module in model.named_modules()
        if name == f"activation_quantizers.{split.inventory.layer('second').reads}"
    )
    assert shift[:15].tolist() == [0] * 15
    assert torch.allclose(shift[15:] / step, torch.tensor([-0.375, 0.25, 0.125]))  # split, and the first half again
    assert torch.isfinite(model(images)).all()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_quantizes_a_split_network_and_dividing_in_steps_changes_no_sum(method: str) -> None:
    split = split_weights(split_activations(load("residual"), 0.1), 0.1)
    model = quantized(split, method, 4)
    assert torch.isfinite(model(make_images())).all()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    divide_in_steps(model)  # again: sums decide, so nothing moves any more
    for name, value in model.state_dict().items():
        assert torch.allclose(value, before[name], atol=1e-5), name


def test_a_lower_range_lowers_the_error_at_few_bits() -> None:
    """One outlying input channel, one scale for the tensor, four bits."""
    torch.manual_seed(0)
    loaded = as_loaded(nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 8, 1)))
    loaded.module.get_submodule("2").weight.data[:, 5] *= 6
    x = random_images(32)
    errors = []
    for network in (loaded, split_weights(loaded, 0.05), split_weights(loaded, 0.15)):
        policy = uniform_policy(network, 4, 8)
        choice = QuantizerChoice(method="lsq", granularity="tensor")
        with torch.no_grad():
            error = quantize(network, policy, calibrate(network, [x]), choice)(x) - loaded.module(x)
        errors.append(error.square().mean().item())
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < errors[1]
