"""Calibrating and quantizing whole networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import Images, small_network, trained, uniform
from torch import Tensor

from core.calibration.calibration import WIDTHS, Calibration, calibrate
from core.calibration.quantize import quantize
from core.errors import InvalidInput, InvalidSpecification, UnsupportedModel
from core.graph.loaded_model import LoadedModel
from core.graph.placement import place
from core.graph.quantized_layers import QuantizedLayer
from core.jobs.specification import QuantizerChoice
from core.policy import LayerBits, Policy
from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.plain import PlainActivationQuantizer
from core.quantizers.registry import METHODS
from core.tasks.classification import evaluate


@pytest.fixture(scope="module")
def images() -> Images:
    return Images(200, seed=1)


@pytest.fixture(scope="module")
def loaded(images: Images) -> LoadedModel:
    return trained(small_network(), images)


@pytest.fixture(scope="module")
def calibration(loaded: LoadedModel, images: Images) -> Calibration:
    return calibrate(loaded, [x for x, _ in images.tensors(50)])


def test_every_site_has_a_grid_at_every_width(loaded: LoadedModel, calibration: Calibration) -> None:
    sites = place(loaded.module).activation_sites
    assert set(calibration.sites) == {site.name for site in sites}
    for site in sites:
        found = calibration.sites[site.name]
        assert (found.role, found.signed) == (site.role, site.signed)
        assert set(found.grids) == set(found.affine_grids) == {*WIDTHS, 16}
        scales = [found.grids[bits].scale for bits in WIDTHS]
        assert scales == sorted(scales, reverse=True)
    assert calibration.samples == 200


def test_calibration_survives_json(calibration: Calibration) -> None:
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration


def test_how_images_are_batched_does_not_matter(loaded: LoadedModel, images: Images, calibration: Calibration) -> None:
    other = calibrate(loaded, [x for x, _ in images.tensors(7)])
    for name, site in calibration.sites.items():
        assert other.sites[name].maximum == pytest.approx(site.maximum, rel=1e-5)
        assert other.sites[name].grids[4].scale == pytest.approx(site.grids[4].scale, rel=0.05)


def test_calibration_leaves_the_network_alone(loaded: LoadedModel, images: Images) -> None:
    before = {name: value.clone() for name, value in loaded.module.state_dict().items()}
    calibrate(loaded, [x for x, _ in images.tensors()])
    assert all(torch.equal(value, before[name]) for name, value in loaded.module.state_dict().items())
    assert not any(isinstance(module, QuantizedLayer) for module in loaded.module.modules())


def widest(method: str) -> str:
    """Per channel where the method can."""
    return "channel" if "channel" in METHODS[method].card.granularities else "tensor"


def distance(found: Tensor, exact: Tensor) -> float:
    """Mean squared difference relative to the exact scores, but for a common factor: SAT rescales the last layer."""
    factor = (found * exact).sum() / found.square().sum()
    return float((factor * found - exact).square().mean() / exact.square().mean())


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.card.uniform])
def test_more_bits_come_closer_to_the_float_network(
    loaded: LoadedModel, calibration: Calibration, images: Images, method: str
) -> None:
    x = images.tensors(200)[0][0]
    for granularity in sorted({*METHODS[method].card.granularities} - {"kernel"}):
        choice = QuantizerChoice(method=method, granularity=granularity)
        with torch.no_grad():
            exact = loaded.module(x)
            errors = [
                distance(quantize(loaded, uniform(loaded, bits), calibration, choice)(x), exact) for bits in (2, 4, 8)
            ]
        assert errors[0] > errors[1] > errors[2], granularity
        assert errors[2] < (0.02 if method == "lsq" else 0.3), granularity


def test_float_bits_everywhere_change_nothing(loaded: LoadedModel, calibration: Calibration, images: Images) -> None:
    x = images.tensors(20)[0][0]
    policy = uniform(loaded, 32, residual_bits=32)
    model = quantize(loaded, policy, calibration, QuantizerChoice(method="lsq"))
    with torch.no_grad():
        assert torch.equal(model(x), loaded.module(x))


def test_sixteen_bits_change_next_to_nothing(loaded: LoadedModel, calibration: Calibration, images: Images) -> None:
    x = images.tensors(50)[0][0]
    model = quantize(loaded, uniform(loaded, 16), calibration, QuantizerChoice(method="hadq"))
    with torch.no_grad():
        assert torch.allclose(model(x), loaded.module(x), atol=5e-3)


def test_joins_are_plain_at_their_own_width(loaded: LoadedModel, calibration: Calibration) -> None:
    model = quantize(loaded, uniform(loaded, 3, residual_bits=8), calibration, QuantizerChoice(method="hadq"))
    plain = [module for module in model.modules() if isinstance(module, PlainActivationQuantizer)]
    residual = [site for site in place(loaded.module).activation_sites if site.role == "residual"]
    assert len(plain) == len(residual) > 0
    assert {quantizer.bits for quantizer in plain} == {8}


def test_a_quantized_network_computes_with_its_integers_only(
    loaded: LoadedModel, calibration: Calibration, images: Images
) -> None:
    """What a layer multiplies is what its integers recreate, to the bit, for weights and activations."""
    for method in METHODS:
        choice = QuantizerChoice(method=method, granularity=widest(method))
        model = quantize(loaded, uniform(loaded, 3), calibration, choice)
        seen: dict[str, torch.Tensor] = {}
        for name, module in model.named_modules():
            if isinstance(module, ActivationQuantizer):
                module.register_forward_hook(
                    lambda _m, _i, output, name=name, seen=seen: seen.__setitem__(name, output)
                )
        with torch.no_grad():
            model(images.tensors(20)[0][0])
        for name, module in model.named_modules():
            if isinstance(module, QuantizedLayer):
                quantizer = module.weight_quantizer
                assert isinstance(quantizer, WeightQuantizer)
                assert torch.equal(quantizer.integers(module.layer.weight).dequantize(), module.quantized_weight())
            if isinstance(module, ActivationQuantizer):
                grid = module.grid()
                values = seen[name].numpy()
                assert np.isin(values, grid.values(np.array(grid.levels or range(grid.low, grid.high + 1)))).all()


def test_a_quantized_network_survives_being_stored(
    loaded: LoadedModel, calibration: Calibration, images: Images
) -> None:
    x = images.tensors(20)[0][0]
    for method in METHODS:
        choice = QuantizerChoice(method=method, granularity=widest(method))
        model = quantize(loaded, uniform(loaded, 4), calibration, choice)
        other = quantize(small_network(9), uniform(loaded, 4), calibration, choice)
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            assert torch.equal(model(x), other(x))


def test_layers_that_read_one_tensor_must_agree(loaded: LoadedModel, calibration: Calibration) -> None:
    policy = uniform(loaded, 4)
    missing = Policy(layers={name: bits for name, bits in policy.layers.items() if name != "first"})
    with pytest.raises(InvalidSpecification, match="first"):
        quantize(loaded, missing, calibration, QuantizerChoice(method="lsq"))


def test_kernel_wise_bits_reach_the_layer(loaded: LoadedModel, calibration: Calibration, images: Images) -> None:
    policy = uniform(loaded, 8)
    layers = {**policy.layers, "first": LayerBits(weights=(0, 1, 4, 8), activations=8)}
    model = quantize(loaded, Policy(layers=layers), calibration, QuantizerChoice(method="lsq"))
    weight = model.get_submodule("first").quantized_weight()
    assert [len(channel.unique()) <= 2**bits for channel, bits in zip(weight, (0, 1, 4, 8), strict=True)] == [True] * 4
    assert evaluate(model, images.tensors()).accuracy > 0.3


def test_a_calibration_of_another_network_is_refused(loaded: LoadedModel, calibration: Calibration) -> None:
    other = calibration.model_copy(update={"sites": {}})
    with pytest.raises(InvalidInput, match="knows no tensor"):
        quantize(loaded, uniform(loaded, 4), other, QuantizerChoice(method="lsq"))


def test_no_image_and_infinite_values_are_refused(loaded: LoadedModel) -> None:
    with pytest.raises(InvalidInput):
        calibrate(loaded, [])
    with pytest.raises(UnsupportedModel, match="not finite"):
        calibrate(loaded, [torch.full((2, 2, 6, 6), float("nan"))])
