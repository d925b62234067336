"""bfloat16 for products, float32 for quantizers."""

from __future__ import annotations

import pytest
import torch
from small_networks import Images, small_network, uniform
from torch import Tensor, nn

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.graph.quantized_layers import QuantizedLayer
from core.jobs.specification import QuantizerChoice, TrainingChoice
from core.quantizers.registry import METHODS
from core.training.optimiser import quantizers
from core.training.precision import quantizers_in_float32, scores

HALF = TrainingChoice(precision="bfloat16")
FULL = TrainingChoice()


def network(method: str = "lsq") -> nn.Module:
    loaded = small_network()
    calibration = calibrate(loaded, [x for x, _ in Images(32, 0).tensors()])
    card = METHODS[method].card
    bits = min(bits for bits in card.weight_bits if bits in card.activation_bits and bits > 1)
    granularity = "channel" if "channel" in card.granularities else "tensor"
    return quantize(
        loaded, uniform(loaded, bits), calibration, QuantizerChoice(method=method, granularity=granularity)
    ).train()


def images() -> Tensor:
    return Images(32, 3).tensors()[0][0]


@pytest.mark.parametrize("method", METHODS)
def test_every_quantizer_reads_and_gives_float32_and_its_integers_are_true(method: str) -> None:
    model = network(method)
    seen: list[tuple[torch.dtype, torch.dtype, bool]] = []
    weights: list[tuple[QuantizedLayer, Tensor]] = []

    def note(_: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
        seen.append((given[0].dtype, result.dtype, torch.is_autocast_enabled("cpu")))

    for layer in (module for module in model.modules() if isinstance(module, QuantizedLayer)):
        layer.weight_quantizer.register_forward_hook(
            lambda _, __, result, layer=layer: weights.append((layer, result.detach().clone()))
        )
    for quantizer in quantizers(model):
        quantizer.register_forward_hook(note)
    with quantizers_in_float32(model, HALF):
        result = scores(model, images(), HALF)
    assert result.dtype == torch.float32
    assert set(seen) == {(torch.float32, torch.float32, False)}
    for layer, used in weights:
        assert torch.equal(layer.weight_quantizer.integers(layer.layer.weight).dequantize(), used)  # type: ignore[operator]


def test_products_are_computed_in_half_the_bits() -> None:
    model = network()
    dtypes: list[torch.dtype] = []
    layer = next(module for module in model.modules() if isinstance(module, QuantizedLayer))
    layer.register_forward_hook(lambda _, __, result: dtypes.append(result.dtype))
    with quantizers_in_float32(model, HALF):
        half = scores(model, images(), HALF)
    model = network()
    full = scores(model, images(), FULL)
    assert dtypes == [torch.bfloat16]
    assert not torch.equal(half, full)
    assert torch.allclose(half, full, atol=0.3)


def test_afterwards_nothing_is_left_on_the_network() -> None:
    model = network()
    with quantizers_in_float32(model, HALF):
        hooked = [len(quantizer._forward_pre_hooks) for quantizer in quantizers(model)]
    assert set(hooked) == {1}
    assert {len(quantizer._forward_pre_hooks) for quantizer in quantizers(model)} == {0}
    assert {len(quantizer._forward_hooks) for quantizer in quantizers(model)} == {0}


def test_an_error_inside_a_quantizer_leaves_autocast_as_it_was() -> None:
    model = network()
    first = next(quantizers(model))
    first.forward = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
    with quantizers_in_float32(model, HALF), pytest.raises(ZeroDivisionError):
        scores(model, images(), HALF)
    assert not torch.is_autocast_enabled("cpu")
