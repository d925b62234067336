"""Statistics measured anew."""

from __future__ import annotations

import torch
from small_networks import Images, small_network, uniform
from torch import nn

from core.calibration.batch_norm import measure_statistics, norms_with_statistics
from core.calibration.calibration import calibrate
from core.calibration.quantize import quantize
from core.jobs.specification import QuantizerChoice


def test_statistics_are_the_plain_average_over_the_batches() -> None:
    norm = nn.BatchNorm2d(2, momentum=0.3)
    norm.running_mean.fill_(100.0)  # type: ignore[union-attr]
    batches = [torch.randn(4, 2, 3, 3) * scale + scale for scale in (1.0, 2.0, 3.0)]
    measure_statistics(norm, batches)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(norm.running_var, variances, atol=1e-5)  # type: ignore[arg-type]
    assert norm.momentum == 0.3
    assert not norm.training


def test_only_batch_norms_change() -> None:
    """HADQ-Net's activation quantizers have statistics of their own, which must not move."""
    loaded = small_network()
    calibration = calibrate(loaded, [x for x, _ in Images(32, 0).tensors()])
    model = quantize(loaded, uniform(loaded, 4), calibration, QuantizerChoice(method="hadq"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_statistics(model, [x for x, _ in Images(64, 5).tensors(16)])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {
        f"{name}.{what}"
        for name in ("stem_norm", "first_norm", "second_norm")
        for what in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert len(norms_with_statistics(model)) == 3
