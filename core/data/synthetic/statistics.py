"""How far the statistics of a batch of images are from those that a network's batch norms hold.

OHQ, equation 2: the sum over all batch norms of ||mean - running mean||^2 + ||deviation - running deviation||^2, by
channel over the batch and all positions, of what each batch norm reads. Hooks sit on the batch norms themselves: the
order of convolutions says nothing about which norm follows. Deviations are of unbiased variances with 1e-6 added, as
ZeroQ computes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UnsupportedModel
from core.graph.vocabulary import BATCH_NORM_TYPES

EPSILON = 1e-6
DEAD = 1e-10  # a running variance under this: the channel was constant in training
_ALTERNATIVE = "upload at least 32 unlabelled images of the kind the network will see, or choose the source range-noise"


@dataclass(frozen=True)
class _Target:
    """What one batch norm holds, of its live channels (C bool)."""

    live: Tensor
    mean: Tensor
    deviation: Tensor


class BatchNormStatistics:
    """Watches a network's batch norms; while it does, `loss_of` runs the network and compares."""

    def __init__(self, network: nn.Module) -> None:
        norms = {name: norm for name, norm in network.named_modules() if isinstance(norm, BATCH_NORM_TYPES)}
        targets = {name: _target(norm) for name, norm in norms.items()}
        found = {name: target for name, target in targets.items() if target is not None}
        if not found:
            raise UnsupportedModel(_refusal(bool(norms)), hint=_ALTERNATIVE)
        self.dead = {name: int((~target.live).sum()) for name, target in found.items()}
        self.channels = sum(int(target.live.sum()) for target in found.values())
        if not self.channels:
            raise UnsupportedModel(
                "every channel of every batch norm is dead: the variances that they hold are zero", hint=_ALTERNATIVE
            )
        self.norms = len(found)
        self._network = network
        self._differences: list[Tensor] = []
        for name, target in found.items():
            norms[name].register_forward_pre_hook(self._hook(target))

    def _hook(self, target: _Target) -> Any:
        return lambda _, inputs: self._differences.append(_difference(inputs[0], target))

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores N, classes and the loss, a scalar, of inputs N, C, H, W."""
        self._differences.clear()
        scores = self._network(x)
        return scores, torch.stack(self._differences).sum()

    def notes(self) -> list[str]:
        """What a person should know about the statistics."""
        dead = {name: count for name, count in self.dead.items() if count}
        if not dead:
            return []
        shown = ", ".join(f"{count} of {name}" for name, count in list(dead.items())[:5])
        return [f"{sum(dead.values())} channels with a variance of zero are left out of the comparison: {shown}"]


def _target(norm: nn.Module) -> _Target | None:
    mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    if mean is None or variance is None:
        return None
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all() and (variance >= 0).all()):
        raise UnsupportedModel("a batch norm holds statistics that are no numbers", hint=_ALTERNATIVE)
    return _Target(variance > DEAD, mean.detach(), (variance.detach() + EPSILON).sqrt())


def _difference(y: Tensor, target: _Target) -> Tensor:
    """Of y N, C or N, C, H, W. Moments are taken around the running mean, where the difference of squares is exact."""
    shape = (1, -1) + (1,) * (y.dim() - 2)
    axes = (0, *range(2, y.dim()))
    centred = y - target.mean.view(shape)
    count = y.numel() // y.shape[1]
    offset = centred.mean(axes)
    variance = (centred.square().mean(axes) - offset.square()).clamp(min=0) * (count / max(count - 1, 1))
    deviation = (variance + EPSILON).sqrt() - target.deviation
    return ((offset.square() + deviation.square()) * target.live).sum()


def _refusal(has_norms: bool) -> str:
    if has_norms:
        return "the batch norms of this network hold no running statistics, so no images can be distilled from them"
    return "the network has no batch norm, so no images can be distilled from its statistics"
