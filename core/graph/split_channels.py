"""Input channels of a layer twice over: the layer reads its tensor through a selection that repeats some of them.

`parents` says how: entry i is the position, among the channels there are by then, that the next appended channel was
split from. A channel may be split again, in halves of its halves.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from core.graph.layer_weight import input_channels
from core.graph.vocabulary import LayerModule, called_layer, is_move, layer_nodes

FOLDER = "channel_splits"
WEIGHT_KEY, ACTIVATION_KEY = "weight_splits", "activation_splits"


class ChannelSplit(nn.Module):
    """Constants of one split: which channels are read, and for activations how much of each."""

    def __init__(self, parents: Sequence[int], channels: int, like: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(origins(parents, channels), device=like.device))


def origins(parents: Sequence[int], channels: int) -> list[int]:
    """For each channel after splitting, the one before that it is a part of."""
    found = list(range(channels))
    for parent in parents:
        found.append(found[parent])
    return found


def splittable_layers(module: fx.GraphModule) -> list[fx.Node]:
    """Layers that read all channels of a computed tensor; those that read the image are left out."""
    return [node for node in layer_nodes(module) if _splittable(module, node)]


def _splittable(module: fx.GraphModule, node: fx.Node) -> bool:
    layer, source = called_layer(module, node), node.all_input_nodes[0]
    if not isinstance(layer, nn.Linear) and layer.groups > 1:
        return False
    while is_move(module, source):
        source = source.all_input_nodes[0]
    return source.op != "placeholder"


def split_weight_channels(module: fx.GraphModule, node: fx.Node, parents: Sequence[int]) -> None:
    """In place: the layer's channels are split as `parents` say, each weight into halves."""
    layer = called_layer(module, node)
    channels, axis = input_channels(layer), _axis(node, layer)
    split = ChannelSplit(parents, channels, layer.weight)
    shares = torch.tensor(shares_of(parents, channels), dtype=layer.weight.dtype, device=layer.weight.device)
    _replace(module, node, _with_inputs(layer, split, shares))
    name = _add(module, node, split, "weights")
    source = node.all_input_nodes[0]
    with module.graph.inserting_before(node):
        index = module.graph.get_attr(f"{name}.index")
        selected = module.graph.call_function(torch.index_select, (source, axis, index))
    node.replace_input_with(source, selected)
    node.meta[WEIGHT_KEY] = tuple(parents)


def split_activation_channels(module: fx.GraphModule, node: fx.Node, parents: Sequence[int]) -> None:
    """In place: the layer reads halves of the channels that `parents` name, with the same weights."""
    layer, source = called_layer(module, node), node.all_input_nodes[0]
    channels, axis = input_channels(layer), _axis(node, layer)
    split = ChannelSplit(parents, channels, layer.weight)
    factor = torch.tensor(shares_of(parents, channels), dtype=layer.weight.dtype, device=layer.weight.device)
    shape = (-1,) + (1,) * (len(source.meta["shape"]) - axis - 1)
    split.register_buffer("factor", factor.view(shape))
    split.register_buffer("shift", torch.zeros_like(factor).view(shape))
    _replace(module, node, _with_inputs(layer, split, torch.ones_like(factor)))
    name, graph = _add(module, node, split, "activations"), module.graph
    with graph.inserting_before(node):
        index, scale, shift = (graph.get_attr(f"{name}.{part}") for part in ("index", "factor", "shift"))
        selected = graph.call_function(torch.index_select, (source, axis, index))
        shifted = graph.call_function(torch.add, (graph.call_function(torch.mul, (selected, scale)), shift))
    node.replace_input_with(source, shifted)
    shifted.meta[ACTIVATION_KEY] = tuple(parents)


def shares_of(parents: Sequence[int], channels: int) -> list[float]:
    """Of each channel after splitting, in its origin: powers of a half, that add up to 1 for each origin."""
    shares = [1.0] * channels
    for parent in parents:
        shares[parent] /= 2
        shares.append(shares[parent])
    return shares


def _with_inputs(layer: LayerModule, split: ChannelSplit, shares: Tensor) -> LayerModule:
    """A copy that reads the selected channels, with `shares` of the weight that belongs to each."""
    axis = 0 if isinstance(layer, nn.ConvTranspose2d) else 1
    index: Tensor = split.get_buffer("index")
    spread = [1] * layer.weight.dim()
    spread[axis] = -1
    grown = copy.deepcopy(layer)
    grown.weight = nn.Parameter(layer.weight.detach().index_select(axis, index) * shares.view(spread))
    if isinstance(grown, nn.Linear):
        grown.in_features = len(index)
    else:
        grown.in_channels = len(index)
    return grown


def _axis(node: fx.Node, layer: LayerModule) -> int:
    """The dimension of the input's channels."""
    return len(node.all_input_nodes[0].meta["shape"]) - 1 if isinstance(layer, nn.Linear) else 1


def _add(module: fx.GraphModule, node: fx.Node, split: ChannelSplit, what: str) -> str:
    name = f"{FOLDER}.{node.name}_{what}"
    module.add_submodule(name, split)
    return name


def _replace(module: fx.GraphModule, node: fx.Node, layer: LayerModule) -> None:
    parent, _, child = str(node.target).rpartition(".")
    setattr(module.get_submodule(parent), child, layer)
