"""The rounding that methods share: values, what passes the gradient, and what is kept for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sixty_four import GRADIENT, VALUES
from torch import Tensor

from core.quantizers.uniform_kernel import codes_on_grid, round_to_fixed_grid, round_to_grid

X = torch.tensor(VALUES, dtype=torch.float32)
G = torch.tensor(GRADIENT, dtype=torch.float32)


def kept(y: Tensor) -> int:
    return len(y.grad_fn.saved_tensors)


@pytest.mark.parametrize(("low", "high"), [(0, 15), (-8, 7), (-3, 12)])
def test_a_fixed_grid_passes_the_gradient_between_its_ends(low: int, high: int) -> None:
    x, scale = X.clone().requires_grad_(), torch.tensor(0.2)
    y = round_to_fixed_grid(x, scale, low, high)
    y.backward(G)
    codes = np.clip(np.round(VALUES / float(scale)), low, high)
    assert np.allclose(y.detach().numpy(), codes * float(scale), atol=1e-6)
    assert np.array_equal(x.grad.numpy(), np.where((codes > low) & (codes < high), G.numpy(), 0))


def test_a_fixed_grid_that_clips_nothing_keeps_nothing() -> None:
    x, scale = X.clone().requires_grad_(), torch.tensor(1e-3)
    assert kept(round_to_fixed_grid(x, scale, -(2**15), 2**15)) == 0
    assert kept(round_to_fixed_grid(x, scale, -100, 100)) == 2


def test_a_learned_scale_needs_the_output_and_a_fixed_one_does_not() -> None:
    x = X.clone().requires_grad_()
    assert kept(round_to_grid(x, torch.tensor(0.2, requires_grad=True), -8, 7)) == 3
    assert kept(round_to_grid(x, torch.tensor(0.2), -8, 7)) == 2


def test_the_edges_pass_the_gradient_only_where_the_range_is_closed() -> None:
    for closed, expected in ((False, [0, 1, 1, 0]), (True, [1, 1, 1, 1])):
        x = torch.tensor([-1.0, -0.9, 0.6, 0.75], requires_grad=True)
        round_to_grid(x, torch.tensor(0.25), -4, 3, closed=closed).sum().backward()
        assert x.grad.tolist() == expected


def test_codes_are_the_integers_behind_the_values() -> None:
    for function in (round_to_grid, round_to_fixed_grid):
        scale = torch.tensor(0.17)
        codes = codes_on_grid(X, scale, -8, 7)
        assert codes.dtype == torch.int32
        assert torch.equal(codes * scale, function(X, scale, -8, 7))
