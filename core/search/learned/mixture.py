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
    """[L, W] and [G, A], rows sum to 1; the masks say which widths are computed, besides those whose share is 0."""

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
        self._weights: list[Mixture] = []
        for index, layer in enumerate(problem.layers):
            exact = network.loaded.module.get_submodule(layer.name).get_parameter("weight").detach()
            branches = {}
            for position in np.flatnonzero(allowed[index].any(axis=1)).tolist():
                bits, granularity = problem.axes[0][position], network.quantizer.granularity
                branch = weight_quantizer(method, layer, bits, granularity, normalised=layer.batch_norm is not None)
                branch = branch.to(exact.device)
                if isinstance(branch, WeightQuantizer):
                    branch.initialise(exact)
                branches[position] = branch
            self._weights.append(Mixture(branches))
            layer_of(self.module, layer.name).weight_quantizer = self._weights[-1]
        self._activations: list[tuple[int, Mixture]] = []
        for group, site in tensors(network, problem):
            widths = np.flatnonzero(allowed[problem.programme.groups[group][0]].any(axis=0)).tolist()
            made = {each: _activation(method, site, problem.axes[1][each], network.calibration) for each in widths}
            self._activations.append((group, Mixture(made).to(device_of(network.loaded.module))))
            replace_module(self.module, site.module_name, self._activations[-1][1])

    def take(self, shares: Shares) -> None:
        """What the next forward passes mix."""
        for mixture, share, open_ in zip(self._weights, shares.weights, shares.open_weights, strict=True):
            mixture.take(share, open_)
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
    group_of = {member: group for group, members in enumerate(problem.programme.groups) for member in members}
    sites = [site for site in place(network.loaded.module).activation_sites if site.role == "layer"]
    return [(group_of[position[site.readers[0]]], site) for site in sites]


def layer_of(module: fx.GraphModule, name: str) -> QuantizedLayer:
    """A layer of a fake-quantized network."""
    layer = module.get_submodule(name)
    if not isinstance(layer, QuantizedLayer):
        raise TypeError(f"{name} is no quantized layer")
    return layer


def _activation(method: Method, site: ActivationSite, bits: int, calibration: Calibration) -> nn.Module:
    quantizer = method.make_activation_quantizer(bits, site.signed)
    if isinstance(quantizer, ActivationQuantizer):
        quantizer.initialise(calibration.sites[site.name])
    return quantizer


def replace_module(module: fx.GraphModule, name: str, by: nn.Module) -> None:
    """Put a module in the place of another."""
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, by)
