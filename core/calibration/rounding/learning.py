"""The two things that are learned in a unit: which way weights are rounded, and the steps of activations.

Rounding as in AdaRound (`adaround_formulas`), for a layer or for a whole block; steps as in LSQ, by Adam with a cosine
schedule, as BRECQ and QDrop do. The papers run 10,000 or 20,000 iterations; with fewer, learning rates rise in
proportion up to a limit, so that the learned numbers can travel as far. A step's rate is at most a hundredth of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from core.calibration.rounding.adaround_formulas import SoftWeight, beta_at, reconstruction_error, regulariser
from core.calibration.rounding.work import UnitWork
from core.quantizers.base import ActivationQuantizer

BATCH = 32
ROUNDING_RATE, ROUNDING_ITERATIONS = 1e-3, 10_000
STEP_RATE, STEP_ITERATIONS = 4e-5, 20_000
WEIGHT = 0.01  # lambda, of the regulariser
FASTEST_ROUNDING, FASTEST_STEPS = 30.0, 10.0  # times the published rates
LARGEST_SHARE = 0.01  # of an activation step that one iteration may change


@dataclass(frozen=True)
class Learning:
    """What a run of learning does.

    `masks`: which elements of the inputs come from the rounded network, the others from the float one; None: all.
    """

    iterations: int
    rounding: bool = True
    steps: bool = False
    masks: Masks | None = None


def learn(work: UnitWork, network: fx.GraphModule, learning: Learning) -> None:
    """Changes the unit's weights, or its activation steps, or both."""
    soft = {name: SoftWeight(work.grids[name], work.start[name]) for name in work.layers} if learning.rounding else {}
    steps = work.learned_steps() if learning.steps else []
    if not soft and not steps:
        return
    for parameter in steps:
        parameter.requires_grad_(True)
    with work.standing_in(dict(soft)), torch.enable_grad():
        _Loop(work, network, learning, soft, steps).run()
    for parameter in steps:
        parameter.requires_grad_(False)
    for name, each in soft.items():
        work.set_codes(name, each.codes())


class _Loop:
    def __init__(
        self,
        work: UnitWork,
        network: fx.GraphModule,
        learning: Learning,
        soft: dict[str, SoftWeight],
        steps: list[nn.Parameter],
    ) -> None:
        self.work, self.network, self.learning, self.soft = work, network, learning, soft
        self.optimisers: list[torch.optim.Optimizer] = []
        self.steps = steps
        if soft:
            rate = ROUNDING_RATE * _faster(ROUNDING_ITERATIONS, learning.iterations, FASTEST_ROUNDING)
            self.optimisers.append(torch.optim.Adam([each.V for each in soft.values()], lr=rate))
        if steps:
            rate = STEP_RATE * _faster(STEP_ITERATIONS, learning.iterations, FASTEST_STEPS)
            self.step_rates = [min(rate, LARGEST_SHARE * step.abs().max().item()) for step in steps]
            self.optimisers.append(torch.optim.Adam([{"params": [step]} for step in steps]))

    def run(self) -> None:
        for iteration in range(self.learning.iterations):
            loss = self._loss(iteration / self.learning.iterations)
            for optimiser in self.optimisers:
                optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._advance(iteration / self.learning.iterations)
            if iteration % 100 == 0 and not math.isfinite(loss.item()):
                return  # the unit is judged afterwards, and set back
            self.work.report(iteration / self.learning.iterations, f"iteration {iteration}")

    def _loss(self, share: float) -> Tensor:
        work, drawn = self.work, self.work.draw(BATCH)
        importance = None if work.importance is None else work.importance[drawn]
        loss = reconstruction_error(self.network(self._inputs(drawn)), work.targets[drawn], importance)
        beta = beta_at(share)
        if beta is not None:
            for each in self.soft.values():
                loss = loss + WEIGHT * regulariser(each.V, beta)
        return loss

    def _inputs(self, drawn: Tensor) -> Tensor:
        inputs = self.work.inputs[drawn]
        masks = self.learning.masks
        if masks is None or self.work.exact_inputs is None:
            return inputs
        return torch.where(masks.draw(inputs), inputs, self.work.exact_inputs[drawn])

    def _advance(self, share: float) -> None:
        if self.steps:
            for group, rate in zip(self.optimisers[-1].param_groups, self.step_rates, strict=True):
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * share))
        for optimiser in self.optimisers:
            optimiser.step()
        if self.steps:
            self.work.project()


class SometimesQuantized(nn.Module):
    """QDrop's: each element is quantized with a probability, and passes as it is otherwise."""

    def __init__(self, quantizer: ActivationQuantizer, masks: Masks) -> None:
        super().__init__()
        self.quantizer, self.masks = quantizer, masks

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.where(self.masks.draw(x), self.quantizer(x), x)


class Masks:
    """Random masks that are true with probability `share`.

    A mask is cut from a long row of draws, at a place that is drawn anew each time: a draw for each element and step
    would take as long as a convolution.
    """

    def __init__(self, share: float, generator: torch.Generator) -> None:
        self.share, self.generator = share, generator
        self.row = torch.empty(0, dtype=torch.bool)

    def draw(self, x: Tensor) -> Tensor:
        """Of x's shape."""
        if self.row.numel() < 2 * x.numel():
            self.row = (torch.rand(2 * x.numel(), generator=self.generator) < self.share).to(x.device)
        start = int(torch.randint(self.row.numel() - x.numel(), (1,), generator=self.generator))
        return self.row[start : start + x.numel()].view(x.shape)


def _faster(published: int, iterations: int, fastest: float) -> float:
    return min(max(published / iterations, 1.0), fastest)
