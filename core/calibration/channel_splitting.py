"""Outlier channel splitting: a channel that stretches the range is read twice, at half its size.

Zhao, Hu, Dotzel, De Sa, Zhang 2019, "Improving Neural Network Quantization without Retraining using Outlier Channel
Splitting", https://arxiv.org/abs/1901.09504, sections 3.1 to 3.3. ceil(r C) times, the input channel with the largest
magnitude (found anew each time) is split: its weights into halves (weights), or itself (activations).

In units of the step, a value becomes (w - 1/2) / 2 and (w + 1/2) / 2, whose roundings add up to the rounding of w, so
that splitting itself adds no error. The step is known only once a network is quantized: `divide_in_steps` does it then,
and until then the halves are equal. The layer that reads the image is not split, nor are those with groups.

Reconstructed: channels of activations are chosen by their largest magnitude on the calibration images. Layers that read
one tensor each have a selection of their own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from core.errors import InvalidInput
from core.graph.changed_network import described_again
from core.graph.layer_weight import grouped_weight, input_channels
from core.graph.loaded_model import LoadedModel
from core.graph.quantized_layers import QuantizedLayer
from core.graph.split_channels import (
    ACTIVATION_KEY,
    WEIGHT_KEY,
    origins,
    split_activation_channels,
    split_weight_channels,
    splittable_layers,
)
from core.graph.vocabulary import called_layer, called_module
from core.quantizers.base import ActivationQuantizer, WeightQuantizer

Doubles = NDArray[np.float64]


def split_weights(loaded: LoadedModel, ratio: float) -> LoadedModel:
    """A copy that computes the same, whose layers read `ratio` more channels, those with the largest weights twice."""
    module = copy.deepcopy(loaded.module)
    for node in _chosen(module):
        weight = grouped_weight(called_layer(module, node))[0]  # O, I, K
        largest = weight.abs().amax((0, 2)).double().cpu().numpy()
        split_weight_channels(module, node, parents_of(largest, math.ceil(ratio * len(largest))))
    return described_again(loaded, module)


def split_activations(
    loaded: LoadedModel, ratio: float, largest: Mapping[str, Sequence[float]] | None = None
) -> LoadedModel:
    """The same for activations. `largest`: of each layer's input channels [I], the largest magnitude on images.

    Without it, the graph is right and the choice of channels is not.
    """
    module = copy.deepcopy(loaded.module)
    for node in _chosen(module):
        channels = input_channels(called_layer(module, node))
        found = np.ones(channels) if largest is None else np.array(largest[str(node.target)], np.float64)
        split_activation_channels(module, node, parents_of(found, math.ceil(ratio * channels)))
    return described_again(loaded, module)


def parents_of(largest: Doubles, count: int) -> list[int]:
    """Which channel each of `count` splits takes: the one that is largest by then. `largest` [C]."""
    sizes = np.concatenate([largest, np.zeros(count)])
    parents = []
    for position in range(len(largest), len(sizes)):
        parent = int(np.argmax(sizes[:position]))
        sizes[parent] /= 2
        sizes[position] = sizes[parent]
        parents.append(parent)
    return parents


def _chosen(module: fx.GraphModule) -> list[fx.Node]:
    nodes = splittable_layers(module)
    if not nodes:
        raise InvalidInput(
            "no layer can have its channels split: the first is left alone, and so are those with groups",
            hint="set the splitting to 0",
        )
    return nodes


@torch.no_grad()
def divide_in_steps(model: fx.GraphModule) -> None:
    """In place, once a network with split channels is quantized and calibrated: halves become half a step apart."""
    for node in model.graph.nodes:
        layer = called_module(model, node)
        if WEIGHT_KEY in node.meta and isinstance(layer, QuantizedLayer):
            _divide_weight(layer, node.meta[WEIGHT_KEY])
        if ACTIVATION_KEY in node.meta:
            _divide_activation(model, node, node.meta[ACTIVATION_KEY])


def _divide_weight(quantized: QuantizedLayer, parents: Sequence[int]) -> None:
    """Only on plain grids that stay where they are when the weights move."""
    quantizer, layer = quantized.weight_quantizer, quantized.layer
    if not isinstance(quantizer, WeightQuantizer):
        return
    latent = layer.get_parameter("weight").detach()
    before = quantizer.integers(latent)
    if before.levels is not None or before.offset.any() or bool((before.step != 1).any()):
        return
    whole = latent.clone()
    weight = grouped_weight(layer)[0]  # type: ignore[arg-type]  # O, I, K
    step = before.scale.detach().expand(weight.shape[0]).view(-1, 1)
    weight.copy_(_divided(weight, parents, step))
    if not torch.equal(quantizer.integers(latent).scale, before.scale):
        latent.copy_(whole)


def _divided(weight: Tensor, parents: Sequence[int], step: Tensor) -> Tensor:
    """[O, I + n, K], parts of any size -> parts half a step apart with the same sums; `step` [O, 1]."""
    channels = weight.shape[1] - len(parents)
    index = torch.tensor(origins(parents, channels), device=weight.device)
    sums = torch.zeros_like(weight[:, :channels]).index_add(1, index, weight)
    parts = list(sums.unbind(1))
    for parent in parents:
        whole = parts[parent]
        parts[parent] = (whole - step / 2) / 2
        parts.append((whole + step / 2) / 2)
    return torch.stack(parts, 1)


def _divide_activation(model: fx.GraphModule, halved: fx.Node, parents: Sequence[int]) -> None:
    quantizer = _quantizer_behind(model, halved)
    if quantizer is None or not quantizer.grid().plain:
        return
    shift = _constant(model, halved.args[1])
    step, shifts = quantizer.grid().scale, [0.0] * (shift.numel() - len(parents))
    for parent in parents:
        whole = shifts[parent]
        shifts[parent] = (whole - step / 2) / 2
        shifts.append((whole + step / 2) / 2)
    shift.copy_(torch.tensor(shifts).view(shift.shape))


def _quantizer_behind(model: fx.GraphModule, node: fx.Node) -> ActivationQuantizer | None:
    """That of the layer, past the selection that may stand in between."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        module = called_module(model, node)
        if isinstance(module, ActivationQuantizer):
            return module
        if isinstance(module, QuantizedLayer):
            return None
    return None


def _constant(model: fx.GraphModule, node: object) -> Tensor:
    return model.get_buffer(str(node.target)) if isinstance(node, fx.Node) else torch.zeros(0)
