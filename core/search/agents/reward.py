"""What an agent is rewarded with. No torch.

HAQ: R = 0.1 (acc - acc_0), accuracies in percent. acc_0 is the same in every episode and the agents subtract a running
mean, so that it is left out here. Told a predicted loss, R = -loss / (the loss of the first policy): a reconstruction,
with rewards of about the same size for every network and metric. Both are multiplied by `scale`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

OF_ERROR = 0.1 * 100  # a share of wrong answers, in HAQ's units
LEAST_ACCURACY = 1e-3  # under a logarithm


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
        return -self.scale * self._relative(loss)

    def log_accuracy(self, loss: float) -> float:
        """AutoQ's: the logarithm of the accuracy, for which a predicted loss stands with its sign turned."""
        if self.tells == "error":
            return self.scale * math.log(max(1 - loss, LEAST_ACCURACY))
        return -self.scale * self._relative(loss)

    def _relative(self, loss: float) -> float:
        if self.first is None:
            self.first = loss if loss > 0 else 1.0
        return loss / self.first
