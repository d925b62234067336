"""Where quantizers sit: on tensors for activations, in the layer for weights. One pass over the graph.

Rules, as in HAWQ-V3 (Yao et al. 2021, arXiv:2011.10680, section 3 and appendix on residual connections):

- each tensor that a quantizable layer reads has one site of role "layer", shared by all the layers that read it;
- each operand of a sum and the output of each join (sum, concatenation, average, product) has one site of role
  "residual", behind the ReLU where that is the join's only reader; a join that only layers or products read has just
  their sites;
- so have an image that not only layers read, and an activation function, other than a clamp, that ends the network or
  whose values are averaged or normalised: in integers it is a table, which has to end in codes;
- each operand of a product of two activations has one site of role "product", of 8 bits at most: 32 bits would not hold
  the sums of products of finer ones;
- on a tensor with several, the residual site comes first and the others stand on the branches to their readers.

Slices, zero padding and reshapes keep a tensor on its grid, so an operand's site sits before them. A product of two
functions of one tensor, as x * sigmoid(x), is a function of that tensor and has no sites inside.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from torch import fx, nn
from torch.nn import functional

from core.graph.inventory import Layer
from core.graph.pointwise import is_clamp, is_scalar_arithmetic, pointwise_source
from core.graph.quantized_layers import quantized_layer
from core.graph.vocabulary import (
    BATCH_NORM_TYPES,
    called_module,
    cannot_be_negative,
    is_average,
    is_join,
    is_layer,
    is_move,
    is_product_of_tensors,
    is_relu,
    is_sum_of_tensors,
    layer_nodes,
)

Role = Literal["layer", "residual", "product"]
PRODUCT_BITS = 8


@dataclass(frozen=True)
class ActivationSite:
    """A tensor that is quantized. `name` is the tensor's for the role layer, `<tensor>.<role>` for the others."""

    name: str
    node: fx.Node
    role: Role
    readers: tuple[str, ...]  # layers that read it, directly or, but for the role layer, behind moves
    signed: bool
    branches: tuple[fx.Node, ...] = ()  # for the role product: what reads it on the way to products

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
    residual, products = _joined_tensors(module)
    multiplied = {_before_moves(module, operand) for product in products for operand in product.all_input_nodes}
    read_by_layers = _tensors_read_by_layers(module)
    unsigned = cannot_be_negative(module)
    placement = Placement()

    def add(node: fx.Node, role: Role, readers: Iterable[str], branches: Iterable[fx.Node] = ()) -> None:
        name = node.name if role == "layer" else f"{node.name}.{role}"
        signed = node not in unsigned
        placement.activation_sites.append(ActivationSite(name, node, role, tuple(readers), signed, tuple(branches)))

    for node in module.graph.nodes:
        behind = [str(each.target) for each in _readers_behind_moves(module, node) if is_layer(module, each)]
        if node in residual:
            add(node, "residual", behind)
        if node in multiplied:
            add(node, "product", behind, _branches_to(module, node, products))
        if node in read_by_layers:
            add(node, "layer", read_by_layers[node])
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
    chosen = {twins[branch] for branch in site.branches}
    readers = [
        reader
        for reader in source.users
        if site.role == "residual" or reader in chosen or (site.role == "layer" and str(reader.target) in site.readers)
    ]
    with placed.graph.inserting_after(source):
        quantizer = placed.graph.call_module(site.module_name, (source,))
    quantizer.meta.update({name: source.meta[name] for name in source.meta.keys() & {"shape"}})
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


def _joined_tensors(module: fx.GraphModule) -> tuple[set[fx.Node], set[fx.Node]]:
    """Tensors with a residual site, and the products of two activations.

    A tensor on a grid ends the search for what a product's operands are functions of, so that each site that is found
    may turn a function into a product.
    """
    tensors: set[fx.Node] = set()
    products: set[fx.Node] = set()
    while True:
        found = products | {node for node in module.graph.nodes if _is_product(module, node, tensors)}
        sites = _residual_tensors(module, found)
        if (found, sites) == (products, tensors):
            return tensors, products
        tensors, products = sites, found


def _is_product(module: fx.GraphModule, node: fx.Node, ends: set[fx.Node]) -> bool:
    return is_product_of_tensors(node) and pointwise_source(module, node, ends - {node}) is node


def _residual_tensors(module: fx.GraphModule, products: set[fx.Node]) -> set[fx.Node]:
    tensors: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder" and not _only_layers_read_image(module, node):
            tensors.add(node)
        if is_sum_of_tensors(node):
            tensors.update(_before_moves(module, operand) for operand in node.all_input_nodes)
        if node in products or is_join(module, node):
            output = _behind_only_relu(module, node)
            readers = list(_readers_behind_moves(module, output))
            if not all(reader in products or is_layer(module, reader) for reader in readers):
                tensors.add(output)
        if node.op == "output" or is_average(module, node) or isinstance(called_module(module, node), BATCH_NORM_TYPES):
            tensors.update(_functions_read(module, node))
    return tensors


def _only_layers_read_image(module: fx.GraphModule, image: fx.Node) -> bool:
    """Then the site of the tensor that they read is where the image becomes integers, moved or not."""
    tensor = image
    while len(tensor.users) == 1 and is_move(module, reader := next(iter(tensor.users))):
        tensor = reader
    return all(is_layer(module, reader) for reader in tensor.users)


def _functions_read(module: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    for operand in node.all_input_nodes:
        tensor = _before_moves(module, operand)
        while node.op == "output" and _selects(module, tensor):
            tensor = _before_moves(module, tensor.all_input_nodes[0])
        if _ends_in_function(module, tensor):
            yield tensor


def _selects(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether each value is one of its input's, though in other numbers than a move's."""
    if node.op == "call_function":
        return node.target in (functional.max_pool2d, functional.interpolate)
    return isinstance(called_module(module, node), nn.MaxPool2d | nn.AdaptiveMaxPool2d | nn.Upsample)


def _ends_in_function(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a tensor is not only scaled and limited sums of products, but a function of them."""
    source = pointwise_source(module, node)
    while node is not source and (is_clamp(module, node) or is_scalar_arithmetic(node)):
        node = node.all_input_nodes[0]
    return node is not source


def _branches_to(module: fx.GraphModule, node: fx.Node, products: set[fx.Node]) -> Iterator[fx.Node]:
    """The direct readers of a tensor that are products, or that lead to one by moves alone."""
    for reader in node.users:
        if reader in products or (
            is_move(module, reader) and any(each in products for each in _readers_behind_moves(module, reader))
        ):
            yield reader


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
