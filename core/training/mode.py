"""Training mode, and what of a network stays out of it."""

from __future__ import annotations

from torch import nn

from core.calibration.batch_norm import norms_with_statistics
from core.jobs.specification import TrainingChoice


def in_training_mode(network: nn.Module, choice: TrainingChoice) -> nn.Module:
    """The network itself. Frozen batch norms normalise with their running statistics, which stay as they are.

    Li et al., "Fully Quantized Network for Object Detection", CVPR 2019: few images fit a batch of a detector, and
    their statistics would shake what is rounded. Scale and shift of the norms train on.
    """
    network.train()
    if choice.batch_norm == "frozen":
        for norm in norms_with_statistics(network):
            norm.eval()
    return network
