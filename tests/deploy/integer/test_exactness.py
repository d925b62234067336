"""Integers against the network in float64, every layer fed with the executor's codes: only rounding may differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deploy_networks import SHAPE, quantized, uniform_policy

from core.deploy.activation_grids import grids_by_name
from core.deploy.batch_norm import factor_and_shift
from core.deploy.deploy_layers import deploy_layers, layers_beside_norms
from core.deploy.integer.build import build_program
from core.deploy.integer.program import Multiply, Requantize
from core.deploy.parity.exact import ExactNetwork
from core.deploy.parity.sides import executor_side
from core.graph.vocabulary import called_module

THROUGH_A_TABLE = {"act3_residual"}  # a function at an average: as fine as the table
TOLERANCE = 2.0**-8  # of a step; sums have 16 bits


@pytest.mark.parametrize("network", ["residual", "depthwise"])
@pytest.mark.parametrize("method", ["lsq", "hadq", "dsq", "lsq-plus"])
def test_every_code_is_the_nearest_to_what_float64_gives(network: str, method: str) -> None:
    """HADQ and DSQ have weights without a zero, DSQ and LSQ+ inputs without one."""
    found = quantized(network, lambda loaded: uniform_policy(loaded, 8, 8), method)
    integers = executor_side(build_program(found.model, SHAPE))(found.images)
    exact = ExactNetwork(found.model)
    scores = exact(found.images, integers.codes).scores
    for name, site in grids_by_name(found.model).items():
        if name in THROUGH_A_TABLE:
            continue
        wanted = np.clip(exact.steps()[name], site.grid.low, site.grid.high)
        assert np.abs(integers.codes[name] - wanted).max() < 0.5 + TOLERANCE, name
    assert np.abs(integers.scores - scores).max() < 1e-6 * np.abs(scores).max()


def test_the_float64_network_is_the_trained_one_but_for_float32s_noise() -> None:
    found = quantized("residual", lambda loaded: uniform_policy(loaded, 4, 4), "hadq")
    exact = ExactNetwork(found.model)(found.images)
    with torch.inference_mode():
        trained = found.model(found.images).numpy()
    assert np.abs(exact.scores - trained).max() < 1e-4 * np.abs(trained).max()
    assert (exact.scores != trained).any()


@pytest.mark.parametrize(("network", "shared"), [("residual", 1), ("depthwise", 12)])
def test_sums_of_inputs_have_a_multiplier_of_their_own(network: str, shared: int) -> None:
    """Channels that read the same inputs share the sums; a depthwise layer has one for each."""
    found = quantized(network, lambda loaded: uniform_policy(loaded, 8, 8), "hadq")
    program = build_program(found.model, SHAPE)
    writers = {operation.output: operation for operation in program.operations}
    multiplied = [each for each in program.operations if isinstance(each, Requantize) and len(each.inputs) == 2]
    pairs = [[writers[name] for name in each.inputs if name in writers] for each in multiplied]
    layers = [pair for pair in pairs if all(isinstance(each, Multiply) for each in pair)]
    assert len(layers) >= 2
    for products, sums in layers:
        assert isinstance(products, Multiply)
        assert isinstance(sums, Multiply)
        assert products.bits.any()
        assert (sums.codes == 1).all()
        assert not products.bias.any()
        assert not products.offset.any()
    assert shared in {len(sums.codes) for _, sums in layers if isinstance(sums, Multiply)}


def test_a_batch_norm_is_absorbed_without_being_rounded_to_float32() -> None:
    found = quantized("residual", lambda loaded: uniform_policy(loaded, 8, 8), "hadq")
    beside = {layer.name: layer for layer in layers_beside_norms(found.model)}
    absorbed = [layer for layer in deploy_layers(found.model) if layer.norm is not None]
    assert absorbed
    for layer in absorbed:
        assert layer.norm is not None
        factor, shift = factor_and_shift(called_module(found.model, layer.norm), layer.name)  # type: ignore[arg-type]
        before = beside[layer.name].exact
        assert before is not None
        assert layer.exact is not None
        assert layer.integers is not None
        np.testing.assert_allclose(np.abs(layer.exact.scale), np.abs(before.scale * factor), rtol=1e-15)
        np.testing.assert_allclose(layer.exact.offset, before.offset * factor, rtol=1e-15)
        np.testing.assert_array_equal(layer.exact.bias, shift)
        np.testing.assert_array_equal(layer.exact.scale.astype(np.float32), layer.integers.scale)
