"""How far rounding moves the weights: ||Q(w) - w||^2 by layer and width (HAWQ-V2, arXiv 1911.03852, eq. 11)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.calibration.quantize import weight_quantizer
from core.graph.inventory import Layer
from core.graph.loaded_model import LoadedModel
from core.quantizers.registry import method_by_id

LossByBits = dict[int, float]


@torch.no_grad()
def rounded_weight(loaded: LoadedModel, layer: Layer, method: str, granularity: str, bits: int) -> Tensor:
    """The layer's weight as the method rounds it before any training."""
    weight = loaded.module.get_parameter(f"{layer.name}.weight")
    quantizer = weight_quantizer(method_by_id(method), layer, bits, granularity).to(weight.device)
    quantizer.initialise(weight)  # type: ignore[operator]
    rounded: Tensor = quantizer(weight)
    return rounded


@torch.no_grad()
def weight_perturbations(
    loaded: LoadedModel, method: str, granularity: str, bits: Sequence[int]
) -> dict[str, LossByBits]:
    """By layer, then by bits."""
    return {
        layer.name: {width: _distance(loaded, layer, method, granularity, width) for width in bits}
        for layer in loaded.inventory.layers
    }


def _distance(loaded: LoadedModel, layer: Layer, method: str, granularity: str, bits: int) -> float:
    weight = loaded.module.get_parameter(f"{layer.name}.weight")
    moved = rounded_weight(loaded, layer, method, granularity, bits) - weight.detach()
    return moved.double().square().sum().item()
