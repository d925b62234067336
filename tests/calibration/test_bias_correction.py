"""Means that rounding moved, brought back."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
import torch
from deploy_networks import load, make_images, uniform_policy
from random_networks import as_loaded
from torch import Tensor, fx, nn

from core.calibration import bias_correction
from core.calibration.bias_correction import BiasCorrection, Kind, add_missing_biases, correct_bias
from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.errors import InvalidInput
from core.graph.fold_batch_norm import fold_batch_norms
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.policy import FLOAT_BITS, LayerBits, Policy


def images() -> Iterable[Tensor]:
    return make_images().split(20)


def quantized(loaded: LoadedModel, weights: int, activations: int = 8, method: str = "lsq") -> fx.GraphModule:
    granularity = "tensor" if method == "dorefa" else "channel"
    choice = QuantizerChoice.model_validate({"method": method, "granularity": granularity})
    ranges = calibrate(loaded, [next(iter(images()))] if loaded.inventory.input_shape == (3, 12, 12) else [noise()])
    policy = uniform_policy(loaded, weights, activations)
    if activations == FLOAT_BITS:
        layers = {name: LayerBits(weights=weights, activations=FLOAT_BITS) for name in policy.layers}
        policy = Policy(layers=layers, residual_bits=FLOAT_BITS)
    return quantize(loaded, policy, ranges, choice)


def noise(count: int = 4000) -> Tensor:
    """N, 3, 1, 1: standard normal."""
    return torch.randn((count, 3, 1, 1), generator=torch.Generator().manual_seed(1))


def means(module: nn.Module, names: list[str], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Of each channel of these modules' outputs."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for name in names:
        module.get_submodule(name).register_forward_hook(lambda _, __, y, own=found[name]: own.append(y))
    with torch.no_grad():
        for batch in batches:
            module(batch)
    return {name: torch.cat(values).transpose(0, 1).flatten(1).mean(1) for name, values in found.items()}


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_layer_has_the_float_networks_mean_again(folded: bool, bits: int) -> None:
    loaded = fold_batch_norms(load("residual")) if folded else load("residual")
    model = quantized(loaded, bits, bits)
    report = correct_bias(model, loaded.module, loaded.inventory, images, "empirical")
    names = [layer.batch_norm or layer.name for layer in loaded.inventory.layers]
    exact, found = (means(copy.deepcopy(each), names, images()) for each in (loaded.module, model))
    for name in names:
        assert torch.allclose(found[name], exact[name], atol=2e-4), name
    assert report.images == 48
    assert min(report.shifts.values()) > 0


@pytest.mark.parametrize("name", ["concat", "sequence", "depthwise"])
def test_joins_sequences_and_depthwise_layers_are_corrected(name: str) -> None:
    loaded = load(name)
    model = quantized(loaded, 3, 8)
    before = (model(make_images()) - loaded.module(make_images())).mean(0).norm().item()
    correct_bias(model, loaded.module, loaded.inventory, images, "empirical")
    after = (model(make_images()) - loaded.module(make_images())).mean(0).norm().item()
    assert after < 1e-3 * before


def two_layers(*, normed: bool = True, last_norm: bool = False) -> LoadedModel:
    """Its images make what the first norm says true: each channel is normal with mean beta and deviation |gamma|."""
    torch.manual_seed(4)
    first, norm = nn.Conv2d(3, 24, 1, bias=False), nn.BatchNorm2d(24)
    first.weight.data /= first.weight.data.square().sum(1, keepdim=True).sqrt()
    norm.weight.data, norm.bias.data = torch.randn(24) + 0.2, torch.randn(24)
    parts: list[nn.Module] = [first, norm] if normed else [first]
    last = [nn.Conv2d(24, 5, 1), nn.BatchNorm2d(5)] if last_norm else [nn.Conv2d(24, 5, 1)]
    if last_norm:
        last[1].weight.data = torch.tensor([1.0, -2.0, 0.5, -0.3, 3.0])
    return as_loaded(nn.Sequential(*parts, nn.ReLU(), *last), (3, 1, 1))


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("last_norm", [False, True])
@pytest.mark.parametrize("folded", [False, True])
def test_the_formula_finds_what_counting_finds(bits: int, last_norm: bool, folded: bool) -> None:
    """At any width, with gammas of either sign, into a bias or a running mean."""
    loaded = two_layers(last_norm=last_norm)
    loaded = fold_batch_norms(loaded) if folded else loaded
    model = quantized(loaded, bits, FLOAT_BITS)
    first = loaded.inventory.layers[0].name
    exact_first = model.get_submodule(first)
    exact_first.weight_quantizer = nn.Identity()  # so that only the last layer is off
    wrong = (model(noise()) - loaded.module(noise())).mean(0).flatten()
    report = correct_bias(model, loaded.module, loaded.inventory, lambda: [noise()], "analytic")
    left = (model(noise()) - loaded.module(noise())).mean(0).flatten()
    assert left.norm().item() < 0.15 * wrong.norm().item()
    assert report.measured == (first,)  # which reads the image


def test_without_batch_norms_means_are_measured_and_said_so() -> None:
    loaded = two_layers(normed=False)
    model = quantized(loaded, 3, FLOAT_BITS)
    wrong = (model(noise()) - loaded.module(noise())).mean(0).norm().item()
    report = correct_bias(model, loaded.module, loaded.inventory, lambda: [noise()], "analytic")
    assert report.measured == ("0", "2")
    assert (model(noise()) - loaded.module(noise())).mean(0).norm().item() < wrong


@pytest.mark.parametrize("kind", ["analytic", "empirical"])
def test_missing_images_are_refused_with_what_to_do(kind: Kind) -> None:
    loaded = two_layers(normed=False)
    for nothing in (None, list):
        with pytest.raises(InvalidInput) as refused:
            correct_bias(quantized(loaded, 3), loaded.module, loaded.inventory, nothing, kind)
        assert "give" in refused.value.hint


def test_a_method_that_moves_the_scale_of_weights_is_corrected_too() -> None:
    """DoReFa's weights are another multiple of the float ones: only behind the norm are outputs comparable."""
    loaded = load("residual")
    kinds: list[tuple[Kind, float]] = [("analytic", 0.9), ("empirical", 0.001)]
    for kind, share in kinds:
        model = quantized(loaded, 4, 8, "dorefa")
        before = (model(make_images()) - loaded.module(make_images())).mean(0).norm().item()
        correct_bias(model, loaded.module, loaded.inventory, images, kind)
        assert (model(make_images()) - loaded.module(make_images())).mean(0).norm().item() < share * before


def test_a_norm_that_passes_nothing_on_is_left_alone() -> None:
    loaded = load("residual")
    loaded.module.get_submodule("first_norm").weight.data[2] = 0
    model = quantized(loaded, 3)
    before = model.get_submodule("first_norm").running_mean.clone()
    correct_bias(model, loaded.module, loaded.inventory, images, "empirical")
    after = model.get_submodule("first_norm").running_mean
    assert after[2] == before[2]
    assert torch.isfinite(after).all()
    assert not torch.equal(after, before)


def test_layers_without_a_bias_get_one_and_weights_are_read_back() -> None:
    loaded = load("sequence")
    model = quantized(loaded, 4)
    correct_bias(model, loaded.module, loaded.inventory, images, "empirical")
    fresh = quantized(loaded, 4)
    add_missing_biases(fresh, loaded.inventory)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(make_images()), model(make_images()))
    assert loaded.module.get_submodule("mix").bias is None


def test_only_as_many_images_are_kept_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load("residual")
    monkeypatch.setattr(bias_correction, "KEPT_BYTES", 200_000)
    report = correct_bias(quantized(loaded, 4), loaded.module, loaded.inventory, images, "empirical")
    assert 1 <= report.images < 20
    assert BiasCorrection.model_validate_json(report.model_dump_json()) == report


def test_the_float_network_is_left_alone() -> None:
    loaded = load("concat")
    before = {name: value.clone() for name, value in loaded.module.state_dict().items()}
    correct_bias(quantized(loaded, 4), loaded.module, loaded.inventory, images, "analytic")
    assert all(torch.equal(value, before[name]) for name, value in loaded.module.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.module.modules())
