"""Batch norms for a network that came without: one behind each quantizable layer but the last, changing nothing yet.

Files often have their batch norms folded into the weights, and methods that leave the scale of the weights (DoReFa,
PACT, SAT) need one to take it up again. Each gets the layer's own output on training images as running statistics, and
a scale and a shift that undo it: with mean m and variance v of a channel, gamma = sqrt(v + eps) and beta = m, so that
gamma * (y - m) / sqrt(v + eps) + beta = y. Afterwards the network trains like one that had norms all along.

Initialising a norm by the statistics of the data: Salimans and Kingma, https://arxiv.org/abs/1602.07868, section 3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, fx, nn

from core.errors import InvalidInput
from core.graph.build_inventory import build_inventory
from core.graph.inventory import Layer
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import layer_nodes

FOLDER = "inserted_norms"
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


class ChannelStatistics(BaseModel):
    """Of a layer's output, by channel [C]; in the units of the output, and their square."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mean: tuple[float, ...]
    variance: tuple[float, ...]


def insert_normalisation(loaded: LoadedModel, statistics: Mapping[str, ChannelStatistics] | None = None) -> LoadedModel:
    """A copy of the network with norms, and its inventory, which names them.

    `statistics` as `output_statistics` measures them, by layer. Without, the norms are there to be described only:
    they stand for a mean of 0 and a variance of 1.
    """
    module = copy.deepcopy(loaded.module)
    wanted = {layer.name: layer for layer in layers_to_normalise(loaded)}
    for node in list(layer_nodes(module)):
        if layer := wanted.get(str(node.target)):
            found = None if statistics is None else _of_layer(statistics, layer)
            _insert(module, node, _identity(layer, found).to(_device_of(module)))
    module.graph.lint()
    module.recompile()
    of = loaded.inventory
    return LoadedModel(module.eval(), build_inventory(module, of.input_shape, of.source, of.input_layout, of.warnings))


def layers_to_normalise(loaded: LoadedModel) -> tuple[Layer, ...]:
    """Those without a batch norm that can have one; never the last."""
    return tuple(layer for layer in loaded.inventory.without_batch_norm() if layer.takes_batch_norm)


@torch.no_grad()
def output_statistics(loaded: LoadedModel, images: Iterable[Tensor]) -> dict[str, ChannelStatistics]:
    """Mean and variance of each such layer's output. `images`: batches N, C, H, W on the network's device.

    Sums are kept in double precision; memory does not grow with the number of images.
    """
    sums = {layer.name: _Sums() for layer in layers_to_normalise(loaded)}
    hooks = [
        loaded.module.get_submodule(name).register_forward_hook(lambda _, __, output, own=own: own.add(output))
        for name, own in sums.items()
    ]
    try:
        for batch in images:
            loaded.module(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: own.statistics() for name, own in sums.items()}


class _Sums:
    """First and second moments by channel, gathered around the first batch's mean."""

    def __init__(self) -> None:
        self.count = 0
        self.centre: Tensor | None = None

    def add(self, output: Tensor) -> None:
        """N, C or N, C, H, W."""
        values = output.detach().double().transpose(0, 1).flatten(1)  # C, N * H * W
        if self.centre is None:
            self.centre = values.mean(1)
            self.first, self.second = torch.zeros_like(self.centre), torch.zeros_like(self.centre)
        values = values - self.centre[:, None]
        self.count += values.shape[1]
        self.first += values.sum(1)
        self.second += values.square().sum(1)

    def statistics(self) -> ChannelStatistics:
        """Of everything so far."""
        if self.centre is None:
            raise InvalidInput("there is no image to measure with", hint="give at least one training image")
        offset = self.first / self.count
        variance = (self.second / self.count - offset.square()).clamp(min=0)
        return ChannelStatistics(mean=tuple((self.centre + offset).tolist()), variance=tuple(variance.tolist()))


def _of_layer(statistics: Mapping[str, ChannelStatistics], layer: Layer) -> ChannelStatistics:
    if layer.name not in statistics:
        raise InvalidInput(f"the output of layer {layer.name!r} was not measured", hint="calibrate this network again")
    return statistics[layer.name]


def _identity(layer: Layer, statistics: ChannelStatistics | None) -> BatchNorm:
    norm: BatchNorm = (nn.BatchNorm1d if layer.kind == "linear" else nn.BatchNorm2d)(layer.output_channels)
    if statistics is None or norm.running_mean is None or norm.running_var is None:
        return norm
    mean, variance = torch.tensor(statistics.mean), torch.tensor(statistics.variance)
    with torch.no_grad():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
    return norm


def _insert(module: fx.GraphModule, node: fx.Node, norm: BatchNorm) -> None:
    name = f"{FOLDER}.{node.name}"
    module.add_submodule(name, norm)
    with module.graph.inserting_after(node):
        call = module.graph.call_module(name, (node,))
    node.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)


def _device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
