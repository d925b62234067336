"""Sensitivities as arrays that a search can add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.graph.inventory import Layer
from core.hardware.kind import FloatArray
from core.policy import Policy
from core.sensitivity.result import never_less_at_fewer_bits

WIDE = 16  # from here on a loss that nobody predicted is taken for nothing


class Predicted(Protocol):
    """Loss increase by layer (weights) or by tensor (activations), then by bits."""

    @property
    def weights(self) -> Mapping[str, Mapping[int, float]]:
        """By layer name."""

    @property
    def activations(self) -> Mapping[str, Mapping[int, float]]:
        """By the name of the tensor that layers read, or of one of these layers."""


def _checked(name: str, losses: Mapping[int, float]) -> dict[int, float]:
    broken = {bits: loss for bits, loss in losses.items() if not isfinite(loss)}
    if broken:
        raise InvalidInput(
            f"the sensitivity of {name!r} is not a number at {sorted(broken)} bits",
            hint="the network may give no finite output on this data, or the layer may never run",
        )
    return never_less_at_fewer_bits(losses)


@dataclass(frozen=True)
class Losses:
    """Predicted loss increases, monotone: `weights` by layer, `activations` by tensor, each by bits.

    `scores` by layer is the one number that some metrics have before any width; empty for the others. `channels` are
    losses by layer, bits and output channel where they were measured: a layer's loss is shared out as they are.
    """

    weights: dict[str, dict[int, float]]
    activations: dict[str, dict[int, float]]
    scores: dict[str, float] = field(default_factory=dict)
    channels: dict[str, dict[int, tuple[float, ...]]] = field(default_factory=dict)

    @classmethod
    def read(cls, predicted: Predicted, layers: Sequence[Layer]) -> Losses:
        """Take what a sensitivity metric found; what it leaves out stays unknown."""
        weights = {layer.name: _checked(layer.name, predicted.weights.get(layer.name, {})) for layer in layers}
        activations: dict[str, dict[int, float]] = {}
        for layer in layers:
            found = predicted.activations.get(layer.reads) or predicted.activations.get(layer.name) or {}
            activations.setdefault(layer.reads, {})
            activations[layer.reads] = activations[layer.reads] or _checked(layer.reads, found)
        scores = {name: each.value for name, each in getattr(predicted, "scores", {}).items()}
        return cls(weights, activations, scores, dict(getattr(predicted, "channels", {})))

    def array(self, losses: Mapping[str, Mapping[int, float]], names: Sequence[str], bits: Sequence[int]) -> FloatArray:
        """[names, bits]; NaN where unknown."""
        rows = [[_loss(losses[name], width) for width in bits] for name in names]
        return np.array(rows, dtype=np.float64).reshape(len(names), len(bits))

    def of_policy(self, layers: Sequence[Layer], policy: Policy) -> float | None:
        """The sum over layers and tensors; None where some width was never predicted.

        Channels of different widths share their layer's loss as their own losses are, or equally where these are not
        known (a reconstruction).
        """
        weights = sum(self.of_weights(layer.name, policy.layers[layer.name].weights) for layer in layers)
        tensors = {layer.reads: policy.layers[layer.name].activations for layer in layers}
        total = weights + sum(self.of_activations(name, bits) for name, bits in tensors.items())
        return total if isfinite(total) else None

    def of_weights(self, layer: str, bits: int | Sequence[int]) -> float:
        """Of a layer's weights alone; NaN where unknown."""
        if isinstance(bits, int):
            return _loss(self.weights[layer], bits)
        widths = np.asarray(bits)
        return sum(
            self.of_kernels(layer, np.flatnonzero(widths == width), int(width), len(bits)) for width in set(bits)
        )

    def of_kernels(self, layer: str, chosen: Sequence[int] | NDArray[np.intp], bits: int, channels: int) -> float:
        """Of some of a layer's output channels; NaN where unknown."""
        shares = np.asarray(self.channels.get(layer, {}).get(bits, np.ones(channels)), dtype=np.float64)
        total = shares.sum()
        share = shares[list(chosen)].sum() / total if total > 0 else len(chosen) / channels
        return _loss(self.weights[layer], bits) * float(share)

    def of_activations(self, tensor: str, bits: int) -> float:
        """Of a tensor that layers read; NaN where unknown."""
        return _loss(self.activations[tensor], bits)


def _loss(losses: Mapping[int, float], bits: int) -> float:
    return losses.get(bits, 0.0 if bits >= WIDE else float("nan"))
