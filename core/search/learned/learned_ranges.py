"""The training of mixed-precision DNNs: one step and one range for each layer's weight and for each tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from core.quantizers import mixed_precision_uniform as method
from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.mixed_precision_uniform import (
    ACTIVATION_REACH,
    WEIGHT_REACH,
    MixedPrecisionUniformActivationQuantizer,
    MixedPrecisionUniformWeightQuantizer,
    StepAndRange,
)
from core.quantizers.power_of_two import nearest_power_of_two
from core.quantizers.site_range import SiteRange
from core.search.learned.fractional_widths import squared_distances
from core.search.learned.hard_policy import Wishes
from core.search.learned.interpolation import Interpolation
from core.search.learned.learned_bits import LearnedBitsSettings
from core.search.learned.mixture import layer_of, replace_module, tensors, widest_network
from core.search.learned.start import Spaces, starting_bits
from core.search.learned.trainable import TrainableNetwork
from core.search.learned.training import LearnedWidths
from core.search.problem import SearchProblem

PUBLISHED_START = 4.0
UP = 0.499  # the whole number nearest to b + UP is b rounded up


class LearnedGrid(nn.Module):
    """A free step and a free range whose bits stay between two widths."""

    def __init__(self, signed: bool, widths: tuple[float, float]) -> None:
        super().__init__()
        self.grid = StepAndRange((), signed=signed, highest=None)
        self.widths = widths

    def start(self, step: Tensor, bits: int, reach_range: tuple[float, float]) -> None:
        """The grid of that width with this step."""
        reach = step * self._highest(bits)
        smallest, largest = reach_range
        self.grid.start(step, (min(smallest, float(reach) / 4), max(largest, float(reach) * 4)), reach)

    def bits(self) -> Tensor:
        """What step and range need before it is rounded up, with their gradients: ()."""
        step, reach = nearest_power_of_two(self.grid.step), self._reach()
        return (reach / step + 1).log2() + int(self.grid.signed)

    def clip_gradients(self) -> None:
        """To [-d, d]."""
        limit = self.grid.step.detach()
        for parameter in self.grid.parameters():
            if parameter.grad is not None:
                parameter.grad.clamp_(-limit, limit)

    @torch.no_grad()
    def project(self) -> None:
        """Into the authors' ranges, and to bits that are allowed."""
        self.grid.project()
        step, reach = self.grid.power(), self._reach()
        reach.clamp_(step * self._highest(self.widths[0]), step * self._highest(self.widths[1]))

    def _reach(self) -> nn.Parameter:
        if self.grid.reach is None:
            raise TypeError("the range of a learned grid is free")
        return self.grid.reach

    def _highest(self, bits: float) -> float:
        return float(2 ** (bits - int(self.grid.signed)) - 1)


class LearnedWeights(WeightQuantizer):
    """One grid for the weight of a layer."""

    def __init__(self, weight: Tensor, bits: int, widths: tuple[float, float]) -> None:
        super().__init__(bits, None)
        self.learned = LearnedGrid(True, widths)
        start = MixedPrecisionUniformWeightQuantizer(bits, None, 1, method.MixedPrecisionSettings())
        start.initialise(weight.cpu())
        self.learned.start(start.grid.step.detach(), bits, WEIGHT_REACH)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape."""
        return self.learned.grid.round(weight)

    def project(self) -> None:
        """See the grid."""
        self.learned.project()


class LearnedActivations(ActivationQuantizer):
    """One grid for a tensor."""

    def __init__(self, site: SiteRange, bits: int, widths: tuple[float, float]) -> None:
        super().__init__(bits, site.signed)
        self.learned = LearnedGrid(site.signed, widths)
        start = MixedPrecisionUniformActivationQuantizer(bits, site.signed, method.MixedPrecisionSettings())
        start.initialise(site)
        self.learned.start(nearest_power_of_two(start.step.step.detach()), bits, ACTIVATION_REACH)

    @property
    def clips_at_zero(self) -> bool:
        """Whether zero is the lowest code."""
        return not self.signed

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.learned.grid.round(x)

    def project(self) -> None:
        """See the grid."""
        self.learned.project()


class LearnedRanges(LearnedWidths):
    """The network with a learned grid wherever there is a choice."""

    rate = 0.0

    def __init__(
        self, network: TrainableNetwork, problem: SearchProblem, budget: int, settings: LearnedBitsSettings
    ) -> None:
        super().__init__()
        self.axes, self.strength = problem.axes, settings.penalty
        spaces = Spaces.of(problem, budget)
        self.weights, self.activations, self.cost = spaces.weights, spaces.activations, spaces.cost
        uniform = network.quantizer.model_copy(
            update={"method": method.CARD.id, "granularity": "tensor", "settings": {}, "scale_adjustment": None}
        )
        self.module = widest_network(network, problem, uniform)
        w, a = starting_bits(spaces, settings.start, PUBLISHED_START)
        self.of_unit: dict[int, list[LearnedGrid]] = {}
        for unit in torch.nonzero(self.weights.chooses)[:, 0].tolist():
            for position in problem.units[unit]:
                layer = layer_of(self.module, problem.layers[position].name)
                weight = layer.layer.get_parameter("weight").detach()
                quantizer = LearnedWeights(weight, _up(w[unit]), _range(self.weights, unit))
                layer.weight_quantizer = quantizer
                self.of_unit.setdefault(unit, []).append(quantizer.learned)
        self.of_group: dict[int, list[LearnedGrid]] = {}
        for group, site in tensors(network, problem):
            if self.activations.chooses[group]:
                widths = _range(self.activations, group)
                learned = LearnedActivations(network.calibration.sites[site.name], _up(a[group]), widths)
                replace_module(self.module, site.module_name, learned)
                self.of_group.setdefault(group, []).append(learned.learned)
        self.to(next(network.loaded.module.parameters()).device)

    @property
    def network(self) -> nn.Module:
        """The network with its grids."""
        return self.module

    def decide(self, progress: float) -> Tensor:
        """The costs of the bits that the grids need, each rounded up."""
        shares = []
        for rows, exact in zip((self.weights, self.activations), self._bits(), strict=True):
            whole = exact + (exact.detach().ceil() - exact.detach())
            shares.append(rows.shares(torch.minimum(whole, rows.highest), cell_of=exact))
        costs: Tensor = self.cost(*shares)
        return costs

    def objective(self, loss: Tensor, costs: Tensor) -> Tensor:
        """loss + lambda max(0, cost - budget)^2, summed over the limits."""
        return loss + self.strength * (costs - 1).clamp(min=0).square().sum()

    def before_step(self) -> None:
        """Clip the gradients of steps and ranges, the penalty's part included."""
        for grid in (grid for grids in (*self.of_unit.values(), *self.of_group.values()) for grid in grids):
            grid.clip_gradients()

    def wishes(self) -> Wishes:
        """Squared distances from what rounds to the inferred bits."""
        with torch.no_grad():
            w, a = self._bits()
        return Wishes(squared_distances(w + UP, self.axes[0]), squared_distances(a + UP, self.axes[1]))

    def _bits(self) -> tuple[Tensor, Tensor]:
        """[U] and [G], not yet rounded up."""
        return _inferred(self.of_unit, self.weights), _inferred(self.of_group, self.activations)


def _inferred(grids: dict[int, list[LearnedGrid]], rows: Interpolation) -> Tensor:
    """[N]: of several grids that are tied the widest; the only width where there is one."""
    bits = [
        torch.stack([grid.bits() for grid in grids[row]]).max() if row in grids else only
        for row, only in enumerate(rows.lowest)
    ]
    return torch.stack(bits)


def _up(bits: Tensor) -> int:
    return math.ceil(float(bits) - 1e-3)


def _range(rows: Interpolation, index: int) -> tuple[float, float]:
    return float(rows.lowest[index]), float(rows.highest[index])
