"""Blocks of a network, and the order in which they are quantized one after the other.

HAWQ (Dong et al., https://arxiv.org/abs/1905.03696, section 3.3) fine-tunes block by block, from the block with the
largest predicted loss, Omega = eigenvalue * ||Q(W) - W||^2, to the one with the smallest. Here the predicted loss is
that of the job's own metric, weights and activations together.

A block is what lies between a tensor's parting and the join of its branches: the layers on the branches of a residual
sum or of a concatenation. Layers outside stand alone. Names do not matter, so ONNX files have blocks as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import fx

from core.graph.inventory import Inventory
from core.graph.vocabulary import is_layer, is_sum_of_tensors, layer_nodes
from core.policy import Policy
from core.sensitivity.result import LossByBits, Sensitivity

Block = tuple[str, ...]


def blocks_of(module: fx.GraphModule) -> list[Block]:
    """Names of the layers of each block, in execution order. Layers that read one tensor are never apart."""
    names = [str(node.target) for node in layer_nodes(module)]
    group = {name: position for position, name in enumerate(names)}
    for together in (*_branches(module), *_readers_of_one_tensor(module)):
        joined = {group[name] for name in together}
        group = {name: min(joined) if number in joined else number for name, number in group.items()}
    return [tuple(name for name in names if group[name] == number) for number in sorted(set(group.values()))]


def _branches(module: fx.GraphModule) -> Iterator[list[str]]:
    """The layers on the branches of each join, those of joins inside excepted."""
    before: dict[fx.Node, set[fx.Node]] = {}
    taken: set[fx.Node] = set()
    for node in module.graph.nodes:
        before[node] = {node}.union(*(before[source] for source in node.all_input_nodes))
        operands = [before[source] for source in node.all_input_nodes]
        if len(operands) > 1 and (is_sum_of_tensors(node) or node.target is torch.cat):
            between = set().union(*operands).difference(operands[0].intersection(*operands[1:]), taken)
            taken |= between
            yield [str(each.target) for each in between if is_layer(module, each)]


def _readers_of_one_tensor(module: fx.GraphModule) -> Iterator[list[str]]:
    for node in module.graph.nodes:
        yield [str(reader.target) for reader in node.users if is_layer(module, reader)]


def most_sensitive_first(
    blocks: Sequence[Block], inventory: Inventory, policy: Policy, sensitivity: Sensitivity
) -> list[Block]:
    """By the loss that the policy's bits are predicted to cost; equals stay in execution order."""
    return sorted(blocks, key=lambda block: -_predicted_loss(block, inventory, policy, sensitivity))


def _predicted_loss(block: Block, inventory: Inventory, policy: Policy, sensitivity: Sensitivity) -> float:
    of_tensor: dict[str, float] = {}
    of_weights = 0.0
    for name in block:
        bits, tensor = policy.layers[name], inventory.layer(name).reads
        widths = (bits.weights,) if isinstance(bits.weights, int) else bits.weights
        of_weights += sum(_loss(sensitivity.weights.get(name, {}), width) for width in widths) / len(widths)
        of_tensor[tensor] = _loss(sensitivity.activations.get(tensor, {}), bits.activations)
    return of_weights + sum(of_tensor.values())


def _loss(by_bits: LossByBits, bits: int) -> float:
    """A pruned channel costs at least what one bit costs; 16 bits and float cost nothing."""
    return by_bits.get(max(bits, 1), 0.0)
