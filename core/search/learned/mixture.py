"""A network whose weights and activations are mixtures of their values at several widths.

    y = sum_k share_k Q_k(x),  k over the widths that a layer or a tensor may take

One weight is shared by all widths; each width has the job's quantizer, with steps of its own that are trained along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from core.calibration.calibration import Calibration
from core.calibration.quantize import device_of, quantize, weight_quantizer
from core.graph.inventory import Layer
from core.graph.placement import ActivationSite, place
from core.graph.quantized_layers import QuantizedLayer
from core.jobs.specification import QuantizerChoice
from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.method import Method
from core.quantizers.registry import chosen_method
from core.search.learned.hard_policy import widest
from core.search.learned.trainable import TrainableNetwork
from core.search.problem import SearchProblem

RECOMPUTED_FROM = 3  # branches: keeping what each of them needs for its gradient would take as many times the memory


@dataclass(frozen=True)
class Shares:
    """[U, W] of units of layers and [G, A] of groups of units, rows sum to 1.

    The masks say which widths are computed, though the share of one may be 0.
    """

    weights: Tensor
    activations: Tensor
    open_weights: Tensor
    open_activations: Tensor


class Mixture(nn.Module):
    """`branches` by position of the width. `take` says what the next forward passes mix."""

    def __init__(self, branches: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({str(position): branch for position, branch in branches.items()})
        self._mixed: list[tuple[nn.Module, Tensor]] = []

    def take(self, shares: Tensor, open_: Tensor) -> None:
        """Shares of all widths [W]; those that are not open are left out."""
        positions = torch.nonzero(open_)[:, 0].tolist()
        self._mixed = [(self.branches[str(position)], shares[position]) for position in positions]

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if len(self._mixed) == 1:
            found: Tensor = self._mixed[0][0](x)
            return found
        shares = [share for _, share in self._mixed]
        if len(shares) >= RECOMPUTED_FROM and torch.is_grad_enabled():
            mixed: Tensor = checkpoint(
                self._mix,
                x,
                *shares,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            return mixed
        return self._mix(x, *shares)

    def _mix(self, x: Tensor, *shares: Tensor) -> Tensor:
        parts = [share * branch(x) for (branch, _), share in zip(self._mixed, shares, strict=True)]
        return torch.stack(parts).sum(0) if len(parts) > 2 else parts[0] + parts[1]


class MixedNetwork(nn.Module):
    """A copy of the network with a mixture in every layer and at every tensor that layers read."""

    def __init__(self, network: TrainableNetwork, problem: SearchProblem) -> None:
        super().__init__()
        self.module = widest_network(network, problem, network.quantizer)
        method = chosen_method(network.quantizer)
        allowed = problem.programme.allowed
        self._weights: list[tuple[int, Mixture]] = []
        for row, unit in enumerate(problem.units):
            widths = np.flatnonzero(allowed[row].any(axis=1)).tolist()
            for layer in (problem.layers[position] for position in unit):
                exact = network.loaded.module.get_submodule(layer.name).get_parameter("weight").detach()
                made = {each: _weight(network.quantizer, layer, problem.axes[0][each], exact) for each in widths}
                self._weights.append((row, Mixture(made)))
                layer_of(self.module, layer.name).weight_quantizer = self._weights[-1][1]
        self._activations: list[tuple[int, Mixture]] = []
        for group, site in tensors(network, problem):
            widths = np.flatnonzero(allowed[problem.programme.groups[group][0]].any(axis=0)).tolist()
            read = {each: _activation(method, site, problem.axes[1][each], network.calibration) for each in widths}
            self._activations.append((group, Mixture(read).to(device_of(network.loaded.module))))
            replace_module(self.module, site.module_name, self._activations[-1][1])

    def take(self, shares: Shares) -> None:
        """What the next forward passes mix."""
        for row, mixture in self._weights:
            mixture.take(shares.weights[row], shares.open_weights[row])
        for group, mixture in self._activations:
            mixture.take(shares.activations[group], shares.open_activations[group])

    def forward(self, x: Tensor) -> Tensor:
        """Scores N, classes of images N, C, H, W."""
        scores: Tensor = self.module(x)
        return scores


def widest_network(network: TrainableNetwork, problem: SearchProblem, choice: QuantizerChoice) -> fx.GraphModule:
    """Calibrated, with everything at the widest that it may take."""
    policy = problem.policy(widest(problem.programme))
    return quantize(network.loaded, policy, network.calibration, choice)


def tensors(network: TrainableNetwork, problem: SearchProblem) -> list[tuple[int, ActivationSite]]:
    """The tensors that layers read, and the group of each: one group may hold several."""
    position = {layer.name: index for index, layer in enumerate(problem.layers)}
    group_of = {
        layer: group
        for group, members in enumerate(problem.programme.groups)
        for unit in members
        for layer in problem.units[unit]
    }
    sites = [site for site in place(network.loaded.module).activation_sites if site.role == "layer"]
    return [(group_of[position[site.readers[0]]], site) for site in sites]


def layer_of(module: fx.GraphModule, name: str) -> QuantizedLayer:
    """A layer of a fake-quantized network."""
    layer = module.get_submodule(name)
    if not isinstance(layer, QuantizedLayer):
        raise TypeError(f"{name} is no quantized layer")
    return layer


def _weight(choice: QuantizerChoice, layer: Layer, bits: int, exact: Tensor) -> nn.Module:
    method, normalised = chosen_method(choice), layer.batch_norm is not None
    quantizer = weight_quantizer(method, layer, bits, choice.granularity, normalised=normalised).to(exact.device)
    if isinstance(quantizer, WeightQuantizer):
        quantizer.initialise(exact)
    return quantizer


def _activation(method: Method, site: ActivationSite, bits: int, calibration: Calibration) -> nn.Module:
    quantizer = method.make_activation_quantizer(bits, site.signed)
    if isinstance(quantizer, ActivationQuantizer):
        quantizer.initialise(calibration.sites[site.name])
    return quantizer


def replace_module(module: fx.GraphModule, name: str, by: nn.Module) -> None:
    """Put a module in the place of another."""
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, by)
