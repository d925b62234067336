"""One unit while it is rounded: its part of the network, its tensors, and what a method may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from core.calibration.rounding.adaround_formulas import reconstruction_error
from core.calibration.rounding.grid import WIDEST, WeightGrid, can_be_rounded
from core.calibration.rounding.samples import CHUNK, Samples, parts
from core.calibration.rounding.units import Unit
from core.errors import InvalidSpecification
from core.graph.quantized_layers import QuantizedLayer
from core.graph.vocabulary import called_module
from core.quantizers.base import ActivationQuantizer, WeightQuantizer

Replace = Callable[[ActivationQuantizer], nn.Module]


@dataclass
class UnitWork:
    """`network` computes the unit with its real quantizers. `tuning`, `judging`: indices of images.

    `inputs`: what the rounded network before the unit gives; `exact_inputs`: what the float one does, where asked for.
    `targets`: the float outputs; `importance`: weights of the error, or None.
    """

    unit: Unit
    network: fx.GraphModule
    inputs: Samples
    targets: Samples
    exact_inputs: Samples | None
    importance: Samples | None
    tuning: Tensor
    judging: Tensor
    generator: torch.Generator
    settled: frozenset[str]  # activation quantizers that an earlier unit has learned
    report: Callable[[float, str], None]

    def __post_init__(self) -> None:
        self.layers = {
            name: layer
            for name in self.unit.layers
            if isinstance(layer := self.network.get_submodule(name), QuantizedLayer)
            and can_be_rounded(layer.weight_quantizer)
        }
        self.start: dict[str, Tensor] = {}
        self.grids: dict[str, WeightGrid] = {}
        for name, layer in self.layers.items():
            self.start[name] = layer.layer.get_parameter("weight").detach().clone()
            self.grids[name] = WeightGrid.of(weight_quantizer(layer), self.start[name])

    def draw(self, count: int) -> Tensor:
        """Indices of images to tune on."""
        drawn = torch.randint(len(self.tuning), (count,), generator=self.generator)
        return self.tuning[drawn]

    def set_codes(self, name: str, codes: Tensor) -> None:
        """Put a layer's weight on these levels. InvalidSpecification where the quantizer does not stay there."""
        weight = self.layers[name].layer.get_parameter("weight")
        latent = self.grids[name].latent(codes, self.start[name])
        found = weight_quantizer(self.layers[name]).integers(latent)
        stays = torch.equal(found.codes, codes.to(torch.int32))
        if not (stays and torch.equal(found.dequantize(), self.grids[name].values(codes))):
            raise InvalidSpecification(
                f"the levels of layer {name!r} move with its weights",
                hint="choose rounding 'nearest', or a method with a step of its own, such as lsq",
            )
        weight.copy_(latent)

    @torch.no_grad()
    def error(self) -> float:
        """Squared error over squared target, over the judging images, with everything as it is."""
        wrong = power = 0.0
        for part in parts(self.judging, CHUNK):
            target = self.targets[part]
            importance = None if self.importance is None else self.importance[part]
            wrong += reconstruction_error(self.network(self.inputs[part]), target, importance).item() * len(part)
            power += reconstruction_error(torch.zeros_like(target), target, importance).item() * len(part)
        return wrong / max(power, 1e-30)

    def moved(self) -> float:
        """Share of the weights that are not where the nearest level is."""
        changed = count = 0
        for name, layer in self.layers.items():
            weight = layer.layer.get_parameter("weight").detach()
            codes = weight_quantizer(layer).integers(weight).codes
            changed += int((codes != weight_quantizer(layer).integers(self.start[name]).codes).sum())
            count += codes.numel()
        return changed / max(count, 1)

    def network_with(self, replace: Replace) -> fx.GraphModule:
        """The unit with other modules in place of its activation quantizers; those of 16 bits are left out."""
        changed = fx.GraphModule(self.network, self.network.graph)
        for name, quantizer in self.activation_quantizers().items():
            parent, _, child = name.rpartition(".")
            other = nn.Identity() if quantizer.bits > WIDEST else replace(quantizer)
            setattr(changed.get_submodule(parent), child, other)
        return changed

    def activation_quantizers(self) -> dict[str, ActivationQuantizer]:
        """By name."""
        return activation_quantizers(self.network)

    def learned_steps(self) -> list[nn.Parameter]:
        """What activation quantizers of up to 8 bits learn, those of earlier units left out."""
        return [
            parameter
            for name, quantizer in self.activation_quantizers().items()
            if name not in self.settled and quantizer.bits <= WIDEST
            for parameter in quantizer.parameters()
        ]

    def project(self) -> None:
        """Bring learned steps back to where they are allowed."""
        for quantizer in self.activation_quantizers().values():
            quantizer.project()

    @contextmanager
    def standing_in(self, others: dict[str, nn.Module]) -> Iterator[None]:
        """Other modules in place of the weight quantizers, by layer."""
        own = {name: layer.weight_quantizer for name, layer in self.layers.items()}
        try:
            for name, other in others.items():
                self.layers[name].weight_quantizer = other
            yield
        finally:
            for name, quantizer in own.items():
                self.layers[name].weight_quantizer = quantizer


def activation_quantizers(network: fx.GraphModule) -> dict[str, ActivationQuantizer]:
    """Those that a graph calls, by name, in execution order."""
    return {
        str(node.target): module
        for node in network.graph.nodes
        if isinstance(module := called_module(network, node), ActivationQuantizer)
    }


def weight_quantizer(layer: QuantizedLayer) -> WeightQuantizer:
    """Of a layer that is not float."""
    assert isinstance(layer.weight_quantizer, WeightQuantizer)  # noqa: S101  layers were chosen by this
    return layer.weight_quantizer


def network_between(model: fx.GraphModule, entry: fx.Node, last: fx.Node) -> fx.GraphModule:
    """What computes `last` from `entry`, and nothing else; the modules are the model's own."""
    needed, waiting = {entry}, [last]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    graph = fx.Graph()
    copies = {entry: graph.placeholder("x")}
    for node in model.graph.nodes:
        if node in needed and node is not entry:
            copies[node] = graph.node_copy(node, lambda source: copies[source])
    graph.output(copies[last])
    return fx.GraphModule(model, graph)
