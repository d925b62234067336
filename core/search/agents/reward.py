"""What an agent is rewarded with. No torch.

HAQ: R = 0.1 (acc - acc_0), accuracies in percent. acc_0 is the same in every episode and the agents subtract a running
mean, so that it is left out here. Told a predicted loss, R = -loss / (the loss of the first policy): a reconstruction,
with rewards of about the same size for every network and metric. Both are multiplied by `scale`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OF_ERROR = 0.1 * 100  # a share of wrong answers, in HAQ's units


@dataclass
class Reward:
    """Rewards of one search."""

    tells: Literal["loss", "error"]
    scale: float = 1.0
    first: float | None = None

    def of(self, loss: float) -> float:
        """The reward of a policy."""
        if self.tells == "error":
            return -self.scale * OF_ERROR * loss
        if self.first is None:
            self.first = loss if loss > 0 else 1.0
        return -self.scale * loss / self.first
