"""Random weights, tensors and settings, and the quantizers of any method made ready on them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.method import PLAIN_BITS, Method
from core.quantizers.registry import METHODS
from core.quantizers.site_range import ActivationGrid, SiteRange, code_range

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, PLAIN_BITS)
SHARING = ("tensor", "channel")
seeds = st.integers(0, 2**31)


def weight_widths(method: str) -> tuple[int, ...]:
    """Those of the card, and the plain one."""
    return (*METHODS[method].card.weight_bits, PLAIN_BITS)


def activation_widths(method: str) -> tuple[int, ...]:
    """Those of the card, and the plain one."""
    return (*METHODS[method].card.activation_bits, PLAIN_BITS)


def granularities(method: str) -> list[str]:
    """What shares a scale; kernel-wise widths come on top."""
    return [each for each in SHARING if each in METHODS[method].card.granularities]


def variants(method: str) -> list[Method]:
    """The method as it comes, and with each switch and each named choice of its settings set the other way."""
    plain = METHODS[method]
    properties = plain.card.settings_schema.get("properties", {})
    switches = [
        {name: value}
        for name, field in properties.items()
        for value in [*field.get("enum", ()), *((True, False) if field.get("type") == "boolean" else ())]
        if value != field.get("default")
    ]
    return [plain, *(plain.configured(settings) for settings in switches)]


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


def trained(latent: Tensor, seed: int) -> Tensor:
    """The latent weight some steps later."""
    generator = torch.Generator().manual_seed(seed + 1)
    return latent + 0.3 * latent.abs().mean() * torch.randn(latent.shape, generator=generator)


def weight_quantizer(
    method: Method, bits: int | tuple[int, ...], granularity: str, weight: Tensor, *, normalised: bool = True
) -> tuple[WeightQuantizer, Tensor]:
    """Initialised on a float weight, in eval mode, and the latent weight that training starts from."""
    quantizer = method.make_weight_quantizer(bits, granularity, weight.shape[0], normalised=normalised)
    assert isinstance(quantizer, WeightQuantizer)
    quantizer.initialise(weight)
    return quantizer.eval(), quantizer.starting_weight(weight)


def site(values: Tensor, signed: bool) -> SiteRange:
    """What calibration knows about `values`: grids that just hold them."""
    minimum, maximum = float(values.min()), float(values.max())
    lower, upper = min(minimum, 0.0), max(maximum, 0.0)
    grids, affine = {}, {}
    for bits in WIDTHS:
        low, high = code_range(bits, signed)
        widest = max(maximum / high, minimum / low if low else 0.0, 1e-6)
        grids[bits] = ActivationGrid(scale=float(np.float32(widest)), low=low, high=high)
        step = float(np.float32((upper - lower + 1e-6) / (2**bits - 1)))
        zero = min(round(-lower / step), 2**bits - 1)
        affine[bits] = ActivationGrid(scale=step, zero_point=zero, low=0, high=2**bits - 1)
    return SiteRange(
        name="t", role="layer", signed=signed, values=values.numel(), minimum=minimum, maximum=maximum,
        mean=float(values.mean()), standard_deviation=float(values.std(correction=0)), grids=grids, affine_grids=affine,
    )  # fmt: skip


def random_tensor(seed: int, signed: bool) -> Tensor:
    """N, ...: normal; without its negative part where that cannot be."""
    x = torch.randn(4, 30, generator=torch.Generator().manual_seed(seed)) * 2
    return x if signed else x.relu()


def activation_quantizer(method: Method, bits: int, signed: bool, x: Tensor) -> ActivationQuantizer:
    """Initialised on the range of `x`, in eval mode."""
    quantizer = method.make_activation_quantizer(bits, signed)
    assert isinstance(quantizer, ActivationQuantizer)
    quantizer.initialise(site(x, signed))
    return quantizer.eval()


def edges(grid: ActivationGrid) -> Tensor:
    """Where a code changes, and far outside."""
    steps = np.arange(grid.low - grid.zero_point - 1, grid.high - grid.zero_point + 1, max(1, grid.high // 64))
    halves = (steps + 0.5) * grid.scale + grid.offset
    whole = steps * grid.scale + grid.offset
    return torch.tensor([*halves, *whole, *grid.thresholds, 0.0, 1e20, -1e20], dtype=torch.float32)
