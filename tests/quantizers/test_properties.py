"""What every method promises, over random weights, widths, granularities and settings."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_cases import (
    activation_quantizer,
    activation_widths,
    edges,
    granularities,
    random_tensor,
    random_weight,
    seeds,
    site,
    trained,
    variants,
    weight_quantizer,
    weight_widths,
)
from torch import Tensor, nn

from core.quantizers.base import ActivationQuantizer, QuantizedTensor, WeightQuantizer
from core.quantizers.method import PLAIN_BITS
from core.quantizers.registry import METHODS
from core.quantizers.rescaled import AdjustedScaleWeightQuantizer, RestoredScaleWeightQuantizer

NO_ZERO_ACTIVATION = {"lsq-plus", "dsq"}  # their papers learn an offset
by_method = pytest.mark.parametrize("method", METHODS)
quick = settings(max_examples=30, deadline=None)


def groups(weight: Tensor, axis: int | None) -> list[Tensor]:
    return [weight.flatten()] if axis is None else [part.flatten() for part in weight.unbind(axis)]


def assert_integers_are_the_weight(quantizer: WeightQuantizer, weight: Tensor) -> QuantizedTensor:
    """They re-create it to the bit, lie on the grid that they state, and are as few as their bits allow."""
    rounded, integers = quantizer(weight).detach(), quantizer.integers(weight)
    assert torch.equal(integers.dequantize(), rounded)
    assert torch.isfinite(rounded).all()
    assert integers.codes.dtype == torch.int32
    assert integers.scale.shape == integers.offset.shape == integers.bits.shape
    assert integers.low.shape == integers.high.shape == integers.step.shape == integers.bits.shape
    if integers.levels is not None:
        assert torch.isin(integers.codes, integers.levels).all()
        assert (integers.levels.diff() > 0).all()
        assert len(integers.levels) <= 2 ** int(integers.bits.max())
        return integers
    parts = zip(groups(integers.codes, integers.axis), integers.low.view(-1), integers.high.view(-1), strict=True)
    for step, (codes, low, high) in zip(integers.step.view(-1), parts, strict=True):
        assert ((codes >= low) & (codes <= high) & ((codes - low) % step == 0)).all()
    assert ((integers.high - integers.low) // integers.step < 2**integers.bits).all()
    return integers


def assert_monotone(after: Tensor, before: Tensor) -> None:
    ordered = before.flatten().argsort(stable=True)
    assert (after.flatten()[ordered].diff() >= 0).all()


@by_method
@quick
@given(data=st.data(), seed=seeds, channels=st.integers(1, 5))
def test_weights(method: str, data: st.DataObject, seed: int, channels: int) -> None:
    configured = data.draw(st.sampled_from(variants(method)))
    bits = data.draw(st.sampled_from(weight_widths(method)))
    granularity = data.draw(st.sampled_from(granularities(method)))
    weight = random_weight(seed, channels)
    quantizer, start = weight_quantizer(configured, bits, granularity, weight)
    assert start.shape == weight.shape
    for latent in (start, trained(start, seed)):
        integers = assert_integers_are_the_weight(quantizer, latent)
        assert integers.axis == (0 if granularity == "channel" else None)
        rounded = quantizer(latent).detach()
        for part, before in zip(groups(rounded, integers.axis), groups(latent, integers.axis), strict=True):
            assert len(part.unique()) <= 2**bits
            assert_monotone(part, before)


@by_method
@quick
@given(data=st.data(), seed=seeds)
def test_the_integers_are_those_of_training_mode_too(method: str, data: st.DataObject, seed: int) -> None:
    bits = data.draw(st.sampled_from(weight_widths(method)))
    quantizer, latent = weight_quantizer(METHODS[method], bits, granularities(method)[-1], random_weight(seed, 3))
    quantizer.train()
    for step in range(3):
        rounded = quantizer(trained(latent, seed + step)).detach()
        assert torch.equal(quantizer.integers(trained(latent, seed + step)).dequantize(), rounded)


@by_method
@quick
@given(data=st.data(), seed=seeds, signed=st.booleans())
def test_activations(method: str, data: st.DataObject, seed: int, signed: bool) -> None:
    configured = data.draw(st.sampled_from(variants(method)))
    bits = data.draw(st.sampled_from(activation_widths(method)))
    x = random_tensor(seed, signed)
    quantizer = activation_quantizer(configured, bits, signed, x)
    assert_the_grid_is_what_forward_computes(quantizer, x, bits)
    grid = quantizer.grid()
    codes = torch.tensor(grid.levels or range(grid.low, grid.high + 1), dtype=torch.int32)
    has_zero = 0 in grid.values(codes.numpy())
    assert has_zero or method in NO_ZERO_ACTIVATION
    if has_zero:
        assert quantizer(torch.zeros(1, 1)).item() == 0


def assert_the_grid_is_what_forward_computes(quantizer: ActivationQuantizer, x: Tensor, bits: int) -> None:
    grid = quantizer.grid()
    for values in (x, edges(grid).view(1, -1)):
        rounded = quantizer(values).detach()
        assert torch.equal(torch.from_numpy(grid.values(grid.codes(values.numpy()))), rounded)
        assert len(rounded.unique()) <= 2**bits
        assert_monotone(rounded, values)


@by_method
@pytest.mark.parametrize("side", ["weights", "activations"])
def test_a_map_is_a_projection_exactly_where_its_card_says_so(method: str, side: str) -> None:
    """From two bits on, with statistics frozen: one bit is the same few maps in all methods."""
    card = METHODS[method].card
    offered = card.weight_bits if side == "weights" else card.activation_bits
    kept = all(_is_kept(method, side, bits, seed) for bits in offered if bits > 1 for seed in range(20))
    assert kept == (card.projects_weights if side == "weights" else card.projects_activations)


def _is_kept(method: str, side: str, bits: int, seed: int) -> bool:
    if side == "weights":
        weight = random_weight(seed, 3)
        quantizer, latent = weight_quantizer(METHODS[method], bits, granularities(method)[seed % 2 - 1], weight)
    else:
        latent = random_tensor(seed, bool(seed % 2))
        quantizer = activation_quantizer(METHODS[method], bits, bool(seed % 2), latent)
    for parameter in quantizer.parameters():  # some training later
        parameter.data.mul_(0.9)
    quantizer.project()
    once = quantizer(latent).detach()
    return torch.equal(quantizer(once).detach(), once)


@by_method
def test_the_card_describes_the_weight_grid(method: str) -> None:
    card = METHODS[method].card
    zero, lowest, even = set(), set(), set()
    for bits in (width for width in card.weight_bits if width > 1):
        for granularity in granularities(method):
            for seed in range(5):
                quantizer, latent = weight_quantizer(METHODS[method], bits, granularity, random_weight(seed, 3))
                integers = quantizer.integers(latent)
                even.add(integers.levels is None or len(integers.levels.diff().unique()) == 1)
                zero.add(_holds_zero(integers))
                lowest.add(bool((integers.low == -(2 ** (bits - 1))).all()))
    assert card.uniform == (even == {True})
    assert card.zero_level == (zero == {True})
    assert card.lowest_level == (lowest == {True})


def _holds_zero(integers: QuantizedTensor) -> bool:
    if integers.offset.any():
        return False
    if integers.levels is not None:
        return 0 in integers.levels
    return bool(((integers.low <= 0) & (integers.high >= 0) & (integers.low % integers.step == 0)).all())


@by_method
def test_the_card_says_whether_weights_leave_their_scale(method: str) -> None:
    errors = []
    for seed, size in ((10, 0.02), (11, 0.3), (12, 4.0)):
        weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(seed)) * size
        bits = max(METHODS[method].card.weight_bits)
        quantizer, latent = weight_quantizer(METHODS[method], bits, granularities(method)[0], weight)
        errors.append(float((quantizer(latent).detach() - weight).norm() / weight.norm()))
    assert METHODS[method].card.needs_following_normalisation == (max(errors) > 0.25), errors


@by_method
@quick
@given(data=st.data(), seed=seeds)
def test_learned_values_come_back_to_where_they_are_allowed(method: str, data: st.DataObject, seed: int) -> None:
    """A step of the optimiser may throw them anywhere."""
    place = data.draw(st.sampled_from([-5.0, 0.0, 5.0]))
    signed = data.draw(st.booleans())
    weight, x = random_weight(seed, 3), random_tensor(seed, signed)
    weight_bits = data.draw(st.sampled_from(weight_widths(method)))
    weights, latent = weight_quantizer(METHODS[method], weight_bits, granularities(method)[-1], weight)
    bits = data.draw(st.sampled_from(activation_widths(method)))
    activations = activation_quantizer(METHODS[method], bits, signed, x)
    for quantizer in (weights, activations):
        for parameter in quantizer.parameters():
            nn.init.constant_(parameter, place)
        quantizer.project()
    assert_integers_are_the_weight(weights, latent)
    assert_the_grid_is_what_forward_computes(activations, x, bits)


def kernel_wise(names: list[str]) -> list[str]:
    return [name for name in names if "kernel" in METHODS[name].card.granularities]


def test_every_uniform_method_takes_a_width_per_channel() -> None:
    assert kernel_wise(list(METHODS)) == [name for name, method in METHODS.items() if method.card.uniform]


@pytest.mark.parametrize("method", kernel_wise(list(METHODS)))
@quick
@given(data=st.data(), seed=seeds)
def test_channels_with_widths_of_their_own(method: str, data: st.DataObject, seed: int) -> None:
    """Channels of one width are rounded as if they were alone; 0 bits is a pruned channel."""
    offered = [0, *weight_widths(method)]
    widths = data.draw(st.lists(st.sampled_from(offered), min_size=2, max_size=6))
    granularity = data.draw(st.sampled_from(granularities(method)))
    weight = random_weight(seed, len(widths))
    quantizer, latent = weight_quantizer(METHODS[method], tuple(widths), granularity, weight)
    integers = assert_integers_are_the_weight(quantizer, latent)
    rounded = quantizer(latent).detach()
    assert integers.bits.tolist() == widths
    assert integers.axis == 0
    for width in set(widths):
        chosen = [channel for channel, bits in enumerate(widths) if bits == width]
        if width == 0:
            assert not rounded[chosen].any()
            continue
        alone, start = weight_quantizer(METHODS[method], width, granularity, weight[chosen])
        assert torch.equal(latent[chosen], start)
        assert torch.equal(rounded[chosen], alone(start).detach())


@by_method
@quick
@given(data=st.data(), seed=seeds)
def test_a_factor_behind_the_quantizer(method: str, data: st.DataObject, seed: int) -> None:
    """Without a batch norm a method's scale comes back, or is adjusted as SAT does; the integers stay."""
    bits = data.draw(st.sampled_from(METHODS[method].card.weight_bits))
    granularity = data.draw(st.sampled_from(granularities(method)))
    adjusts = data.draw(st.sampled_from([None, True, False]))
    configured = METHODS[method].configured({}, adjusts)
    weight = random_weight(seed, 4)
    quantizer, start = weight_quantizer(configured, bits, granularity, weight, normalised=False)
    latent = trained(start, seed)
    integers = assert_integers_are_the_weight(quantizer, latent)
    assert isinstance(quantizer, AdjustedScaleWeightQuantizer) == configured.adjusts_scale
    if isinstance(quantizer, AdjustedScaleWeightQuantizer):
        rounded = quantizer(latent).detach()
        assert not rounded.any() or rounded.std().item() == pytest.approx((4 * 2 * 2) ** -0.5, rel=1e-4)
    elif configured.card.needs_following_normalisation:
        assert isinstance(quantizer, RestoredScaleWeightQuantizer)
        rounded = quantizer(start).detach()
        error = ((weight - rounded) * rounded).sum() / rounded.square().sum().clamp_min(1e-12)
        assert abs(error) < 1e-4, "another factor would be closer"
    inner, _ = weight_quantizer(configured, bits, granularity, weight)
    assert torch.equal(inner.integers(latent).codes, integers.codes)


@pytest.mark.parametrize("method", kernel_wise(list(METHODS)))
def test_channels_of_every_width_come_back_to_their_own_scale(method: str) -> None:
    """A group of channels of one width leaves its scale by a factor of its own."""
    weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(4)) * 0.1
    weight[::2] *= 4
    widths = (4, 8) * 4
    configured = METHODS[method].configured({}, scale_adjustment=False)
    quantizer, latent = weight_quantizer(configured, widths, granularities(method)[0], weight, normalised=False)
    assert_integers_are_the_weight(quantizer, latent)
    error = (quantizer(latent).detach() - weight).flatten(1).norm(dim=1) / weight.flatten(1).norm(dim=1)
    assert error.max() < 0.6


@by_method
@pytest.mark.parametrize("adjusts", [None, True])
def test_a_factor_has_no_gradient_of_its_own(method: str, adjusts: bool | None) -> None:
    configured, weight = METHODS[method].configured({}, adjusts), random_weight(3, 4)
    back = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    with_factor, latent = weight_quantizer(configured, 4, granularities(method)[0], weight, normalised=False)
    without, _ = weight_quantizer(configured, 4, granularities(method)[0], weight)
    found, plain = (_gradients(each, latent, back)[0] for each in (with_factor, without))
    if with_factor.integers(latent).scale.equal(without.integers(latent).scale):
        assert torch.equal(found, plain)
    else:
        factor = (with_factor.integers(latent).scale / without.integers(latent).scale).mean()
        torch.testing.assert_close(found, plain * factor, rtol=1e-4, atol=1e-5)  # BCGD's pull has no factor


def _gradients(quantizer: nn.Module, x: Tensor, back: Tensor) -> list[Tensor]:
    """Of the input, and of all that is learned, in order."""
    quantizer.zero_grad()
    leaf = x.detach().clone().requires_grad_(True)
    quantizer(leaf).backward(back)
    assert leaf.grad is not None
    return [leaf.grad, *(parameter.grad for parameter in quantizer.parameters() if parameter.grad is not None)]


def fingerprint(method: str, widths: tuple[int, ...]) -> list[Tensor]:
    """Values, gradients and gradients of what is learned, of weights and activations, at these widths."""
    found = []
    back = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    for bits in widths:
        weight = random_weight(3, 4)
        for normalised in (True, False):
            quantizer, latent = weight_quantizer(METHODS[method], bits, "tensor", weight, normalised=normalised)
            found += [quantizer(latent).detach(), *_gradients(quantizer.train(), trained(latent, 5), back)]
        for signed in (False, True):
            x = random_tensor(4, signed)
            rounder = activation_quantizer(METHODS[method], bits, signed, x)
            found += [rounder(x).detach(), *_gradients(rounder.train(), x * 1.3, x.flip(0) - 0.4)]
    return found


known_fingerprint = lru_cache(fingerprint)


@pytest.mark.parametrize(("one", "other"), list(combinations(METHODS, 2)))
def test_no_two_cards_are_the_same(one: str, other: str) -> None:
    """Equal values and equal gradients everywhere would mean that one of two cards is a lie."""
    cards = METHODS[one].card, METHODS[other].card
    common = set.intersection(*({*card.weight_bits} & {*card.activation_bits} for card in cards))
    widths = tuple(sorted(common & {2, 3, 4, 8}))
    assert widths
    first, second = known_fingerprint(one, widths), known_fingerprint(other, widths)
    same = [a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second, strict=False)]
    assert len(first) != len(second) or not all(same)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_equals_itself(method: str) -> None:
    """Otherwise the comparison above would tell everything apart."""
    pairs = zip(fingerprint(method, (2, 4)), fingerprint(method, (2, 4)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@by_method
def test_calibration_is_told_from_the_site_alone(method: str) -> None:
    """Two quantizers of one site are equal: nothing is drawn."""
    x = random_tensor(1, True)
    grids = []
    for _ in range(2):
        quantizer = METHODS[method].make_activation_quantizer(4, True)
        assert isinstance(quantizer, ActivationQuantizer)
        quantizer.initialise(site(x, True))
        grids.append(quantizer.eval().grid())
    assert grids[0] == grids[1]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_quantized_tensor_spreads_its_scales_along_its_axis(axis: int) -> None:
    codes = torch.ones(2, 2, 1, 1, dtype=torch.int32)
    scale = torch.tensor([1.0, 2.0])
    facts = torch.tensor([8, 8], dtype=torch.int32)
    value = QuantizedTensor(codes, scale, scale * 10, axis, facts, facts, facts, facts).dequantize()
    assert value.select(axis, 1).flatten().tolist() == [22.0, 22.0]
    assert PLAIN_BITS == 16
