"""One view of every kind of layer's weight, and a bias for layers that came without."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.graph.vocabulary import LayerModule


def grouped_weight(layer: LayerModule) -> Tensor:
    """groups, outputs of a group, inputs of a group, kernel positions: a view, writing to it writes the weight."""
    return in_groups(layer, layer.weight.detach())


def in_groups(layer: LayerModule, weight: Tensor) -> Tensor:
    """The same view of another weight of the layer's shape."""
    if isinstance(layer, nn.Linear):
        return weight.view(1, *weight.shape, 1)
    groups = layer.groups
    if isinstance(layer, nn.ConvTranspose2d):
        return weight.view(groups, weight.shape[0] // groups, weight.shape[1], -1).transpose(1, 2)
    return weight.view(groups, weight.shape[0] // groups, weight.shape[1], -1)


def input_channels(layer: LayerModule) -> int:
    """Of the tensor that it reads."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def output_channels(layer: LayerModule) -> int:
    """Of the tensor that it computes."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


@torch.no_grad()
def scale_channels(layer: LayerModule, *, outputs: Tensor | None = None, inputs: Tensor | None = None) -> None:
    """Multiply the weight, in place: `outputs` [O] by output channel, `inputs` [I] by input channel, in float64."""
    weight = grouped_weight(layer)
    groups, rows, columns, _ = weight.shape
    exact = weight.double()
    if outputs is not None:
        exact *= outputs.double().to(weight.device).view(groups, rows, 1, 1)
    if inputs is not None:
        exact *= inputs.double().to(weight.device).view(groups, 1, columns, 1)
    weight.copy_(exact)


def response_to_constant(layer: LayerModule, values: Tensor, weight: Tensor | None = None) -> Tensor:
    """[I] -> [O], float64: what constant input channels add to each output, away from a zero-padded border.

    `weight`: another than the layer's own, of its shape.
    """
    sums = in_groups(layer, layer.weight.detach() if weight is None else weight.detach()).double().sum(3)
    groups, rows, columns = sums.shape
    response = torch.einsum("goi,gi->go", sums, values.double().to(sums.device).view(groups, columns))
    return response.reshape(groups * rows)


@torch.no_grad()
def layer_bias(layer: LayerModule) -> Tensor:
    """[O]; of zeros, and from now on the layer's own, where it had none."""
    if layer.bias is None:
        layer.bias = nn.Parameter(layer.weight.new_zeros(output_channels(layer)))
    return layer.bias.detach()
