"""What every method promises, over random weights, widths and granularities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer
from core.quantizers.registry import METHODS
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 16)
methods = st.sampled_from(sorted(METHODS))
seeds = st.integers(0, 2**31)
quick = settings(max_examples=60, deadline=None)


def random_weight(seed: int, channels: int) -> Tensor:
    """Normal, with outliers, dead channels and constant ones now and then."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(channels, 3, 2, 2, generator=generator) * torch.rand(channels, 1, 1, 1, generator=generator)
    chance = int(torch.randint(0, 6, (), generator=generator))
    if chance == 0:
        weight[0] = 0
    if chance == 1:
        weight[0] = 0.25
    if chance == 2:
        weight[0, 0, 0, 0] = 30.0
    return weight


def weight_quantizer(method: str, bits: int, granularity: str, weight: Tensor) -> WeightQuantizer:
    quantizer = METHODS[method].make_weight_quantizer(bits, granularity, weight.shape[0])
    quantizer.initialise(weight)
    return quantizer


def groups(weight: Tensor, axis: int | None) -> list[Tensor]:
    return [weight.flatten()] if axis is None else [part.flatten() for part in weight.unbind(axis)]


@quick
@given(methods, st.sampled_from(WIDTHS), st.sampled_from(["tensor", "channel"]), seeds, st.integers(1, 5))
def test_weights(method: str, bits: int, granularity: str, seed: int, channels: int) -> None:
    weight = random_weight(seed, channels)
    quantizer = weight_quantizer(method, bits, granularity, weight)
    rounded = quantizer(weight).detach()
    integers = quantizer.integers(weight)
    assert torch.equal(integers.dequantize(), rounded)
    assert integers.codes.dtype == torch.int32
    assert integers.scale.shape == integers.offset.shape == integers.bits.shape == integers.low.shape
    assert integers.axis == (0 if granularity == "channel" else None)
    for part, before, codes in zip(
        groups(rounded, integers.axis),
        groups(weight, integers.axis),
        groups(integers.codes, integers.axis),
        strict=True,
    ):
        assert len(part.unique()) <= 2**bits
        ordered = before.argsort()
        assert torch.all(part[ordered].diff() >= 0), "monotone"
        assert torch.all(codes >= integers.low.min())
        assert torch.all(codes <= integers.high.max())
    assert torch.all((integers.high - integers.low) // integers.step < 2**bits)


@quick
@given(st.sampled_from(WIDTHS[1:]), st.sampled_from(["tensor", "channel"]), seeds)
def test_a_learned_grid_is_a_projection(bits: int, granularity: str, seed: int) -> None:
    weight = random_weight(seed, 3)
    quantizer = weight_quantizer("lsq", bits, granularity, weight)
    once = quantizer(weight).detach()
    assert torch.equal(quantizer(once).detach(), once)


def site(values: Tensor, signed: bool, bits: int) -> SiteRange:
    low, high = code_range(bits, signed)
    widest = max(float(values.max()) / high, float(values.min()) / low if low else 0.0, 1e-6)
    grid = ActivationGrid(scale=float(np.float32(widest)), low=low, high=high)
    lower = min(float(values.min()), 0.0)
    step = float(np.float32((max(float(values.max()), 0.0) - lower + 1e-6) / (2**bits - 1)))
    affine = ActivationGrid(scale=step, zero_point=min(round(-lower / step), 2**bits - 1), low=0, high=2**bits - 1)
    return SiteRange(
        name="t", role="layer", signed=signed, values=values.numel(), minimum=float(values.min()),
        maximum=float(values.max()), mean=float(values.mean()), standard_deviation=float(values.std()),
        grids={bits: grid}, affine_grids={bits: affine},
    )  # fmt: skip


@quick
@given(methods, st.sampled_from(WIDTHS), st.booleans(), seeds)
def test_activations(method: str, bits: int, signed: bool, seed: int) -> None:
    x = torch.randn(4, 30, generator=torch.Generator().manual_seed(seed))
    x = x if signed else x.relu()
    quantizer: ActivationQuantizer = METHODS[method].make_activation_quantizer(bits, signed)
    quantizer.initialise(site(x, signed, bits))
    quantizer.eval()
    rounded, grid = quantizer(x).detach(), quantizer.grid()
    scale = torch.tensor(grid.scale)
    codes = torch.clamp(torch.round(x / scale) + grid.zero_point, grid.low, grid.high)
    assert torch.equal((codes - grid.zero_point) * scale, rounded)
    assert len(rounded.unique()) <= 2**bits
    assert torch.all(rounded.flatten()[x.flatten().argsort()].diff() >= 0)
    assert torch.equal(quantizer(rounded).detach(), rounded)
    assert quantizer(torch.zeros(1, 1)).item() == 0


def test_no_two_methods_are_the_same() -> None:
    """Equal values and equal gradients would mean that one of two cards is a lie."""
    weight = random_weight(3, 4)
    seen: list[tuple[Tensor, Tensor]] = []
    for method in METHODS:
        quantizer = weight_quantizer(method, 3, "channel", weight)
        latent = weight.clone().requires_grad_(True)
        rounded = quantizer(latent)
        rounded.square().sum().backward()
        assert latent.grad is not None
        for value, gradient in seen:
            assert not (torch.equal(value, rounded) and torch.equal(gradient, latent.grad))
        seen.append((rounded.detach(), latent.grad))


@quick
@given(methods, st.lists(st.sampled_from([0, 1, 2, 3, 4, 8]), min_size=2, max_size=6), seeds)
def test_channels_with_widths_of_their_own(method: str, widths: list[int], seed: int) -> None:
    weight = random_weight(seed, len(widths))
    quantizer = METHODS[method].make_weight_quantizer(tuple(widths), "channel", len(widths))
    quantizer.initialise(weight)
    rounded, integers = quantizer(weight).detach(), quantizer.integers(weight)
    assert torch.equal(integers.dequantize(), rounded)
    assert integers.bits.tolist() == widths
    for channel, width in enumerate(widths):
        assert len(rounded[channel].unique()) <= 2**width
        alone = weight_quantizer(method, width, "channel", weight[channel : channel + 1]) if width else None
        expected = torch.zeros_like(weight[channel]) if alone is None else alone(weight[channel : channel + 1])[0]
        assert torch.allclose(rounded[channel], expected.detach(), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_quantized_tensor_spreads_its_scales_along_its_axis(axis: int) -> None:
    codes = torch.ones(2, 2, 1, 1, dtype=torch.int32)
    scale = torch.tensor([1.0, 2.0])
    facts = torch.tensor([8, 8], dtype=torch.int32)
    value = QuantizedTensor(codes, scale, scale * 10, axis, facts, facts, facts, facts).dequantize()
    assert value.select(axis, 1).flatten().tolist() == [22.0, 22.0]
