"""Half the bits for convolutions and products, all of them for quantizers.

Under automatic mixed precision (Kalamkar et al., https://arxiv.org/abs/1905.12322) a layer's operands become bfloat16.
A quantizer's own arithmetic stays float32: its scales and codes are what integers are later made of. Weights need no
scaling of the loss, since bfloat16 has float32's range. Evaluation is always float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.jobs.specification import TrainingChoice
from core.training.optimiser import quantizers


@contextmanager
def quantizers_in_float32(network: nn.Module, choice: TrainingChoice) -> Iterator[None]:
    """Inside, every quantizer reads float32 and computes outside of autocast, whatever its layer does."""
    if choice.precision == "float32":
        yield
        return
    inside: list[torch.autocast] = []

    def enter(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        inside.append(torch.autocast(given[0].device.type, enabled=False))
        inside[-1].__enter__()  # type: ignore[no-untyped-call]
        return (given[0].float(),)

    def leave(*_: Any) -> None:
        inside.pop().__exit__(None, None, None)

    handles = [
        handle
        for quantizer in quantizers(network)
        for handle in (
            quantizer.register_forward_pre_hook(enter),
            quantizer.register_forward_hook(leave, always_call=True),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def scores(network: nn.Module, x: Tensor, choice: TrainingChoice) -> Tensor:
    """float32 N, classes, computed in the precision of the recipe."""
    if choice.precision == "float32":
        plain: Tensor = network(x)
        return plain
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        computed: Tensor = network(x)
    return computed.float()
