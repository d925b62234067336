"""Bias correction: rounding moves the mean of a layer's output, and the bias takes it back, channel by channel.

Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2 and appendices B to D. With eps = Wq - W,

    analytic    b <- b - sum over the kernel of eps E[x], E[x] from the batch norm before the layer: see expected_means;
    empirical   b <- b - (E[y quantized] - E[y float]), layer after layer, what stands before already quantized and
                corrected.

Where a batch norm follows that is not folded, its running mean takes the correction instead of a bias.

Reconstructed: E[x] is measured on images where no batch norm gives it. A zero-padded border counts like the rest of the
image in the analytic form, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, fx, nn

from core.errors import InvalidInput
from core.graph.expected_means import expected_moments
from core.graph.fold_batch_norm import BatchNorm, factor_of
from core.graph.inventory import Inventory, Layer
from core.graph.layer_weight import layer_bias, response_to_constant
from core.graph.quantized_layers import QuantizedLayer
from core.graph.vocabulary import BATCH_NORM_TYPES, LayerModule, called_module

Kind = Literal["empirical", "analytic"]
Images = Callable[[], Iterable[Tensor]]  # the same batches N, C, H, W at each call, on the network's device
KEPT_BYTES = 2**30  # values of all images are kept at once, while the network is gone through once
SMALLEST_FACTOR = 1e-12  # a norm that multiplies by less passes nothing on


class BiasCorrection(BaseModel):
    """What was corrected."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Kind
    images: int = Field(description="how many were looked at; 0 where batch norms said it all")
    shifts: dict[str, float] = Field(description="by layer: root mean square of what its channels' means were off")
    measured: tuple[str, ...] = Field(description="analytic: layers whose input's mean was measured")


@dataclass(frozen=True)
class _Spot:
    """A layer of the quantized network and its counterpart in the float one."""

    layer: Layer
    node: fx.Node
    quantized: QuantizedLayer
    exact: LayerModule
    norm: BatchNorm | None
    exact_norm: BatchNorm | None

    @property
    def axis(self) -> int:
        """Of the channels in the output, counted from behind where positions stand in front."""
        return -1 if self.layer.kind == "linear" else 1

    @property
    def output(self) -> nn.Module:
        """The module of the float network whose output is corrected to."""
        return self.exact if self.exact_norm is None else self.exact_norm

    @torch.no_grad()
    def correct(self, shift: Tensor) -> float:
        """Take `shift` [C] off the mean behind the norm; its root mean square."""
        if self.norm is None:
            bias = layer_bias(cast(LayerModule, self.quantized.layer))
            bias.copy_(bias.double() - shift.to(bias.device))
        else:
            factor, mean = factor_of(self.norm), cast(Tensor, self.norm.running_mean)
            passes = factor.abs() > SMALLEST_FACTOR
            moved = torch.where(passes, shift.cpu() / torch.where(passes, factor, 1.0), 0.0)
            mean.copy_(mean.double() + moved.to(mean.device))
        return float(shift.square().mean().sqrt())


def correct_bias(
    quantized: fx.GraphModule, exact: fx.GraphModule, inventory: Inventory, images: Images | None, kind: Kind
) -> BiasCorrection:
    """Correct `quantized` in place; its weights are final. `exact`: the float network that it was made from.

    `images`: training images. The analytic kind wants them only where batch norms do not tell; None is no images.

    Raises:
        InvalidInput: where images are needed and there are none.
    """
    add_missing_biases(quantized, inventory)
    spots = list(_spots(quantized, exact, inventory))
    if kind == "analytic":
        return _analytic(exact, spots, images)
    if images is None:
        raise InvalidInput(
            "empirical bias correction compares outputs on images, and there are none",
            hint="give images, or choose the analytic correction, which reads batch norms",
        )
    return _empirical(quantized, exact, spots, images)


def add_missing_biases(quantized: fx.GraphModule, inventory: Inventory) -> None:
    """A bias of zeros for each layer that has none and no batch norm to correct: in place, before weights are read."""
    for layer in inventory.layers:
        found = quantized.get_submodule(layer.name)
        if isinstance(found, QuantizedLayer) and _norm(quantized, layer) is None:
            layer_bias(cast(LayerModule, found.layer))


def _spots(quantized: fx.GraphModule, exact: fx.GraphModule, inventory: Inventory) -> Iterator[_Spot]:
    for node in quantized.graph.nodes:
        module = called_module(quantized, node)
        if isinstance(module, QuantizedLayer):
            layer = inventory.layer(str(node.target))
            twin = cast(LayerModule, exact.get_submodule(layer.name))
            yield _Spot(layer, node, module, twin, _norm(quantized, layer), _norm(exact, layer))


def _norm(module: fx.GraphModule, layer: Layer) -> BatchNorm | None:
    if layer.batch_norm is None or not layer.takes_batch_norm:
        return None
    norm = module.get_submodule(layer.batch_norm)
    return norm if isinstance(norm, BATCH_NORM_TYPES) and norm.running_mean is not None else None


# the analytic kind


@torch.no_grad()
def _analytic(exact: fx.GraphModule, spots: list[_Spot], images: Images | None) -> BiasCorrection:
    moments = expected_moments(exact)
    nodes = {str(node.target): node for node in exact.graph.nodes if node.op == "call_module"}
    read = {spot.layer.name: nodes[spot.layer.name].all_input_nodes[0] for spot in spots}
    means = {name: moments[node].mean for name, node in read.items() if node in moments}
    missing = [spot for spot in spots if spot.layer.name not in means]
    seen = 0
    if missing:
        measured, seen = _measured_inputs(exact, missing, images)
        means |= measured
    shifts = {spot.layer.name: spot.correct(_expected_shift(spot, means[spot.layer.name])) for spot in spots}
    return BiasCorrection(
        kind="analytic", images=seen, shifts=shifts, measured=tuple(spot.layer.name for spot in missing)
    )


def _expected_shift(spot: _Spot, mean: Tensor) -> Tensor:
    """[C] float64: the quantized layer's mean output over that of the float one, for inputs of this mean [I]."""
    layer = cast(LayerModule, spot.quantized.layer)
    found = _behind_norm(response_to_constant(layer, mean, spot.quantized.quantized_weight()), layer, spot.norm)
    return found - _behind_norm(response_to_constant(spot.exact, mean), spot.exact, spot.exact_norm)


def _behind_norm(mean: Tensor, layer: LayerModule, norm: BatchNorm | None) -> Tensor:
    """[C]: of a layer's output without its bias -> with its bias, and behind the norm."""
    mean = mean.cpu()
    if layer.bias is not None:
        mean = mean + layer.bias.detach().double().cpu()
    if norm is None:
        return mean
    beta = 0.0 if norm.bias is None else norm.bias.detach().double().cpu()
    return (mean - cast(Tensor, norm.running_mean).double().cpu()) * factor_of(norm) + beta


def _measured_inputs(exact: fx.GraphModule, spots: list[_Spot], images: Images | None) -> tuple[dict[str, Tensor], int]:
    if images is None:
        raise InvalidInput(
            f"the mean of what layer {spots[0].layer.name!r} reads follows from no batch norm",
            hint="give images to measure it on, or leave the biases uncorrected",
        )
    means = {spot.layer.name: _Mean(-1 if spot.layer.kind == "linear" else 1) for spot in spots}
    hooks = [
        spot.exact.register_forward_pre_hook(lambda _, inputs, own=means[spot.layer.name]: own.add(inputs[0]))
        for spot in spots
    ]
    seen = _run(exact, images(), hooks)
    return {name: own.value() for name, own in means.items()}, seen


# the empirical kind


class _Mean:
    """Of each channel, over everything so far, in double precision."""

    def __init__(self, axis: int) -> None:
        self.axis, self.count, self.total = axis, 0, torch.zeros(0)

    def add(self, x: Tensor) -> None:
        """Channels along `axis`."""
        values = x.detach().transpose(self.axis, -1).flatten(0, -2)
        total = values.sum(0, dtype=torch.float64).cpu()
        self.total = total if not self.count else self.total + total
        self.count += len(values)

    def value(self) -> Tensor:
        """[C] float64."""
        return self.total / self.count


@torch.no_grad()
def _empirical(quantized: fx.GraphModule, exact: fx.GraphModule, spots: list[_Spot], images: Images) -> BiasCorrection:
    run = _LayerByLayer(quantized, images())
    means = {spot.layer.name: _Mean(spot.axis) for spot in spots}
    hooks = [
        spot.output.register_forward_hook(lambda _, __, output, own=means[spot.layer.name]: own.add(output))
        for spot in spots
    ]
    seen = _run(exact, run.batches, hooks)
    by_node = {spot.node: spot for spot in spots}
    shifts: dict[str, float] = {}
    for node, values in run.visit():
        if (spot := by_node.get(node)) is not None:
            shifts[spot.layer.name] = _corrected(spot, values, means[spot.layer.name].value())
    return BiasCorrection(kind="empirical", images=seen, shifts=shifts, measured=())


def _corrected(spot: _Spot, outputs: list[Tensor], wanted: Tensor) -> float:
    """Correct the layer, and with it its outputs, which are given in batches."""
    mean = _Mean(spot.axis)
    for output in outputs:
        mean.add(output)
    found = mean.value()
    if spot.norm is not None:
        beta = 0.0 if spot.norm.bias is None else spot.norm.bias.detach().double().cpu()
        found = (found - cast(Tensor, spot.norm.running_mean).double().cpu()) * factor_of(spot.norm) + beta
        return spot.correct(found - wanted)
    shift = found - wanted
    for output in outputs:
        spread = [1] * output.dim()
        spread[spot.axis] = -1
        output.sub_(shift.to(output).view(spread))
    return spot.correct(shift)


def _run(module: nn.Module, batches: Iterable[Tensor], hooks: list[Any]) -> int:
    seen = 0
    try:
        for batch in batches:
            module(batch)
            seen += len(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise InvalidInput("there is no image to correct biases on", hint="give at least one training image")
    return seen


class _LayerByLayer:
    """All images through a graph, node by node; values nobody needs any more are dropped."""

    def __init__(self, module: fx.GraphModule, images: Iterable[Tensor]) -> None:
        self.runner = fx.Interpreter(module)
        self.nodes = list(module.graph.nodes)
        self.batches = list(_as_many_as_fit(images, _bytes_of_one_image(self.nodes)))
        self.last_use = {source: node for node in self.nodes for source in node.all_input_nodes}
        self.values: dict[fx.Node, list[Any]] = {}

    def visit(self) -> Iterator[tuple[fx.Node, list[Any]]]:
        """Each node and its values by batch, which may be changed in place before the next is computed."""
        for node in self.nodes:
            if node.op == "output":
                return
            self.values[node] = [self._value(node, position) for position in range(len(self.batches))]
            yield node, self.values[node]
            for source in node.all_input_nodes:
                if self.last_use[source] is node:
                    del self.values[source]

    def _value(self, node: fx.Node, position: int) -> Any:
        if node.op == "placeholder":
            return self.batches[position]
        self.runner.env = {source: self.values[source][position] for source in node.all_input_nodes}
        return self.runner.run_node(node)


def _as_many_as_fit(images: Iterable[Tensor], bytes_of_one: int) -> Iterator[Tensor]:
    left = max(1, KEPT_BYTES // max(bytes_of_one, 1))
    for batch in images:
        yield batch[:left]
        left -= len(batch)
        if left <= 0:
            return


def _bytes_of_one_image(nodes: list[fx.Node]) -> int:
    """Of the values that are needed at once, float32."""
    sizes: dict[fx.Node, int] = {}
    last_use = {source: position for position, node in enumerate(nodes) for source in node.all_input_nodes}
    alive = most = 0
    for position, node in enumerate(nodes):
        shape = node.meta.get("shape")
        known = max((sizes[source] for source in node.all_input_nodes), default=0)  # a quantizer keeps the shape
        sizes[node] = known if shape is None else 4 * math.prod(shape[1:])
        alive += sizes[node]
        most = max(most, alive)
        alive -= sum(sizes[source] for source in node.all_input_nodes if last_use[source] == position)
    return most
