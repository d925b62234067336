"""What every sensitivity metric is: a card, and two functions that judge weights and activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.calibration.calibration import Calibration
from core.errors import InvalidInput
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice, SensitivityChoice
from core.jobs.task import Reporter
from core.quantizers.registry import method_by_id
from core.sensitivity.chunks import Batch, chunks
from core.sensitivity.shared_prefix import behind
from core.sensitivity.terms import Side


class MetricCard(BaseModel):
    """What a person reads before choosing a metric."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    paper: str
    link: str
    summary: str
    score: str = Field(default="", description="the one number it has for each layer, before any width is looked at")
    per_channel: bool = Field(default=False, description="whether it tells output channels of a layer apart")
    uses_labels: bool = Field(description="whether it looks at the labels of the images")
    uses_traces: bool = Field(default=False, description="whether weights rest on Hessian traces, a task of its own")
    reconstruction: bool = False
    reconstruction_notes: str = ""


@dataclass(frozen=True)
class Subject:
    """What is measured. `traces`: the weights' Hessian traces by layer, where the stage before found them."""

    loaded: LoadedModel
    calibration: Calibration
    batches: Sequence[Batch]
    quantizer: QuantizerChoice
    choice: SensitivityChoice = field(default_factory=SensitivityChoice)
    traces: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def weight_bits(self) -> tuple[int, ...]:
        """Widths that the method has for weights."""
        return method_by_id(self.quantizer.method).card.weight_bits

    @property
    def activation_bits(self) -> tuple[int, ...]:
        """Widths that the method has for activations."""
        return method_by_id(self.quantizer.method).card.activation_bits

    def pieces(self, at_once: int) -> list[Batch]:
        """All images, at most so many at once. InvalidInput where there is none."""
        found = chunks(self.batches, self.loaded.inventory, most_per_chunk=at_once)
        if not found:
            raise InvalidInput("there is no image to measure sensitivity on", hint="give at least one training image")
        return found

    def idle_layers(self) -> list[str]:
        """Layers whose output the network's output does not depend on."""
        nodes = {str(node.target): node for node in self.loaded.module.graph.nodes if node.op == "call_module"}
        return [
            layer.name
            for layer in self.loaded.inventory.layers
            if not any(node.op == "output" for node in behind([nodes[layer.name]]))
        ]


@dataclass(frozen=True)
class MetricRun:
    """How a metric is run: it ends within the budget, with what it has by then."""

    budget_s: float
    seed: int
    reporter: Reporter


@dataclass(frozen=True)
class Metric:
    """One metric."""

    card: MetricCard
    weights: Callable[[Subject, MetricRun], Side]
    activations: Callable[[Subject, MetricRun], Side]
