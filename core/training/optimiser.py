"""SGD with momentum, or Adam, over three groups of parameters, at the rate that the schedule says.

Weight decay pulls weights of layers only: decay on a batch norm moves what it means. What quantizers learn (steps,
ranges) has a rate and a decay of its own: PACT's papers pull alpha towards zero, LSQ's leave the step alone.
Adam (Kingma and Ba, https://arxiv.org/abs/1412.6980) has the decay in the gradient, as SGD has.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from core.jobs.specification import TrainingChoice
from core.quantizers.base import ActivationQuantizer, WeightQuantizer
from core.training.schedule import rate_factor

SECOND_MOMENT_DECAY = 0.999  # of Adam
FUSED_ON = ("cpu", "cuda")


def parameter_groups(model: nn.Module, choice: TrainingChoice) -> list[dict[str, object]]:
    """Weights with decay; biases and norms without; what quantizers learn, with a rate and a decay of its own."""
    learned = {id(parameter) for quantizer in quantizers(model) for parameter in quantizer.parameters()}
    everything = [parameter for parameter in model.parameters() if parameter.requires_grad]
    others = [parameter for parameter in everything if id(parameter) not in learned]
    groups: list[dict[str, object]] = [
        {"params": [each for each in others if each.dim() > 1], "weight_decay": choice.weight_decay, "rate": 1.0},
        {"params": [each for each in others if each.dim() <= 1], "weight_decay": 0.0, "rate": 1.0},
        {
            "params": [each for each in everything if id(each) in learned],
            "weight_decay": choice.quantizer_weight_decay,
            "rate": choice.quantizer_rate,
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
        self._choice = choice
        self._torch = _torch_optimiser(parameter_groups(model, choice), choice)
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._parameters = [each for group in self._torch.param_groups for each in group["params"]]
        self._learned = [quantizer for quantizer in quantizers(model) if any(True for _ in quantizer.parameters())]

    def step(self, progress: float) -> None:
        """One step at the rate of that moment, of gradients no longer than allowed. Gradients are cleared."""
        rate = self._choice.learning_rate * rate_factor(self._choice, progress)
        for group in self._torch.param_groups:
            group["lr"] = rate * group["rate"]
        if self._choice.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._choice.gradient_clip, foreach=True)
        self._torch.step()
        self._torch.zero_grad(set_to_none=True)
        for quantizer in self._learned:
            quantizer.project()

    def state(self) -> dict[str, Tensor]:
        """What the optimiser remembers: `momentum_buffer/<parameter>`, or Adam's `exp_avg/`, `exp_avg_sq/`, `step/`."""
        return {
            f"{kind}/{self._names[id(parameter)]}": value
            for parameter, kinds in self._torch.state.items()
            for kind, value in kinds.items()
            if isinstance(value, Tensor)
        }

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Continue from there."""
        by_name = {self._names[id(parameter)]: parameter for parameter in self._parameters}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if name in by_name:
                self._torch.state[by_name[name]][kind] = value.to(by_name[name].device)


def _torch_optimiser(groups: list[dict[str, object]], choice: TrainingChoice) -> torch.optim.Optimizer:
    devices = {each.device.type for group in groups for each in group["params"]}  # type: ignore[attr-defined]
    fused = devices <= set(FUSED_ON)
    if choice.optimiser == "adam":
        betas = (choice.momentum, SECOND_MOMENT_DECAY)
        return torch.optim.Adam(groups, lr=choice.learning_rate, betas=betas, fused=fused)
    nesterov = choice.momentum > 0
    return torch.optim.SGD(groups, lr=choice.learning_rate, momentum=choice.momentum, nesterov=nesterov, fused=fused)
