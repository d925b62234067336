"""Thresholds must reproduce a staircase for every float32, also where its arithmetic is rounded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.quantizers.exact_thresholds import exact_thresholds

CPU = torch.device("cpu")


def staircase(x: Tensor) -> Tensor:
    return ((x - 0.3) / 0.7 + 0.1).clamp(-5, 9).round()


def test_each_threshold_is_the_first_number_of_its_code() -> None:
    thresholds = exact_thresholds(staircase, -5, 9, CPU)
    assert len(thresholds) == 14
    at = torch.tensor(thresholds)
    just_below = torch.from_numpy(np.nextafter(at.numpy(), np.float32(-np.inf)))
    assert staircase(at).tolist() == list(range(-4, 10))
    assert staircase(just_below).tolist() == list(range(-5, 9))


def test_a_step_at_zero_and_one_that_skips_codes() -> None:
    assert exact_thresholds(lambda x: (x > 0).float(), 0, 1, CPU) == (
        float(np.nextafter(np.float32(0), np.float32(1))),
    )
    assert exact_thresholds(lambda x: 3.0 * (x >= -2), 0, 3, CPU) == (-2.0, -2.0, -2.0)
