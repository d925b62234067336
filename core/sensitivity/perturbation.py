"""How far rounding moves the weights: ||Q(w) - w||^2 by layer and width (HAWQ-V2, arXiv 1911.03852, eq. 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from core.calibration.quantize import weight_quantizer
from core.graph.inventory import Layer
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.quantizers.registry import chosen_method

LossByBits = dict[int, float]


@torch.no_grad()
def rounded_weight(loaded: LoadedModel, layer: Layer, choice: QuantizerChoice, bits: int) -> Tensor:
    """The layer's weight as the method rounds it before any training, in its own scale.

    A method that leaves the scale gets it back, also where training would adjust it: only rounding is asked about.
    """
    weight = loaded.module.get_parameter(f"{layer.name}.weight")
    method = replace(chosen_method(choice), scale_adjustment=False)
    quantizer = weight_quantizer(method, layer, bits, choice.granularity, normalised=False)
    quantizer.to(weight.device).initialise(weight)  # type: ignore[operator]
    rounded: Tensor = quantizer(quantizer.starting_weight(weight))  # type: ignore[operator]
    return rounded


@torch.no_grad()
def weight_perturbations(loaded: LoadedModel, choice: QuantizerChoice, bits: Sequence[int]) -> dict[str, LossByBits]:
    """By layer, then by bits."""
    return {
        layer.name: {width: _distance(loaded, layer, choice, width) for width in bits}
        for layer in loaded.inventory.layers
    }


def _distance(loaded: LoadedModel, layer: Layer, choice: QuantizerChoice, bits: int) -> float:
    weight = loaded.module.get_parameter(f"{layer.name}.weight")
    moved = rounded_weight(loaded, layer, choice, bits) - weight.detach()
    return moved.double().square().sum().item()
