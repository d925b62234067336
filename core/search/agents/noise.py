"""Actions around what an actor names: HAQ's truncated normal. No torch."""

from __future__ import annotations

import numpy as np

TRIES = 100


def truncated_normal(mean: float, sigma: float, generator: np.random.Generator) -> float:
    """Drawn from the normal distribution around `mean`, within 0 and 1."""
    mean = min(1.0, max(0.0, mean))
    if sigma <= 0:
        return mean
    for _ in range(TRIES):
        drawn = float(generator.normal(mean, sigma))
        if 0 <= drawn <= 1:
            return drawn
    return mean
