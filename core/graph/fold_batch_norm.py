"""Batch norms folded into the layers before them, with what they knew about those layers' outputs kept.

With gamma, beta, mean m and variance v of a channel: f = gamma / sqrt(v + eps); W <- f W, b <- f (b - m) + beta. The
folded layer's output then has the mean beta and the standard deviation |gamma| (a negative gamma mirrors the channel,
its spread stays positive): Nagel et al., https://arxiv.org/abs/1906.04721, sections 4.1.3 and 4.2.1.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn

from core.graph.changed_network import described_again
from core.graph.layer_weight import layer_bias, scale_channels
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import BATCH_NORM_TYPES, called_layer, called_module, is_layer, layer_nodes

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
_KEY = "output_distribution"


@dataclass(frozen=True)
class Distribution:
    """Of a tensor, by channel [C], float64, in the tensor's units. `measured`: on images, not from a batch norm."""

    mean: Tensor
    deviation: Tensor
    measured: bool = False

    def scaled(self, factor: Tensor) -> Distribution:
        """Of the tensor times a positive factor [C]."""
        return Distribution(self.mean * factor, self.deviation * factor, self.measured)

    def shifted(self, addend: Tensor) -> Distribution:
        """Of the tensor plus [C]."""
        return Distribution(self.mean + addend, self.deviation, self.measured)


def fold_batch_norms(loaded: LoadedModel) -> LoadedModel:
    """A copy that computes the same with every norm folded that directly follows a layer; others stay."""
    module = copy.deepcopy(loaded.module)
    for node in list(layer_nodes(module)):
        if (norm := foldable_norm(module, node)) is not None:
            _fold(module, node, norm)
    return described_again(loaded, module)


def foldable_norm(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The batch norm with running statistics that is a layer's only reader and works on its output channels."""
    readers = list(node.users)
    norm = called_module(module, readers[0]) if len(readers) == 1 else None
    if not is_layer(module, node) or not isinstance(norm, BATCH_NORM_TYPES) or norm.running_mean is None:
        return None
    over_positions = isinstance(called_layer(module, node), nn.Linear) and len(node.meta.get("shape", ())) > 2
    return None if over_positions else readers[0]


def norm_distribution(norm: BatchNorm) -> Distribution:
    """Of its output: mean beta, deviation |gamma|."""
    gamma, beta = _affine(norm)
    return Distribution(beta, gamma.abs())


def factor_of(norm: BatchNorm) -> Tensor:
    """[C] float64: gamma / sqrt(variance + eps)."""
    variance = cast(Tensor, norm.running_var).detach().double().cpu()
    return _affine(norm)[0] / (variance + norm.eps).sqrt()


def output_distribution(module: fx.GraphModule, node: fx.Node) -> Distribution | None:
    """Of a layer's output, behind the batch norm that follows or was folded; None where there was none."""
    kept: Distribution | None = node.meta.get(_KEY)
    norm = foldable_norm(module, node)
    if norm is not None:
        return norm_distribution(_norm(module, norm))
    return kept


def keep_distribution(node: fx.Node, distribution: Distribution) -> None:
    """Note it at the layer's node; copies of the graph keep it."""
    node.meta[_KEY] = distribution


@torch.no_grad()
def _fold(module: fx.GraphModule, node: fx.Node, norm_node: fx.Node) -> None:
    layer, norm = called_layer(module, node), _norm(module, norm_node)
    factor, distribution = factor_of(norm), norm_distribution(norm)
    bias, centre = layer_bias(layer), cast(Tensor, norm.running_mean).detach().double().cpu()
    shifted = (bias.double().cpu() - centre) * factor + distribution.mean
    scale_channels(layer, outputs=factor)
    bias.copy_(shifted)
    keep_distribution(node, distribution)
    norm_node.replace_all_uses_with(node)
    module.graph.erase_node(norm_node)
    if not any(other.target == norm_node.target for other in module.graph.nodes):
        module.delete_submodule(str(norm_node.target))


def _norm(module: fx.GraphModule, node: fx.Node) -> BatchNorm:
    return cast(BatchNorm, called_module(module, node))


def _affine(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    channels = norm.num_features
    gamma = torch.ones(channels) if norm.weight is None else norm.weight.detach()
    beta = torch.zeros(channels) if norm.bias is None else norm.bias.detach()
    return gamma.double().cpu(), beta.double().cpu()
