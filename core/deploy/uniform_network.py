"""A network with one width for all its layers, as an ONNX file to measure: how long it takes is all it is for."""

from __future__ import annotations

from pathlib import Path

import torch

from core.calibration.calibration import Calibration, calibrate
from core.calibration.quantize import quantize
from core.deploy.onnx_qdq import export_onnx_qdq
from core.errors import UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.policy import FLOAT_BITS, LayerBits, Policy

EIGHT_BITS = 8


def write_uniform(loaded: LoadedModel, calibration: Calibration, bits: int, residual_bits: int, folder: Path) -> Path:
    """The network at `bits` everywhere, untrained: how long it takes does not depend on its numbers."""
    layers = {layer.name: LayerBits(weights=bits, activations=bits) for layer in loaded.inventory.layers}
    uniform = Policy(layers=layers, residual_bits=residual_bits)
    path = folder / f"{bits}.onnx"
    export_onnx_qdq(quantize(loaded, uniform, calibration, QuantizerChoice()), loaded.inventory, uniform, path)
    return path


def write_float_and_int8(loaded: LoadedModel, folder: Path) -> tuple[dict[tuple[int, int], Path], list[str]]:
    """Files at 32/32 and at 8/8, joins too, calibrated on noise; float inputs of the inventory's shape.

    Where the network cannot be written: no files, and the reason. Its layers can be measured all the same.
    """
    noise = torch.randn((2, *loaded.inventory.input_shape), generator=torch.Generator().manual_seed(0))
    try:
        calibration = calibrate(loaded, [noise], observer="min-max")
        widths = (FLOAT_BITS, EIGHT_BITS)
        return {(bits, bits): write_uniform(loaded, calibration, bits, bits, folder) for bits in widths}, []
    except UnsupportedModel as error:
        return {}, [f"The network as a whole was not measured: {error.message}."]
