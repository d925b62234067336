"""Where quantizers sit: on tensors for activations, in the layer for weights. One pass over the graph.

Rules, as in HAWQ-V3 (Yao et al. 2021, arXiv:2011.10680, section 3 and appendix on residual connections):

- each tensor that a quantizable layer reads has one site of role "layer", shared by all the layers that read it;
- each operand of a sum and the output of each join (sum, concatenation, average) has one site of role "residual",
  behind the ReLU where that is the join's only reader; a join that only layers read has just their "layer" site;
- on a tensor with both, the residual site comes first and the layer site stands on the branch to the layers.

Slices, zero padding and reshapes keep a tensor on its grid, so an operand's site sits before them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from torch import fx, nn

from core.graph.inventory import Layer
from core.graph.quantized_layers import quantized_layer
from core.graph.vocabulary import (
    cannot_be_negative,
    is_join,
    is_layer,
    is_move,
    is_relu,
    is_sum_of_tensors,
    layer_nodes,
)

Role = Literal["layer", "residual"]


@dataclass(frozen=True)
class ActivationSite:
    """A tensor that is quantized. `name` is the tensor's for the role layer, `<tensor>.residual` for the other."""

    name: str
    node: fx.Node
    role: Role
    readers: tuple[str, ...]  # layers that read it: directly for the role layer, at any remove for residual
    signed: bool

    @property
    def module_name(self) -> str:
        """Target of the quantizer's call in the graph."""
        return f"activation_quantizers.{self.name.replace('.', '_')}"


@dataclass
class Placement:
    """Every activation site of a graph, in execution order, residual before layer on the same tensor."""

    activation_sites: list[ActivationSite] = field(default_factory=list)

    def site(self, name: str) -> ActivationSite:
        """The site of that name; KeyError if there is none."""
        for site in self.activation_sites:
            if site.name == name:
                return site
        raise KeyError(name)


def place(module: fx.GraphModule) -> Placement:
    """Find the sites of a float graph."""
    residual = _residual_tensors(module)
    read_by_layers = _tensors_read_by_layers(module)
    unsigned = cannot_be_negative(module)
    placement = Placement()
    for node in module.graph.nodes:
        signed = node not in unsigned
        if node in residual:
            readers = tuple(
                str(reader.target) for reader in _readers_behind_moves(module, node) if is_layer(module, reader)
            )
            placement.activation_sites.append(
                ActivationSite(f"{node.name}.residual", node, "residual", readers, signed)
            )
        if node in read_by_layers:
            readers = tuple(read_by_layers[node])
            placement.activation_sites.append(ActivationSite(node.name, node, "layer", readers, signed))
    return placement


def place_quantizers(
    module: fx.GraphModule,
    make_weight_quantizer: Callable[[Layer], nn.Module],
    make_activation_quantizer: Callable[[ActivationSite], nn.Module],
) -> fx.GraphModule:
    """A copy of `module` with a quantizer in every layer and at every site. `module` must have been inventoried."""
    placed = copy.deepcopy(module)
    twins = dict(zip(module.graph.nodes, placed.graph.nodes, strict=True))
    sites = place(module).activation_sites
    for node in list(layer_nodes(module)):
        _quantize_layer(placed, str(node.target), make_weight_quantizer(node.meta["layer"]))
    behind: dict[fx.Node, fx.Node] = {}  # float tensor -> its residual quantizer
    for site in sites:
        placed.add_submodule(site.module_name, make_activation_quantizer(site))
        _insert(placed, site, twins, behind)
    placed.graph.lint()
    placed.recompile()
    return placed


def _insert(
    placed: fx.GraphModule, site: ActivationSite, twins: dict[fx.Node, fx.Node], behind: dict[fx.Node, fx.Node]
) -> None:
    source = behind.get(site.node, twins[site.node])
    readers = [reader for reader in source.users if site.role == "residual" or str(reader.target) in site.readers]
    with placed.graph.inserting_after(source):
        quantizer = placed.graph.call_module(site.module_name, (source,))
    for reader in readers:
        reader.replace_input_with(source, quantizer)
    if site.role == "residual":
        behind[site.node] = quantizer


def _quantize_layer(placed: fx.GraphModule, name: str, weight_quantizer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    layer = placed.get_submodule(name)
    setattr(placed.get_submodule(parent), child, quantized_layer(layer, weight_quantizer))


def _tensors_read_by_layers(module: fx.GraphModule) -> dict[fx.Node, list[str]]:
    read: dict[fx.Node, list[str]] = {}
    for layer in layer_nodes(module):
        read.setdefault(layer.all_input_nodes[0], []).append(str(layer.target))
    return read


def _residual_tensors(module: fx.GraphModule) -> set[fx.Node]:
    tensors: set[fx.Node] = set()
    for node in module.graph.nodes:
        if is_sum_of_tensors(node):
            tensors.update(_before_moves(module, operand) for operand in node.all_input_nodes)
        if is_join(module, node):
            output = _behind_only_relu(module, node)
            if not all(is_layer(module, reader) for reader in _readers_behind_moves(module, output)):
                tensors.add(output)
    return tensors


def _before_moves(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    while is_move(module, node):
        node = node.all_input_nodes[0]
    return node


def _behind_only_relu(module: fx.GraphModule, join: fx.Node) -> fx.Node:
    readers = list(join.users)
    return readers[0] if len(readers) == 1 and is_relu(module, readers[0]) else join


def _readers_behind_moves(module: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    waiting = [node]
    while waiting:
        for reader in waiting.pop().users:
            if is_move(module, reader):
                waiting.append(reader)
            else:
                yield reader
