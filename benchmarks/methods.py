"""The methods as benchmarks run them."""

from __future__ import annotations

from core.jobs.specification import QuantizerChoice
from core.quantizers.registry import method_by_id


def finest(method: str) -> QuantizerChoice:
    """The method with its own settings, and a scale per output channel where it offers one."""
    per_channel = "channel" in method_by_id(method).card.granularities
    return QuantizerChoice(method=method, granularity="channel" if per_channel else "tensor")
