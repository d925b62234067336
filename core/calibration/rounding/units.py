"""What is reconstructed at a time: single layers, or blocks between joins, found from the graph and not from names.

A layer's output is judged behind its batch norm and activation function. A block is what lies between a tensor's
parting and the join of its branches, with up to two layers that lead to it (the squeeze of a fire module); and a run of
layers that ends without an activation function (MobileNetV2's block where no shortcut goes around it). The first and
the last layer, and what is in no block or in one of too many layers, stand alone, as stem and head do in BRECQ
(https://arxiv.org/abs/2102.05426, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import fx, nn
from torch.nn import functional

from core.graph.vocabulary import BATCH_NORM_TYPES, called_module, is_layer

MOST_LAYERS = 12  # of a block
MOST_LEADING = 2
LONGEST_RUN = 4

ACTIVATION_TYPES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Hardtanh, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Threshold, nn.Softsign,
)  # fmt: skip
ACTIVATION_FUNCTIONS = frozenset(
    {
        torch.relu, functional.relu, functional.relu6, torch.clamp, torch.sigmoid, torch.tanh, functional.silu,
        functional.hardswish, functional.gelu, functional.leaky_relu, functional.hardsigmoid, functional.elu,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """Layers by name; `entry` and `exit` are nodes of the float graph: the one tensor read, and the one judged."""

    layers: tuple[str, ...]
    entry: fx.Node
    exit: fx.Node

    @property
    def title(self) -> str:
        """For a person."""
        return self.layers[0] if len(self.layers) == 1 else f"{self.layers[0]} to {self.layers[-1]}"


def single_layers(exact: fx.GraphModule) -> list[Unit]:
    """Each layer with what follows it, in execution order."""
    return [_single(exact, node) for node in exact.graph.nodes if is_layer(exact, node)]


def blocks(exact: fx.GraphModule) -> list[Unit]:
    """Blocks where there are any, single layers elsewhere, in execution order."""
    return list(_Blocks(exact).units())


def cut_points(exact: fx.GraphModule) -> list[fx.Node]:
    """Tensors that everything behind them is computed from, and from nothing else, in execution order."""
    nodes = [node for node in exact.graph.nodes if node.op != "get_attr"]
    place = {node: position for position, node in enumerate(nodes)}
    furthest, cuts = 0, []
    for position, node in enumerate(nodes):
        if furthest <= position and node.op != "output":
            cuts.append(node)
        furthest = max([furthest, *(place[user] for user in node.users)])
    return cuts


class _Blocks:
    """One walk from cut point to cut point."""

    def __init__(self, exact: fx.GraphModule) -> None:
        self.exact = exact
        self.nodes = list(exact.graph.nodes)
        layers = [node for node in self.nodes if is_layer(exact, node)]
        self.ends = {layers[0], layers[-1]}
        self.run: list[fx.Node] = []  # layers in a row since the last block

    def units(self) -> Iterator[Unit]:
        """In execution order."""
        cuts = cut_points(self.exact)
        position = {node: number for number, node in enumerate(self.nodes)}
        for before, cut in pairwise(cuts):
            between = self.nodes[position[before] + 1 : position[cut] + 1]
            layers = [node for node in between if is_layer(self.exact, node)]
            if layers == [cut]:
                yield from self._in_a_row(cut)
            elif layers:
                yield from self._branches(before, layers, cut)
        yield from self._flushed()
        behind = self.nodes[position[cuts[-1]] + 1 :]  # several outputs: branches that never join
        yield from (_single(self.exact, node) for node in behind if is_layer(self.exact, node))

    def _in_a_row(self, layer: fx.Node) -> Iterator[Unit]:
        if layer in self.ends:
            yield from self._flushed()
            yield _single(self.exact, layer)
            return
        self.run.append(layer)
        if not _is_activated(self.exact, layer):
            run, self.run = self.run, []
            if len(run) <= LONGEST_RUN:
                yield self._unit(run, run[0].all_input_nodes[0], layer)
            else:
                yield from (_single(self.exact, each) for each in run)

    def _branches(self, entry: fx.Node, layers: list[fx.Node], join: fx.Node) -> Iterator[Unit]:
        leading = self.run if len(self.run) <= MOST_LEADING else []
        if len(layers) > MOST_LAYERS or self.ends.intersection(layers):
            yield from self._flushed()
            yield from (_single(self.exact, layer) for layer in layers)
            return
        if leading and len(leading) + len(layers) <= MOST_LAYERS:
            layers, entry, self.run = [*leading, *layers], leading[0].all_input_nodes[0], []
        yield from self._flushed()
        yield self._unit(layers, entry, join)

    def _flushed(self) -> Iterator[Unit]:
        run, self.run = self.run, []
        return (_single(self.exact, layer) for layer in run)

    def _unit(self, layers: list[fx.Node], entry: fx.Node, last: fx.Node) -> Unit:
        return Unit(tuple(str(layer.target) for layer in layers), entry, _behind(self.exact, last)[-1])


def _single(exact: fx.GraphModule, layer: fx.Node) -> Unit:
    return Unit((str(layer.target),), layer.all_input_nodes[0], _behind(exact, layer)[-1])


def _behind(exact: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The node, and the batch norm and activation function that alone read it."""
    chain = [node]
    while len(chain[-1].users) == 1:
        reader = next(iter(chain[-1].users))
        if not (isinstance(called_module(exact, reader), BATCH_NORM_TYPES) or _is_activation(exact, reader)):
            break
        chain.append(reader)
    return chain


def _is_activated(exact: fx.GraphModule, layer: fx.Node) -> bool:
    return any(_is_activation(exact, node) for node in _behind(exact, layer))


def _is_activation(exact: fx.GraphModule, node: fx.Node) -> bool:
    if len(node.all_input_nodes) != 1:
        return False
    return isinstance(called_module(exact, node), ACTIVATION_TYPES) or node.target in ACTIVATION_FUNCTIONS
