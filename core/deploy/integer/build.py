"""A fake-quantized network -> an integer program. What has no integer form is refused with the node's name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from core.deploy.activation_grids import site_grids
from core.deploy.deploy_layers import deploy_layers
from core.deploy.integer.arithmetic import build_arithmetic
from core.deploy.integer.builder import Builder, no_integer_form
from core.deploy.integer.functions import build_function
from core.deploy.integer.layers import build_layer
from core.deploy.integer.moves import build_move
from core.deploy.integer.pools import build_pool
from core.deploy.integer.program import IntegerProgram, Rounding, TensorFacts
from core.deploy.integer.sites import build_site, finely
from core.deploy.integer.values import UNBOUNDED, Term, Value
from core.graph.vocabulary import is_move
from core.quantizers.site_range import ActivationGrid

KEEPS_LARGEST = (nn.Softmax, nn.LogSoftmax)
_SOFTMAXES = (torch.softmax, torch.log_softmax, functional.softmax, functional.log_softmax)
_KINDS = (build_function, build_arithmetic, build_pool, build_move)


def build_program(
    model: fx.GraphModule, input_shape: tuple[int, ...], *, rounding: Rounding = "dyadic"
) -> IntegerProgram:
    """`model` as `quantize` or `fine_tune` returns it; `input_shape` C, H, W.

    A softmax at the end is left out: the scores before it have the same largest entry.

    Raises:
        UnsupportedModel: naming the node, where the network has a part that integers cannot express.
    """
    sites = site_grids(model)
    first = _input_site(model, sites)
    grid = sites[first].grid
    image = next(node.name for node in model.graph.nodes if node.op == "placeholder")
    program = IntegerProgram(str(image), input_shape, grid, rounding=rounding)
    low, high = (min(grid.levels), max(grid.levels)) if grid.levels else (grid.low, grid.high)
    program.tensors[program.input] = TensorFacts(input_shape, low, high)
    layers = deploy_layers(model)
    by_node = {layer.node: layer for layer in layers}
    absorbed = {layer.norm: layer.node for layer in layers if layer.norm is not None}
    builder = Builder(model, program, by_node, absorbed, sites)
    for node in model.graph.nodes:
        _build(builder, node, first, grid)
    return program


def _input_site(model: fx.GraphModule, sites: Mapping[fx.Node, object]) -> fx.Node:
    """The quantizer of the image, which may have been padded or reshaped before."""
    image: fx.Node = next(node for node in model.graph.nodes if node.op == "placeholder")
    tensor = image
    while len(tensor.users) == 1:
        tensor = next(iter(tensor.users))
        if tensor in sites:
            return tensor
        if not is_move(model, tensor):
            break
    raise no_integer_form(image, "the image is read as float numbers", "give the layers that read it 8 bits")


def _build(builder: Builder, node: fx.Node, first: fx.Node, grid: ActivationGrid) -> None:
    if node.op == "get_attr":
        return
    if node.op == "placeholder":  # moves before the quantizer: padding writes the code that zero gets
        ones = np.ones([1] * len(builder.program.input_shape))
        code = int(grid.codes(np.zeros(1, np.float32))[0])
        builder.values[node] = Value((Term(builder.program.input, ones, code),), 0 * ones)
    elif node is first:
        (term,) = builder.value(node.all_input_nodes[0]).terms
        ones = np.ones([1] * len(builder.facts(term.tensor).shape))
        builder.values[node] = Value((Term(term.tensor, grid.scale * ones, grid.zero_point),), grid.offset * ones)
        builder.program.sites[builder.sites[node].name] = term.tensor
    elif node.op == "output":
        _build_output(builder, node)
    elif node in builder.sites:
        build_site(builder, node)
    elif node in builder.layers:
        build_layer(builder, node, builder.layers[node])
    elif node in builder.absorbed:
        builder.values[node] = builder.values[builder.absorbed[node]]
    else:
        _build_other(builder, node)


def _build_other(builder: Builder, node: fx.Node) -> None:
    module = builder.module(node)
    if str(node.target).startswith("activation_quantizers."):  # where the policy says float
        builder.values[node] = builder.values[node.all_input_nodes[0]]
        return
    keeps_largest = isinstance(module, KEEPS_LARGEST) or (node.op == "call_function" and node.target in _SOFTMAXES)
    if keeps_largest and all(user.op == "output" for user in node.users):
        builder.values[node] = builder.values[node.all_input_nodes[0]]
        return
    if not any(build(builder, node, module) for build in _KINDS):
        what = type(module).__name__ if module is not None else getattr(node.target, "__name__", str(node.target))
        raise no_integer_form(node, f"{what} cannot be computed in integers", "use the ONNX QDQ file for this network")


def _build_output(builder: Builder, node: fx.Node) -> None:
    sources = node.all_input_nodes
    if len(sources) != 1:
        raise no_integer_form(node, "it has several outputs", "use the ONNX QDQ file for this network")
    value = builder.value(sources[0])
    if value.functions:
        raise no_integer_form(sources[0], "a function at the output is on no grid", "cut it off before exporting")
    program = builder.program
    scale = max(float(np.abs(term.scale).max()) for term in value.terms)
    only = value.terms[0]
    plain = len(value.terms) == 1 and value.clamp == UNBOUNDED and not value.offset.any()
    if plain and (only.scale == scale).all() and only.zero == 0:
        program.output = only.tensor
    else:
        value = finely(builder, node, value)
        only = value.terms[0]
        program.output, scale = only.tensor, float(only.scale.max())
    program.output_scale = scale
