"""The plain uniform method against its formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_cases import random_tensor, site, weight_quantizer

from core.calibration.observers.observed import Observed
from core.calibration.registry import OBSERVERS
from core.calibration.rounding.card import has_fixed_grid
from core.quantizers.registry import METHODS
from core.quantizers.uniform import UniformActivationQuantizer, UniformSettings, UniformWeightQuantizer

WEIGHT_OBSERVERS = ("mse", "min-max", "percentile", "kl", "aciq")
METHOD = METHODS["uniform"]


def weight_of(seed: int) -> torch.Tensor:
    """Lopsided, each channel of its own size."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(4, 3, 3, 3, generator=generator) + 0.4) * torch.tensor([0.02, 1, 3, 40]).view(-1, 1, 1, 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 8), st.sampled_from(WEIGHT_OBSERVERS), st.booleans())
def test_weights_are_those_of_the_formula(seed: int, bits: int, observer: str, affine: bool) -> None:
    weight = weight_of(seed)
    kind = "affine" if affine else "symmetric"
    grids = OBSERVERS[observer].grids(Observed.of_weight(weight, 0), bits, kind)
    chosen = METHOD.configured({"weight_observer": observer, "weight_grid": kind})
    quantizer, latent = weight_quantizer(chosen, bits, "channel", weight)
    assert torch.equal(latent, weight)
    scale, zero = (each.double().numpy().reshape(-1, 1, 1, 1) for each in (grids.scale, grids.zero_point))
    low, high = (0, 2**bits - 1) if affine else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    steps = weight.double().numpy() / scale
    codes = np.clip(np.rint(steps) + zero, low, high)
    certain = np.abs(np.abs(steps % 1) - 0.5) > 1e-4  # float32 decides what is half way
    found = quantizer.integers(weight)
    np.testing.assert_array_equal(found.codes.numpy()[certain], codes[certain])
    np.testing.assert_allclose(quantizer(weight)[certain], ((codes - zero) * scale)[certain], rtol=1e-5, atol=1e-5)
    assert not quantizer(torch.zeros_like(weight)).any(), "zero is a level"


def test_the_gradient_passes_within_the_ends_of_the_grid() -> None:
    for kind, low, high in (("symmetric", -2.0, 1.0), ("affine", -1.0, 2.0)):
        quantizer = UniformWeightQuantizer(2, None, 1, UniformSettings(weight_grid=kind, weight_observer="min-max"))
        quantizer.initialise(torch.tensor([low, 0.0, high]))
        assert quantizer.scale.item() == 1
        x = torch.tensor([low - 0.6, low - 0.1, low, 0.2, high, high + 0.1, high + 3], requires_grad=True)
        y = quantizer(x)
        assert y.tolist() == [low, low, low, 0, high, high, high]
        y.backward(torch.arange(1.0, 8.0))
        assert x.grad is not None
        assert x.grad.tolist() == [0, 0, 3, 4, 5, 0, 0]


@pytest.mark.parametrize("kind", ["symmetric", "affine"])
def test_a_dead_channel_takes_the_largest_step_of_the_others(kind: str) -> None:
    weight = weight_of(0)
    weight[1] = 0
    chosen = METHOD.configured({"weight_grid": kind})
    quantizer, _ = weight_quantizer(chosen, 4, "channel", weight)
    scale = quantizer.integers(weight).scale
    assert scale[1] == scale[3] == scale.max()
    assert not quantizer(weight)[1].any()
    dead, _ = weight_quantizer(chosen, 4, "channel", torch.zeros_like(weight))
    assert not dead(torch.zeros_like(weight)).any()


def test_an_affine_grid_wastes_nothing_on_a_lopsided_weight() -> None:
    weight = weight_of(1).abs()
    errors = []
    for kind in ("symmetric", "affine"):
        quantizer, _ = weight_quantizer(METHOD.configured({"weight_grid": kind}), 4, "channel", weight)
        errors.append(float((quantizer(weight) - weight).square().sum()))
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", ["symmetric", "affine"])
def test_activations_take_calibrations_grid(bits: int, signed: bool, kind: str) -> None:
    x = random_tensor(3, signed)
    known = site(x, signed)
    made = METHOD.configured({"activation_grid": kind}).make_activation_quantizer(bits, signed)
    assert isinstance(made, UniformActivationQuantizer)
    made.initialise(known)
    grid = (known.affine_grids if signed and kind == "affine" else known.grids)[bits]
    assert made.grid() == grid
    assert torch.equal(made(x), torch.from_numpy(grid.values(grid.codes(x.numpy()))))
    assert made.clips_at_zero == (grid.values(np.array([grid.low]))[0] == 0)


def test_nothing_is_learned_and_rounding_methods_may_choose_its_levels() -> None:
    for bits in (1, 4):
        quantizer, _ = weight_quantizer(METHOD, bits, "channel", weight_of(0))
        assert not list(quantizer.parameters())
    assert has_fixed_grid(METHOD.card)
