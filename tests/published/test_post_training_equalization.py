"""Per-tensor weights of 8 bits ruin a network with uneven channels, and equalization brings it back.

Nagel et al., "Data-Free Quantization", arXiv:1906.04721: MobileNetV2 at 8/8 without and with equalization. Here a small
MobileNetV2 that was trained on Fashion-MNIST, whose own channels are rather even: they are made uneven first, by powers
of two that leave its outputs as they are to the bit.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx

from benchmarks.mobilenet_like import images, mobilenet_like, with_uneven_channels
from core.calibration.bias_absorption import absorb_biases
from core.calibration.bias_correction import correct_bias
from core.calibration.calibration import calibrate
from core.calibration.cross_layer_equalization import equalize
from core.calibration.quantize import quantize
from core.calibration.unlimited_relus import RangeCheck, check_ranges, without_limits
from core.graph.fold_batch_norm import fold_batch_norms
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.search.uniform import uniform_policy

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
OCTAVES = 4  # channels differ by up to 2^8
PUBLISHED = {
    "not equalized": 0.001,  # MobileNetV2 on ImageNet, top-1 at 8/8, a scale per tensor
    "equalized": 0.7032,
    "equalized, bias corrected": 0.7079,
}  # figures of the public re-implementation, github.com/jakc4103/DFQ; the paper ends at .712

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not (DATA / "fashion_mnist").is_dir(), reason="needs shared/data beside the repository"),
]


@dataclass
class Study:
    """The network in its forms, and what it is calibrated and measured on."""

    check: RangeCheck
    exact: LoadedModel
    uneven: LoadedModel
    calibration: Tensor
    x: Tensor
    labels: Tensor

    def quantized(self, loaded: LoadedModel, bits: int = 8) -> fx.GraphModule:
        policy = uniform_policy(loaded.inventory.layers, bits)
        ranges = calibrate(loaded, [self.calibration])
        return quantize(loaded, policy, ranges, QuantizerChoice(method="lsq", granularity="tensor"))

    @torch.inference_mode()
    def accuracy(self, model: fx.GraphModule) -> float:
        return float((model(self.x).argmax(1) == self.labels).double().mean())

    @torch.inference_mode()
    def divergence(self, model: fx.GraphModule) -> float:
        """KL from the float network's answers, in nats."""
        exact, found = (each(self.x).log_softmax(1) for each in (self.exact.module, model))
        return float(torch.nn.functional.kl_div(found, exact, log_target=True, reduction="batchmean"))


@pytest.fixture(scope="module")
def study() -> Study:
    loaded = mobilenet_like()
    (x, labels), calibration = images(DATA, "test"), images(DATA, "train")[0][-128:]
    check = check_ranges(loaded, lambda: [calibration])
    unlimited = without_limits(fold_batch_norms(loaded), check.replaced())
    return Study(check, loaded, with_uneven_channels(unlimited, OCTAVES), calibration, x[:1000], labels[:1000])


def test_relu6_limits_next_to_nothing(study: Study) -> None:
    assert study.check.harmless
    assert 0 < max(study.check.limited.values()) < 0.001
    assert set(study.check.replaced()) == set(study.check.limited)
    assert study.accuracy(study.uneven.module) == pytest.approx(study.accuracy(study.exact.module), abs=0.003)


def test_uneven_channels_compute_the_same_to_the_bit(study: Study) -> None:
    even = without_limits(fold_batch_norms(study.exact), study.check.replaced())
    assert torch.equal(even.module(study.x[:50]), study.uneven.module(study.x[:50]))


def test_equalization_brings_back_what_a_scale_per_tensor_ruins(study: Study) -> None:
    exact, equalized = study.accuracy(study.exact.module), equalize(study.uneven)
    model = study.quantized(equalized)
    found = {
        "float": exact,
        "not equalized": study.accuracy(study.quantized(study.uneven)),
        "equalized": study.accuracy(model),
    }
    corrected = copy.deepcopy(model)
    correct_bias(corrected, equalized.module, equalized.inventory, lambda: [study.calibration], "analytic")
    found["equalized, bias corrected"] = study.accuracy(corrected)
    for name, accuracy in found.items():
        published = f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else "-"
        print(f"{name:27} here {accuracy:.3f}   MobileNetV2, ImageNet {published}")
    assert found["not equalized"] < 0.3
    assert found["equalized"] > exact - 0.01
    assert found["equalized, bias corrected"] > exact - 0.01


@pytest.mark.parametrize("bits", [8, 6])
def test_every_step_of_the_published_order_is_not_worse(study: Study, bits: int) -> None:
    equalized = equalize(study.uneven)
    absorbed = absorb_biases(equalized)
    model = study.quantized(absorbed, bits)
    steps = {
        "not equalized": study.divergence(study.quantized(study.uneven, bits)),
        "equalized": study.divergence(study.quantized(equalized, bits)),
        "biases absorbed": study.divergence(model),
    }
    correct_bias(model, absorbed.module, absorbed.inventory, lambda: [study.calibration], "empirical")
    steps["biases corrected"] = study.divergence(model)
    print(f"{bits} bits, KL to the float network:", ", ".join(f"{name} {value:.4f}" for name, value in steps.items()))
    values = list(steps.values())
    assert values[1] < values[0] / 20
    assert values[2] <= 1.02 * values[1]
    assert values[3] <= 1.02 * values[2]


def test_a_scale_for_each_channel_needs_no_equalization(study: Study) -> None:
    """And so it is no cure-all: activations are uneven as well, which equalization evens out."""
    policy = uniform_policy(study.uneven.inventory.layers, 8)
    ranges = calibrate(study.uneven, [study.calibration])
    model = quantize(study.uneven, policy, ranges, QuantizerChoice(method="lsq", granularity="channel"))
    equalized = study.quantized(equalize(study.uneven))
    assert study.divergence(equalized) < study.divergence(model)
