"""The layers as they are deployed: integers (or a float weight) with the batch norm behind them absorbed.

Every export starts from this list, so that all of them hold the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from torch import Tensor, fx, nn

from core.deploy.batch_norm import BatchNorm, factor_and_shift, following_batch_norm
from core.deploy.integer_weight import Doubles, Floats, IntegerWeight, integer_weight, output_axis
from core.graph.quantized_layers import QuantizedLayer
from core.graph.vocabulary import LayerModule, called_module


@dataclass(frozen=True)
class ExactScales:
    """[C] each, float64: a layer's scale, offset and bias as its parameters give them, before a file rounds them.

    A weight's offset is added up over all inputs: rounded to float32 it moves sums by more than float32's own noise.
    """

    scale: Doubles
    offset: Doubles
    bias: Doubles


@dataclass(frozen=True)
class DeployLayer:
    """One layer. Exactly one of `integers` and `weight` is set; `bias` is float32 [C], C output channels, or None.

    `norm` is the call of the absorbed batch norm: its output is this layer's output. `exact` stands beside `integers`.
    """

    name: str
    node: fx.Node
    module: LayerModule
    integers: IntegerWeight | None
    weight: Floats | None
    bias: Floats | None
    norm: fx.Node | None
    exact: ExactScales | None = None

    @property
    def output(self) -> fx.Node:
        """The node whose value this layer computes."""
        return self.node if self.norm is None else self.norm


def deploy_layers(model: fx.GraphModule) -> list[DeployLayer]:
    """All layers in execution order."""
    return [_with_norm(model, layer) for layer in _layers(model)]


def layers_beside_norms(model: fx.GraphModule) -> list[DeployLayer]:
    """All layers in execution order, for formats that keep batch norms as nodes of their own: none is absorbed."""
    return list(_layers(model))


def _layers(model: fx.GraphModule) -> Iterator[DeployLayer]:
    for node in model.graph.nodes:
        quantized = called_module(model, node)
        if isinstance(quantized, QuantizedLayer):
            yield _unfolded(node, quantized)


def _with_norm(model: fx.GraphModule, layer: DeployLayer) -> DeployLayer:
    norm = following_batch_norm(model, layer.node) if _foldable(layer) else None
    return layer if norm is None else _folded(layer, norm, cast(BatchNorm, called_module(model, norm)))


def _unfolded(node: fx.Node, quantized: QuantizedLayer) -> DeployLayer:
    module = cast(LayerModule, quantized.layer)
    integers = integer_weight(quantized, output_axis(module))
    weight = None if integers is not None else _floats(module.weight)
    bias = None if module.bias is None else _floats(module.bias)
    exact = None if integers is None else _exact(integers, bias)
    return DeployLayer(str(node.target), node, module, integers, weight, bias, None, exact)


def _exact(integers: IntegerWeight, bias: Floats | None) -> ExactScales:
    scale, offset = integers.scale.astype(np.float64), integers.offset.astype(np.float64)
    nothing = np.zeros(1)
    return ExactScales(scale, offset, nothing if bias is None else bias.astype(np.float64))


def _foldable(layer: DeployLayer) -> bool:
    """In a transposed convolution with groups, one channel of the weight belongs to several of the output."""
    return not (isinstance(layer.module, nn.ConvTranspose2d) and layer.module.groups > 1)


def _folded(layer: DeployLayer, norm: fx.Node, module: BatchNorm) -> DeployLayer:
    factor, shift = factor_and_shift(module, str(norm.target))
    bias = shift if layer.bias is None else shift + layer.bias * factor
    folded = replace(layer, bias=bias.astype(np.float32), norm=norm)
    if layer.integers is not None and layer.exact is not None:
        integers = layer.integers.times(factor)
        scale = np.copysign(layer.exact.scale * factor, integers.scale)
        exact = ExactScales(scale, layer.exact.offset * factor, shift + layer.exact.bias * factor)
        return replace(folded, integers=integers, exact=exact)
    return replace(folded, weight=_scaled(cast(Floats, layer.weight), factor, output_axis(layer.module)))


def _scaled(weight: Floats, factor: Doubles, axis: int) -> Floats:
    along = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
    scaled: Floats = (weight * factor.reshape(along)).astype(np.float32)
    return scaled


def _floats(values: Tensor) -> Floats:
    return values.detach().cpu().numpy().astype(np.float32)
