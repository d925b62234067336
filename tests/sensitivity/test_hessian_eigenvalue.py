"""Power iteration where the eigenvalues are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from small_networks import Images, Silent, small_network, trained
from torch import Tensor

from core.errors import UnsupportedModel
from core.sensitivity.curvature import Piece
from core.sensitivity.hessian_eigenvalue import (
    TOLERANCE,
    Eigenvalue,
    activation_eigenvalues,
    top_eigenvalues,
    weight_eigenvalues,
)
from core.tasks import classification


def found(
    losses: Sequence[Callable[[], Tensor]], variables: list[Tensor], budget_s: float = 60.0, *, by_image: bool = False
) -> list[Eigenvalue]:
    pieces = [lambda loss=loss: Piece(loss, variables, 1) for loss in losses]
    return top_eigenvalues(pieces, budget_s=budget_s, seed=0, reporter=Silent(), by_image=by_image)


def symmetric(size: int, seed: int) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    return root @ root.T


def test_each_blocks_own_eigenvalue_is_found_although_the_first_products_are_shared() -> None:
    matrix = symmetric(12, 3)
    x = [torch.randn(size, requires_grad=True) for size in (3, 5, 4)]
    values = found([lambda: 0.5 * torch.cat(x) @ matrix @ torch.cat(x)], x)
    start = 0
    for variable, each in zip(x, values, strict=True):
        block = matrix[start : start + len(variable), start : start + len(variable)]
        assert each.value == pytest.approx(torch.linalg.eigvalsh(block).max().item(), rel=3 * TOLERANCE)
        assert each.last_change <= TOLERANCE
        start += len(variable)


def test_the_error_is_the_spread_over_parts_of_the_images() -> None:
    x = [torch.randn(3, requires_grad=True)]
    values = found([lambda: 1.0 * x[0].square().sum(), lambda: 2.0 * x[0].square().sum()], x)
    assert values[0].value == pytest.approx(3.0, rel=1e-4)
    assert values[0].standard_error == pytest.approx(1.0, rel=1e-3)


def test_images_are_blocks_of_their_own_for_activations() -> None:
    x = [torch.randn(2, 3, requires_grad=True)]
    scales = torch.tensor([[1.0], [5.0]])
    values = found([lambda: 0.5 * (scales * x[0].square()).sum(1).mean()], x, by_image=True)
    assert values[0].value == pytest.approx(3.0, rel=1e-4), "the mean of 1 and 5"


def test_a_spent_budget_leaves_what_there_is_and_says_how_far_it_moved() -> None:
    matrix = symmetric(30, 1)
    x = [torch.randn(30, requires_grad=True)]
    values = found([lambda: 0.5 * x[0] @ matrix @ x[0]], x, budget_s=1e-9)
    assert values[0].steps == 1
    assert values[0].last_change == 1.0
    assert values[0].standard_error >= abs(values[0].value), "one step tells nothing of its error"


def test_a_layer_without_curvature_has_none() -> None:
    used, unused = torch.randn(3, requires_grad=True), torch.randn(4, requires_grad=True)
    values = found([lambda: used.square().sum()], [used, unused])
    assert values[0].value == pytest.approx(2.0, rel=1e-4)
    assert values[1].value == 0.0


def test_a_networks_layers_have_the_eigenvalues_of_their_blocks() -> None:
    images = Images(32, seed=1)
    loaded = trained(small_network(), images, steps=10)
    values = weight_eigenvalues(loaded, images.tensors(32), budget_s=60, seed=0, reporter=Silent())
    assert list(values) == [layer.name for layer in loaded.inventory.layers]
    x, y = images.tensors(32)[0]
    weight = loaded.module.get_parameter("classifier.weight")

    def loss(value: Tensor) -> Tensor:
        return classification.loss(torch.func.functional_call(loaded.module, {"classifier.weight": value}, (x,)), y)

    hessian = torch.autograd.functional.hessian(loss, weight.detach()).view(weight.numel(), -1)
    assert values["classifier"].value == pytest.approx(torch.linalg.eigvalsh(hessian).max().item(), rel=3 * TOLERANCE)


def test_equal_seeds_give_equal_eigenvalues() -> None:
    images = Images(16, seed=1)
    loaded = small_network()
    runs = [activation_eigenvalues(loaded, images.tensors(), budget_s=60, seed=1, reporter=Silent()) for _ in range(2)]
    assert runs[0] == runs[1]
    assert set(runs[0]) == {layer.reads for layer in loaded.inventory.layers}


def test_a_broken_network_is_refused() -> None:
    loaded = small_network()
    loaded.module.get_parameter("first.weight").data[0] = float("nan")
    with pytest.raises(UnsupportedModel, match="second derivative"):
        weight_eigenvalues(loaded, Images(8, 0).tensors(), budget_s=1, seed=0, reporter=Silent())
