"""The integer executor against deploy mode, to the bit, and deploy mode against the network in training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from deploy_networks import NETWORKS, SHAPE, quantized, uniform_policy

from core.deploy.integer.build import build_program
from core.deploy.integer.deploy_mode import DeployMode
from core.deploy.integer.executor import IntegerExecutor
from core.deploy.integer.program import Rounding
from core.graph.loaded_model import LoadedModel
from core.policy import Policy
from core.quantizers.registry import METHODS

WIDTHS = ((8, 8), (4, 4), (3, 5), (2, 2), (1, 1), ((2, 8, 0, 4), 6))
UNIFORM = sorted(name for name, method in METHODS.items() if method.card.uniform)
# LSQ on every network, the other methods on the networks in turn
CASES = [
    *((network, "lsq") for network in NETWORKS),
    *((list(NETWORKS)[at % len(NETWORKS)], method) for at, method in enumerate(UNIFORM) if method != "lsq"),
]


def policy_of(weights: int | tuple[int, ...], activations: int) -> Callable[[LoadedModel], Policy]:
    return lambda loaded: uniform_policy(loaded, weights, activations)


@pytest.mark.parametrize(("network", "method"), CASES)
def test_every_uniform_method_at_every_width(network: str, method: str) -> None:
    card = METHODS[method].card
    for weights, activations in WIDTHS:
        wanted = {weights} if isinstance(weights, int) else set(weights) - {0}
        if not wanted <= set(card.weight_bits) or activations not in card.activation_bits:
            continue
        granularity = "channel" if "channel" in card.granularities else "tensor"
        found = quantized(network, policy_of(weights, activations), method, granularity)
        program = build_program(found.model, SHAPE)
        images = found.images.numpy()
        executed = IntegerExecutor(program)(images)
        assert np.array_equal(executed, DeployMode(program)(images)), (weights, activations)
        with torch.inference_mode():
            trained = found.model(found.images).numpy()
        first, second = np.sort(trained, axis=1)[:, :-3:-1].T
        clear = first - second > 0.02 * np.abs(trained).max()  # where two classes tie, either may win
        assert (executed.argmax(1) == trained.argmax(1))[clear].mean() > 0.9, (weights, activations)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rounding", ["dyadic", "gemmlowp"])
def test_both_requantizations(network: str, rounding: Rounding) -> None:
    found = quantized(network, policy_of(8, 8))
    program = build_program(found.model, SHAPE, rounding=rounding)
    images = found.images.numpy()
    executed = IntegerExecutor(program)(images)
    assert np.array_equal(executed, DeployMode(program)(images))
    with torch.inference_mode():
        trained = found.model(found.images).numpy()
    assert np.abs(executed - trained).max() < 0.02 * np.abs(trained).max()


def test_weight_grids_without_a_zero_leave_less_than_a_step_of_offset() -> None:
    found = quantized("residual", policy_of(8, 8), "hadq")
    layers = list(build_program(found.model, SHAPE, rounding="gemmlowp").layers())
    assert any(layer.offset.any() for layer in layers)
    for layer in layers:
        assert np.abs(layer.offset).max() <= 2**layer.shift / 2
