"""What always passes a ReLU moves on to the next bias."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from random_networks import as_loaded, largest_difference, networks, random_images
from torch import Tensor, fx, nn

from core.calibration.bias_absorption import absorb_biases, absorbable
from core.graph.fold_batch_norm import Distribution, fold_batch_norms, keep_distribution, output_distribution
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import layer_nodes


def note_minima(loaded: LoadedModel, x: Tensor) -> None:
    """As if each layer's output were its smallest value: all of it can be absorbed, with no tail at all."""
    runner = fx.Interpreter(loaded.module, garbage_collect_values=False)
    runner.run(x)
    for node in layer_nodes(loaded.module):
        smallest = runner.env[node].transpose(0, 1).flatten(1).amin(1).double()
        keep_distribution(node, Distribution(smallest, torch.zeros_like(smallest)))


@settings(max_examples=20)
@given(networks(others=()))
@torch.no_grad()
def test_where_every_value_exceeds_what_is_absorbed_the_network_computes_the_same(loaded: LoadedModel) -> None:
    for module in loaded.module.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias += 5 * module.weight.abs()
    x, folded = random_images(), fold_batch_norms(loaded)
    note_minima(folded, x)
    assert largest_difference(absorb_biases(folded).module(x), loaded.module(x)) < 2e-4


def two_layers(padding: int = 0, function: nn.Module | None = None) -> LoadedModel:
    torch.manual_seed(3)
    norm = nn.BatchNorm2d(4)
    norm.weight.data = torch.tensor([1.0, -0.5, 2.0, 0.25])
    norm.bias.data = torch.tensor([4.0, 3.0, 1.0, -1.0])
    last = nn.Conv2d(4, 2, 3, padding=padding)
    return fold_batch_norms(as_loaded(nn.Sequential(nn.Conv2d(3, 4, 1), norm, function or nn.ReLU(), last)))


def test_what_is_absorbed_is_three_deviations_below_the_mean_whatever_the_sign_of_gamma() -> None:
    folded = two_layers()
    node = next(layer_nodes(folded.module))
    distribution = output_distribution(folded.module, node)
    assert distribution is not None
    assert absorbable(distribution).tolist() == [1.0, 1.5, 0.0, 0.0]
    before, after = (each.module.get_submodule("0").bias for each in (folded, absorb_biases(folded)))
    assert torch.allclose(before - after, torch.tensor([1.0, 1.5, 0.0, 0.0]))


@torch.no_grad()
def test_the_next_layer_takes_up_what_was_absorbed() -> None:
    folded = two_layers()
    folded.module.get_submodule("0").weight.mul_(0.05)  # so that no value lies in the tail
    absorbed, x = absorb_biases(folded), random_images()
    outputs = [each.module.get_submodule("0")(x).relu() for each in (folded, absorbed)]
    assert (outputs[1].mean((0, 2, 3)) < outputs[0].mean((0, 2, 3)) - 0.9).tolist() == [True, True, False, False]
    assert largest_difference(absorbed.module(x), folded.module(x)) < 1e-6


@torch.no_grad()
def test_only_the_tail_of_the_distribution_changes() -> None:
    """Of values as the norm says they are: at most 0.135 % of a channel lie under what was absorbed."""
    folded = two_layers()
    absorbed = absorb_biases(folded)
    first = folded.module.get_submodule("0")
    nodes = next(layer_nodes(folded.module))
    distribution = output_distribution(folded.module, nodes)
    assert distribution is not None
    outputs = distribution.mean[:, None] + distribution.deviation[:, None] * torch.randn((4, 50_000)).double()
    moved = torch.relu(outputs - absorbable(distribution)[:, None]) + absorbable(distribution)[:, None]
    changed = (moved != torch.relu(outputs)) & ((moved - torch.relu(outputs)).abs() > 1e-9)
    assert 0 < changed[:2].double().mean() < 0.0025
    assert not changed[2:].any()
    assert first.bias is not absorbed.module.get_submodule("0").bias


def test_nothing_is_absorbed_past_padding_or_another_function() -> None:
    for folded in (two_layers(padding=1), two_layers(function=nn.LeakyReLU()), two_layers(function=nn.ReLU6())):
        absorbed = absorb_biases(folded)
        for name, value in folded.module.state_dict().items():
            assert torch.equal(absorbed.module.state_dict()[name], value)
