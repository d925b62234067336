"""Bias absorption: what a ReLU lets through always becomes part of the next layer's bias, and activations get smaller.

Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.1.3. With mean beta and deviation |gamma| of a channel
before its ReLU,

    c = max(0, beta - 3 |gamma|),    b1 <- b1 - c,    b2 <- b2 + sum over the kernel of W2 c,

which changes nothing where the channel exceeds c: but for 0.135 % of a normal distribution. Layers without a batch norm
take mean and deviation as measured on images.

Reconstructed: a channel is left alone where something else than a layer reads it, or a layer that pads with zeros: at
the border the paper's rule would add c to what were zeros.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from core.graph.changed_network import described_again
from core.graph.fold_batch_norm import Distribution, keep_distribution, output_distribution
from core.graph.layer_weight import layer_bias, response_to_constant
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import called_layer, called_module, is_layer, layer_nodes

DEVIATIONS = 3


def absorb_biases(loaded: LoadedModel) -> LoadedModel:
    """A copy of a network whose batch norms are folded, whose layers' output distributions are known where they can."""
    module = copy.deepcopy(loaded.module)
    for node in layer_nodes(module):
        readers = _readers_behind_relu(module, node)
        distribution = output_distribution(module, node)
        if readers and distribution is not None:
            _absorb(module, node, readers, distribution)
    return described_again(loaded, module)


def absorbable(distribution: Distribution) -> Tensor:
    """[C] float64: c, in units of the layer's output."""
    return (distribution.mean - DEVIATIONS * distribution.deviation).clamp(min=0)


def _absorb(module: fx.GraphModule, node: fx.Node, readers: list[fx.Node], distribution: Distribution) -> None:
    amount = absorbable(distribution)
    if not amount.any():
        return
    _add(layer_bias(called_layer(module, node)), -amount)
    keep_distribution(node, distribution.shifted(-amount))
    for reader in readers:
        layer = called_layer(module, reader)
        _add(layer_bias(layer), response_to_constant(layer, amount))


@torch.no_grad()
def _add(bias: Tensor, amount: Tensor) -> None:
    bias.copy_(bias.double() + amount.to(bias.device))


def _readers_behind_relu(module: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The layers that read a layer's output through one ReLU; none where anything else reads it, or pads it."""
    users = list(node.users)
    if len(users) != 1 or not _is_plain_relu(module, users[0]):
        return []
    readers = list(users[0].users)
    return readers if all(is_layer(module, each) and not _pads(module, each) for each in readers) else []


def _is_plain_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in (torch.relu, functional.relu)
    return isinstance(called_module(module, node), nn.ReLU)


def _pads(module: fx.GraphModule, node: fx.Node) -> bool:
    """A transposed convolution's outputs are sums of different numbers of weights: it counts as padding."""
    layer = called_layer(module, node)
    if isinstance(layer, nn.Linear):
        return len(node.all_input_nodes[0].meta["shape"]) != 2
    return isinstance(layer, nn.ConvTranspose2d) or any(int(amount) for amount in layer.padding)
