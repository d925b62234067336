"""Stochastic gradient descent with momentum, three groups of parameters, and a cosine schedule without state.

Weight decay pulls weights of layers only: decay on a batch norm or on a quantizer's step moves what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from core.jobs.specification import TrainingChoice
from core.quantizers.base import ActivationQuantizer, WeightQuantizer

MAX_GRADIENT_NORM = 5.0
QUANTIZER_RATE = 0.1  # of the learning rate: at 2 bits a full rate lets the steps run away within an epoch


def parameter_groups(model: nn.Module, choice: TrainingChoice) -> list[dict[str, object]]:
    """Weights with decay; biases and norms without; what quantizers learn, without, at a rate of its own."""
    learned = {id(parameter) for quantizer in quantizers(model) for parameter in quantizer.parameters()}
    everything = [parameter for parameter in model.parameters() if parameter.requires_grad]
    others = [parameter for parameter in everything if id(parameter) not in learned]
    groups: list[dict[str, object]] = [
        {"params": [each for each in others if each.dim() > 1], "weight_decay": choice.weight_decay, "rate": 1.0},
        {"params": [each for each in others if each.dim() <= 1], "weight_decay": 0.0, "rate": 1.0},
        {
            "params": [each for each in everything if id(each) in learned],
            "weight_decay": 0.0,
            "rate": QUANTIZER_RATE,
        },
    ]
    return [group for group in groups if group["params"]]


def quantizers(model: nn.Module) -> Iterator[WeightQuantizer | ActivationQuantizer]:
    """Every quantizer of a fake-quantized network."""
    for module in model.modules():
        if isinstance(module, WeightQuantizer | ActivationQuantizer):
            yield module


class Optimiser:
    """`step(progress)` applies the gradients; `progress` from 0 to 1 is the share of the training that is done."""

    def __init__(self, model: nn.Module, choice: TrainingChoice) -> None:
        self._sgd = torch.optim.SGD(
            parameter_groups(model, choice),
            lr=choice.learning_rate,
            momentum=choice.momentum,
            nesterov=choice.momentum > 0,
            fused=True,
        )
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._parameters = [each for group in self._sgd.param_groups for each in group["params"]]
        self._learned = [quantizer for quantizer in quantizers(model) if any(True for _ in quantizer.parameters())]
        self._learning_rate = choice.learning_rate

    def step(self, progress: float) -> None:
        """One step at the rate of that moment: cosine from the learning rate to 0. Gradients are cleared."""
        for group in self._sgd.param_groups:
            group["lr"] = self._learning_rate * group["rate"] * 0.5 * (1 + math.cos(math.pi * progress))
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM, foreach=True)
        self._sgd.step()
        self._sgd.zero_grad(set_to_none=True)
        for quantizer in self._learned:
            quantizer.project()

    def momenta(self) -> dict[str, Tensor]:
        """The moving gradient of each parameter, by the parameter's name."""
        return {
            self._names[id(parameter)]: state["momentum_buffer"]
            for parameter, state in self._sgd.state.items()
            if state.get("momentum_buffer") is not None
        }

    def set_momenta(self, momenta: dict[str, Tensor]) -> None:
        """Continue with these moving gradients."""
        for parameter in self._parameters:
            name = self._names[id(parameter)]
            if name in momenta:
                self._sgd.state[parameter]["momentum_buffer"] = momenta[name].to(parameter.device)
