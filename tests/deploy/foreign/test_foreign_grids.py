"""Encodings for AIMET and ranges for TensorRT, against the quantized network's own numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from deploy_networks import quantized, uniform_policy

from core.deploy.activation_grids import grids_by_name
from core.deploy.deploy_layers import deploy_layers
from core.deploy.foreign.aimet import aimet_encodings
from core.deploy.foreign.read import read_policy
from core.deploy.foreign.tensorrt import tensorrt_json
from core.errors import UnsupportedModel


@pytest.mark.parametrize(("method", "weights", "activations"), [("lsq", 4, 8), ("lsq", 8, 3), ("wrpn", 3, 4)])
@pytest.mark.parametrize("name", ["residual", "concat"])
def test_aimets_formula_gives_the_same_numbers(name: str, method: str, weights: int, activations: int) -> None:
    granularity = "channel" if method == "lsq" else "tensor"
    case = quantized(name, lambda loaded: uniform_policy(loaded, weights, activations), method, granularity)
    encodings = aimet_encodings(case.model)
    assert encodings["version"] == "0.6.1"
    for layer in deploy_layers(case.model):
        assert layer.integers is not None
        channels = np.moveaxis(layer.integers.values(), layer.integers.axis, 0)
        for channel, entry in zip(channels, encodings["param_encodings"][f"{layer.name}.weight"], strict=True):
            q = channel.astype(np.float64) / entry["scale"] - entry["offset"]
            assert np.abs(q - np.rint(q)).max() < 1e-3
            assert q.min() > -0.01
            assert q.max() < 2 ** entry["bitwidth"] - 0.99
            assert entry["min"] <= channel.min() + 1e-6
            assert entry["max"] >= channel.max() - 1e-6
    for tensor, site in grids_by_name(case.model).items():
        (entry,) = (
            encodings["activation_encodings"].get(tensor)
            or encodings["activation_encodings"][tensor.removesuffix("_residual")]
        )
        ends = site.grid.values(np.array([site.grid.low, site.grid.high], np.int32))
        assert [entry["min"], entry["max"]] == pytest.approx(ends.tolist(), rel=1e-5, abs=1e-6)
    found = read_policy(json.dumps(encodings).encode(), case.loaded.inventory)
    assert found.policy == case.policy
    assert found.kind == "aimet"


def test_a_signed_symmetric_weight_has_aimets_offset() -> None:
    case = quantized("sequence", lambda loaded: uniform_policy(loaded, 8, 8))
    entry = aimet_encodings(case.model)["param_encodings"]["classifier.weight"][0]
    assert (entry["offset"], entry["is_symmetric"], entry["dtype"], entry["bitwidth"]) == (-128, "True", "int", 8)


def test_a_float_layer_has_no_encoding_and_is_float_again() -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 32, 8))
    found = read_policy(json.dumps(aimet_encodings(case.model)).encode(), case.loaded.inventory)
    assert found.policy == case.policy
    assert "no encoding" in found.notes[0]


@pytest.mark.parametrize(
    ("method", "bits", "told"),
    [("lsq", 1, "layer stem has an offset"), ("hadq", 4, "layer stem has an offset"), ("apot", 4, "evenly spaced"),
     ("qil", 4, "nearest"), ("bcgd", 4, "nearest")],
)  # fmt: skip
def test_what_aimet_cannot_say_is_refused_by_name(method: str, bits: int, told: str) -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, bits, 4), method)
    with pytest.raises(UnsupportedModel, match=told):
        aimet_encodings(case.model)


def test_tensorrts_ranges_are_the_largest_magnitudes() -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 8, 8, residual_bits=8))
    file = tensorrt_json(case.model, case.loaded.inventory, case.policy)
    for name, site in grids_by_name(case.model).items():
        x = torch.linspace(-1e6, 1e6, 1001).numpy()
        largest = np.abs(site.grid.values(site.grid.codes(x))).max()
        assert file["tensors"][name]["dynamic_range"] == pytest.approx(float(largest), rel=1e-6)
        assert file["tensors"][name]["as_trained"] is False  # LSQ's signed grid reaches -128, ReLU's 255
    assert file["not_at_their_bits"] == []
    assert read_policy(json.dumps(file).encode(), case.loaded.inventory).policy == case.policy


def test_tensorrt_keeps_a_grid_of_127_steps_on_both_sides() -> None:
    case = quantized("residual", lambda loaded: uniform_policy(loaded, 8, 8), "wrpn", "tensor")
    file = tensorrt_json(case.model, case.loaded.inventory, case.policy)
    assert file["tensors"][case.loaded.inventory.layers[0].reads]["as_trained"] is True
