"""A small convolutional network, calibrated and quantized by any method, and thirty steps of its training."""

from __future__ import annotations

import numpy as np
import torch
from small_networks import Images, small_network
from torch import Tensor, fx, nn

from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.graph.loaded_model import LoadedModel
from core.jobs.specification import QuantizerChoice
from core.policy import Policy
from core.search.uniform import uniform_policy
from core.training.optimiser import quantizers

STEPS = 30


def batch() -> tuple[Tensor, Tensor]:
    """Images of three classes, and the classes."""
    images = Images(96, seed=3)
    return torch.from_numpy(images.x), torch.from_numpy(images.labels)


def quantized(method: str, bits: int, *, granularity: str = "channel") -> tuple[LoadedModel, fx.GraphModule]:
    """The float network, and the same with all layers at `bits`, calibrated and not trained."""
    loaded = small_network()
    policy: Policy = uniform_policy(loaded.inventory.layers, bits)
    choice = QuantizerChoice.model_validate({"method": method, "granularity": granularity})
    return loaded, quantize(loaded, policy, calibrate(loaded, [batch()[0]]), choice)


def relative_error(method: str, bits: int, *, granularity: str = "channel") -> float:
    """Of the calibrated network's scores, as a share of the float network's."""
    loaded, model = quantized(method, bits, granularity=granularity)
    x, _ = batch()
    with torch.no_grad():
        exact = loaded.module(x)
        return float((model(x) - exact).norm() / exact.norm())


def gain(method: str, bits: int) -> float:
    """How much lower the loss is at the end of thirty steps than at their beginning, in nats."""
    _, model = quantized(method, bits)
    x, labels = batch()
    learned = {id(parameter) for quantizer in quantizers(model) for parameter in quantizer.parameters()}
    weights = [parameter for parameter in model.parameters() if id(parameter) not in learned]
    steps = [parameter for parameter in model.parameters() if id(parameter) in learned]
    optimiser = torch.optim.SGD([{"params": weights}, {"params": steps, "lr": 0.005}], lr=0.05, momentum=0.9)
    losses = []
    model.train()
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for quantizer in quantizers(model):
            quantizer.project()
        losses.append(loss.item())
    return float(np.mean(losses[:3]) - np.mean(losses[-3:]))
