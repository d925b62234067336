"""GPTQ and GPFQ against straightforward numpy, and the matrix form of layers against the layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rounded_networks import Case, quantized_layers
from torch import nn

from core.calibration.rounding.error_feedback import LayerMatrix
from core.calibration.rounding.gpfq import follow_path
from core.calibration.rounding.gptq import round_with_feedback
from core.calibration.rounding.grid import WeightGrid
from core.calibration.rounding.layer_matrix import columns, gram, rows, weight_from

Doubles = NDArray[np.float64]
SCALE, LOW, HIGH = 0.25, -4, 3

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "convolution": (nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), bias=False), (2, 4, 9, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), (2, 4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), (2, 4, 5, 5)),
    "transposed": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False),
        (2, 4, 5, 4),
    ),
    "linear": (nn.Linear(5, 3, bias=False), (2, 5)),
    "linear over a sequence": (nn.Linear(5, 3, bias=False), (2, 7, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_rows_times_columns_is_what_the_layer_computes(name: str) -> None:
    layer, shape = LAYERS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weight = layer.get_parameter("weight")
    matrix = rows(layer, weight)
    product = (matrix @ columns(layer, x)).flatten(0, 1)  # outputs, images * positions
    expected = layer(x).movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).flatten(1)
    torch.testing.assert_close(product, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(weight_from(layer, matrix, weight.shape), weight)
    by_hand = columns(layer, x) @ columns(layer, x).transpose(1, 2)
    torch.testing.assert_close(gram(layer, iter([(x, x)])).float(), by_hand, atol=1e-4, rtol=1e-4)


def matrix_of(weight: Doubles) -> LayerMatrix:
    """One group on a grid of three bits."""
    tensor = torch.from_numpy(weight)[None]
    numbers = [torch.full_like(tensor, value) for value in (SCALE, 0.0, LOW, HIGH, 1.0)]
    nothing: Any = None
    grid = WeightGrid(*numbers, torch.zeros_like(tensor, dtype=torch.bool))
    return LayerMatrix(nothing, "", nn.Identity(), tensor, grid)


def nearest(values: Doubles) -> Doubles:
    return np.clip(np.rint(values / SCALE), LOW, HIGH)


def example(seed: int) -> tuple[Doubles, Doubles]:
    """Weights 5 x 12, inputs 12 x 40 that go together."""
    chance = np.random.default_rng(seed)
    return chance.normal(0, 0.4, (5, 12)), chance.normal(size=(12, 4)) @ chance.normal(size=(4, 40)) + chance.normal(
        0, 0.3, (12, 40)
    )


def plain_gptq(weight: Doubles, hessian: Doubles, damping: float) -> Doubles:
    """One weight after the other, the inverse of what is left computed anew each time."""
    damped = hessian + damping * np.diag(hessian).mean() * np.eye(len(hessian))
    left = list(np.argsort(-np.diag(hessian), kind="stable"))
    weight, codes = weight.copy(), np.zeros_like(weight)
    while left:
        inverse = np.linalg.inv(damped[np.ix_(left, left)])
        first = left[0]
        codes[:, first] = nearest(weight[:, first])
        error = (weight[:, first] - SCALE * codes[:, first]) / inverse[0, 0]
        weight[:, left] -= np.outer(error, inverse[0])
        left = left[1:]
    return codes


@pytest.mark.parametrize("seed", range(3))
def test_gptq_is_optimal_brain_surgery_one_weight_after_the_other(seed: int) -> None:
    weight, x = example(seed)
    codes = round_with_feedback(matrix_of(weight), torch.from_numpy(x @ x.T)[None], 0.01)[0].numpy()
    np.testing.assert_array_equal(codes, plain_gptq(weight, x @ x.T, 0.01))


@pytest.mark.parametrize("seed", range(5))
def test_gptq_errs_less_than_rounding_to_nearest(seed: int) -> None:
    weight, x = example(seed)
    codes = round_with_feedback(matrix_of(weight), torch.from_numpy(x @ x.T)[None])[0].numpy()
    error, of_nearest = (np.square((SCALE * each - weight) @ x).sum() for each in (codes, nearest(weight)))
    assert error < of_nearest


def test_gptq_with_inputs_that_do_not_go_together_rounds_to_nearest() -> None:
    weight, _ = example(0)
    codes = round_with_feedback(matrix_of(weight), torch.eye(12, dtype=torch.float64)[None])[0].numpy()
    np.testing.assert_array_equal(codes, nearest(weight))


@pytest.mark.parametrize("seed", range(3))
def test_gpfq_follows_the_path_that_is_held_in_memory(seed: int) -> None:
    weight, exact = example(seed)
    rounded = exact + np.random.default_rng(9).normal(0, 0.1, exact.shape)
    path, codes = np.zeros((5, exact.shape[1])), np.zeros_like(weight)
    for column in range(12):
        path += np.outer(weight[:, column], exact[column])
        codes[:, column] = nearest(path @ rounded[column] / (rounded[column] @ rounded[column]))
        path -= np.outer(SCALE * codes[:, column], rounded[column])
    grams = (torch.from_numpy(rounded @ other.T)[None] for other in (rounded, exact))
    np.testing.assert_array_equal(follow_path(matrix_of(weight), *grams)[0].numpy(), codes)


def test_an_input_that_is_always_zero_is_rounded_to_nearest() -> None:
    weight, x = example(0)
    x[3] = 0
    zeroed = torch.from_numpy(x @ x.T)[None]
    for codes in (follow_path(matrix_of(weight), zeroed, zeroed), round_with_feedback(matrix_of(weight), zeroed)):
        np.testing.assert_array_equal(codes[0, :, 3].numpy(), nearest(weight[:, 3]))


@pytest.mark.parametrize("name", ["gptq", "gpfq"])
def test_a_whole_network_comes_closer_to_the_float_one(name: str, tmp_path: Path) -> None:
    case = Case()
    model, report = case.round(name, tmp_path)
    exact = case.exact_output()
    before, after = ((case.output(each) - exact).square().mean() for each in (case.quantized(), model))
    assert after < before
    assert [unit.layers[0] for unit in report.units] == list(quantized_layers(model))
