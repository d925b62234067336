"""Even ranges in a network that computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deploy_networks import load, make_images
from hypothesis import given, settings
from random_networks import as_loaded, largest_difference, networks, random_images
from torch import nn

from core.calibration.cross_layer_equalization import RangeKind, equalize
from core.errors import InvalidInput
from core.graph.fold_batch_norm import fold_batch_norms, output_distribution
from core.graph.layer_weight import grouped_weight
from core.graph.loaded_model import LoadedModel
from core.graph.vocabulary import layer_nodes


def ranges(loaded: LoadedModel, name: str, side: int) -> np.ndarray:
    """max|w| by output channel (side 1) or input channel (side 2)."""
    weight = grouped_weight(loaded.module.get_submodule(name))
    return weight.abs().amax(3).amax(3 - side).flatten().numpy()


def chain(*layers: nn.Module) -> LoadedModel:
    torch.manual_seed(2)
    network = nn.Sequential(*layers)
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            layer.weight.data *= torch.randn(len(layer.weight)).mul(2).exp().view(-1, 1, 1, 1)
    return as_loaded(network)


@settings(max_examples=20)
@given(networks())
@torch.no_grad()
def test_an_equalized_network_computes_the_same(loaded: LoadedModel) -> None:
    x, folded = random_images(), fold_batch_norms(loaded)
    for kind in ("symmetric", "asymmetric"):
        try:
            equalized = equalize(folded, ranges=kind)
        except InvalidInput:
            return
        assert largest_difference(equalized.module(x), loaded.module(x)) < 2e-4


def test_both_ranges_of_a_channel_become_the_root_of_their_product() -> None:
    loaded = chain(nn.Conv2d(3, 6, 3, 1, 1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    written, read = ranges(loaded, "0", 1), ranges(loaded, "2", 2)
    equalized = equalize(loaded)
    assert ranges(equalized, "0", 1) == pytest.approx(np.sqrt(written * read), rel=1e-5)
    assert ranges(equalized, "2", 2) == pytest.approx(np.sqrt(written * read), rel=1e-5)


def test_depthwise_triples_are_even_on_both_sides() -> None:
    loaded = chain(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1, groups=6), nn.LeakyReLU(), nn.Conv2d(6, 4, 1)
    )
    equalized = equalize(loaded)
    assert ranges(equalized, "0", 1) == pytest.approx(ranges(equalized, "2", 1), rel=1e-5)
    assert ranges(equalized, "2", 1) == pytest.approx(ranges(equalized, "4", 2), rel=1e-5)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_equalizing_again_changes_nothing(kind: RangeKind) -> None:
    once = equalize(fold_batch_norms(load("residual")), ranges=kind)
    again = equalize(once, ranges=kind)
    for name, value in once.module.state_dict().items():
        assert torch.allclose(again.module.state_dict()[name], value, rtol=1e-5)


def test_the_asymmetric_range_is_from_the_smallest_to_the_largest_weight() -> None:
    loaded = as_loaded(nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Conv2d(1, 2, 1)))
    loaded.module.get_submodule("0").weight.data = torch.tensor([-1.0, 2.0, 0.0]).view(1, 3, 1, 1)
    loaded.module.get_submodule("2").weight.data = torch.tensor([0.5, 1.0]).view(2, 1, 1, 1)  # zero is included
    for kind, factor in (("symmetric", np.sqrt(2 / 1)), ("asymmetric", np.sqrt(3 / 1))):
        found = equalize(loaded, ranges=kind).module.get_submodule("2").weight
        assert found[1].item() == pytest.approx(factor, rel=1e-6)


def test_dead_channels_stay_as_they_are() -> None:
    loaded = chain(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    first, last = (loaded.module.get_submodule(name) for name in ("0", "2"))
    first.weight.data[0], first.weight.data[1], last.weight.data[:, 2] = 0, 1e-30, 0
    equalized = equalize(loaded)
    found = equalized.module.get_submodule("0")
    assert torch.equal(found.bias[:3], first.bias[:3])
    assert torch.equal(found.weight[2], first.weight[2])
    assert torch.isfinite(torch.cat([each.flatten() for each in equalized.module.parameters()])).all()


def test_distributions_of_outputs_are_scaled_along() -> None:
    folded = fold_batch_norms(load("residual"))
    equalized, x = equalize(folded), make_images()
    for before, after in zip(layer_nodes(folded.module), layer_nodes(equalized.module), strict=True):
        known, found = output_distribution(folded.module, before), output_distribution(equalized.module, after)
        if known is None or found is None:
            continue
        ratio = known.mean / found.mean
        assert torch.allclose(known.deviation / found.deviation, ratio)
        assert float(ratio.std()) > 0
    assert largest_difference(equalized.module(x), folded.module(x)) < 1e-5


def test_a_network_without_a_pair_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidInput, match="no two layers") as refused:
        equalize(as_loaded(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 2, 1))))
    assert "turn equalization off" in refused.value.hint
