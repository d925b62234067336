"""Thirty steps of training of two quantized layers: enough to see whether a method's gradients lead downhill.

Nothing is trained but the weights and what the quantizers learn: no bias and no scale of a batch norm can help out.
"""

from __future__ import annotations

import torch
from method_cases import site
from small_networks import CLASSES, Images, uniform
from torch import Tensor, fx, nn
from torch.nn import functional

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.quantizers.method import Method

STEPS, HIDDEN = 30, 8


def quantized(loaded: LoadedModel, method: str, bits: int) -> fx.GraphModule:
    """Every layer at one width, one scale per tensor, calibrated on 96 images."""
    images = [x for x, _ in Images(96, seed=5).tensors()]
    choice = QuantizerChoice(method=method, granularity="tensor")
    return quantize(loaded, uniform(loaded, bits), calibrate(loaded, images), choice)


class _TwoLayers(nn.Module):
    """A convolution with a batch norm and a ReLU, and a classifier; both read and hold rounded numbers."""

    def __init__(self, method: Method, bits: int, images: Tensor) -> None:
        super().__init__()
        stem, head = torch.randn(HIDDEN, 2, 3, 3) * 0.2, torch.randn(CLASSES, HIDDEN * 16) * 0.1
        self.norm = nn.BatchNorm2d(HIDDEN, affine=False)
        self.read = self._activations(method, bits, images, signed=True)
        between = self.norm(functional.conv2d(images, stem)).relu()
        self.read_again = self._activations(method, bits, between, signed=False)
        self.round_stem, self.stem = self._weights(method, bits, stem, normalised=True)
        self.round_head, self.head = self._weights(method, bits, head, normalised=False)

    @staticmethod
    def _activations(method: Method, bits: int, values: Tensor, *, signed: bool) -> ActivationQuantizer:
        quantizer = method.make_activation_quantizer(bits, signed)
        assert isinstance(quantizer, ActivationQuantizer)
        quantizer.initialise(site(values, signed))
        return quantizer

    @staticmethod
    def _weights(
        method: Method, bits: int, weight: Tensor, *, normalised: bool
    ) -> tuple[WeightQuantizer, nn.Parameter]:
        quantizer = method.make_weight_quantizer(bits, "tensor", weight.shape[0], normalised=normalised)
        assert isinstance(quantizer, WeightQuantizer)
        quantizer.initialise(weight)
        return quantizer, nn.Parameter(quantizer.starting_weight(weight))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        between = self.norm(functional.conv2d(self.read(x), self.round_stem(self.stem))).relu()
        return self.read_again(between).flatten(1) @ self.round_head(self.head).T

    def project(self) -> None:
        """All quantizers."""
        for quantizer in (self.read, self.read_again, self.round_stem, self.round_head):
            quantizer.project()


def short_training(method: Method, bits: int) -> list[float]:
    """The losses, one a step, all on the same images. Seeded."""
    torch.manual_seed(0)
    ((x, labels),) = Images(64, seed=5).tensors()
    model = _TwoLayers(method, bits, x)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        model.project()
        losses.append(loss.item())
    return losses
