"""Hutchinson's estimator where the Hessian is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from small_networks import Images, Silent, small_network, trained
from torch import Tensor

from core.errors import InvalidInput, UnsupportedModel
from core.sensitivity.curvature import Piece
from core.sensitivity.hessian_trace import MOST_PROBES, Probing, activation_traces, estimate_traces, hessian_traces
from core.tasks import classification


def estimate(
    loss: Callable[[], Tensor], parameters: list[Tensor], budget_s: float = 60.0, axes: list[int | None] | None = None
) -> list[Tensor]:
    """v'Hv by variable."""
    return estimate_traces(
        [lambda: Piece(loss, parameters, 1)],
        axes=axes or [None] * len(parameters),
        budget_s=budget_s,
        seed=0,
        reporter=Silent(),
    )


def test_every_probe_is_exact_for_a_diagonal_hessian() -> None:
    first, second = torch.randn(5, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    curvature = torch.arange(1.0, 6.0), torch.arange(6.0).view(2, 3) - 2
    forms = estimate(
        lambda: 0.5 * (curvature[0] * first**2).sum() + 0.5 * (curvature[1] * second**2).sum(), [first, second]
    )
    for found, exact in zip(forms, (15.0, 3.0), strict=True):
        assert torch.allclose(found, torch.full_like(found, exact))
        assert len(found) < MOST_PROBES, "nothing is left to learn"


def test_channels_of_a_diagonal_hessian_have_their_own_traces() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    curvature = torch.arange(6.0).view(2, 3)
    rows = estimate(lambda: 0.5 * (curvature * x**2).sum(), [x], axes=[0])[0]
    assert torch.allclose(rows, torch.tensor([[3.0, 12.0]], dtype=torch.float64).expand_as(rows))


def coupled() -> tuple[Callable[[], Tensor], list[Tensor]]:
    """One diagonal block, one full one, and much between them."""
    diagonal, full = torch.randn(3, requires_grad=True), torch.randn(5, requires_grad=True)  # no signs add up to 0
    root = torch.randn(5, 5, generator=torch.Generator().manual_seed(2))

    def loss() -> Tensor:
        return 500 * (diagonal**2).sum() + 0.5 * (root @ full).square().sum() + 20 * diagonal.sum() * full.sum()

    return loss, [diagonal, full]


def test_layers_go_on_with_probes_of_their_own_where_the_terms_of_the_others_are_noise() -> None:
    forms = estimate(*coupled())
    assert torch.allclose(forms[0], torch.full_like(forms[0], 3000.0)), "nothing of the other layer"
    assert len(forms[0]) < len(forms[1]), "a layer that is known takes no further part"


def test_probes_stay_shared_where_those_of_each_layer_alone_would_be_dearer() -> None:
    blocks = [torch.randn(4, requires_grad=True) for _ in range(12)]
    roots = [torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(12)]
    generator = torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        return torch.stack([(root @ x).square().sum() for root, x in zip(roots, blocks, strict=True)]).sum()

    probing = Probing([lambda: Piece(loss, blocks, 1)], [None] * 12, generator)
    for _ in range(8):
        probing.probe(probing.shared)
        probing.probe(probing.own)
    assert probing.better() is probing.shared


def test_a_full_hessian_is_found_within_its_standard_error() -> None:
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(8, 8, generator=generator)
    matrix = root @ root.T
    x = torch.randn(3, requires_grad=True), torch.randn(5, requires_grad=True)
    forms = estimate(lambda: 0.5 * torch.cat(x) @ matrix @ torch.cat(x), list(x))
    for block, part in ((matrix[:3, :3], forms[0]), (matrix[3:, 3:], forms[1])):
        error = part.std().item() / math.sqrt(len(part))
        assert abs(part.mean().item() - block.trace().item()) < 3 * error


def test_a_parameter_that_the_loss_does_not_read_has_no_curvature() -> None:
    used, unused = torch.randn(3, requires_grad=True), torch.randn(4, requires_grad=True)

    def quartic() -> Tensor:
        return (used**4).sum()

    assert torch.all(estimate(quartic, [used, unused])[1] == 0)


def test_the_budget_ends_the_probes_but_not_before_there_is_an_error() -> None:
    root = torch.randn(30, 30)
    x = torch.randn(30, requires_grad=True)
    forms = estimate(lambda: 0.5 * (root @ x).square().sum(), [x], budget_s=1e-9)
    assert len(forms[0]) == 2


def exact_mean_trace(module: torch.nn.Module, name: str, images: Images) -> float:
    weight = module.get_parameter(f"{name}.weight")
    (x, y) = images.tensors(len(images))[0]

    def loss(value: Tensor) -> Tensor:
        return classification.loss(torch.func.functional_call(module, {f"{name}.weight": value}, (x,)), y)

    hessian = torch.autograd.functional.hessian(loss, weight.detach())
    return hessian.view(weight.numel(), -1).trace().item() / weight.numel()


def test_a_networks_layers_are_found_within_their_errors() -> None:
    images = Images(32, seed=1)
    loaded = trained(small_network(), images, steps=10)
    found = hessian_traces(loaded, images.tensors(16), budget_s=60, seed=0, reporter=Silent())
    assert list(found) == [layer.name for layer in loaded.inventory.layers]
    for name in ("second", "classifier"):
        exact = exact_mean_trace(loaded.module, name, images)
        assert abs(found[name].mean_trace - exact) < 3 * found[name].standard_error
        assert found[name].samples >= 8


def test_an_activations_trace_is_the_mean_of_the_images_own() -> None:
    images = Images(24, seed=1)
    loaded = trained(small_network(), images, steps=10)
    found = activation_traces(loaded, images.tensors(8), budget_s=60, seed=0, reporter=Silent())
    assert set(found) == {layer.reads for layer in loaded.inventory.layers}
    weight = loaded.module.get_parameter("classifier.weight")
    x, _ = images.tensors(24)[0]
    with torch.no_grad():
        probabilities = loaded.module(x).softmax(1)
    exact = 0.0
    for p in probabilities:
        curvature = torch.diag(p) - torch.outer(p, p)
        exact += (weight.T @ curvature @ weight).trace().item() / len(x) / weight.shape[1]
    name = loaded.inventory.layer("classifier").reads
    assert abs(found[name].mean_trace - exact) < 3 * found[name].standard_error


def test_channels_add_up_to_their_layer() -> None:
    images = Images(16, seed=2)
    loaded = small_network()
    found = hessian_traces(loaded, images.tensors(), budget_s=60, seed=3, reporter=Silent(), per_channel=True)
    for layer in loaded.inventory.layers:
        trace = found[layer.name]
        assert len(trace.channels) == len(trace.channel_errors) == layer.weight_channels
        assert sum(trace.channels) / len(trace.channels) == pytest.approx(trace.mean_trace, rel=1e-9)


def test_equal_seeds_give_equal_traces_and_the_network_is_left_alone() -> None:
    images = Images(16, seed=2)
    loaded = small_network()
    runs = [hessian_traces(loaded, images.tensors(), budget_s=60, seed=3, reporter=Silent()) for _ in range(2)]
    assert runs[0] == runs[1]
    assert all(parameter.grad is None for parameter in loaded.module.parameters())


def test_no_images_and_broken_networks_are_refused() -> None:
    loaded = small_network()
    with pytest.raises(InvalidInput):
        hessian_traces(loaded, [], budget_s=1, seed=0, reporter=Silent())
    loaded.module.get_parameter("first.weight").data[0] = float("nan")
    with pytest.raises(UnsupportedModel, match="second derivative"):
        hessian_traces(loaded, Images(8, 0).tensors(), budget_s=1, seed=0, reporter=Silent())
