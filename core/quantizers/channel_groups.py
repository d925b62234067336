"""One weight whose output channels have widths of their own (kernel-wise bits): a quantizer per width that occurs.

Channels of equal width form a group with a quantizer of the chosen method; 0 bits is a pruned channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from core.errors import InvalidSpecification
from core.policy import FLOAT_BITS
from core.quantizers.base import QuantizedTensor, WeightQuantizer, filled

MakeGroup = Callable[[int, int], nn.Module]  # width, channels in the group


class PrunedWeightQuantizer(WeightQuantizer):
    """Zero bits: every weight is zero, and stays so."""

    def __init__(self, axis: int, channels: int) -> None:
        super().__init__(0, axis)
        self.channels = channels

    def forward(self, weight: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(weight)

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Code 0, scale 1."""
        scale = torch.ones(self.channels, device=weight.device)
        zero, one = filled(scale, 0), filled(scale, 1)
        codes = torch.zeros_like(weight, dtype=torch.int32)
        return QuantizedTensor(codes, scale, torch.zeros_like(scale), self.axis, zero, zero, zero, one)


class ChannelGroupsWeightQuantizer(WeightQuantizer):
    """Splits the channels along `axis` by width, rounds each group, and puts them back in order."""

    axis: int
    bits: tuple[int, ...]
    order: Tensor

    def __init__(self, bits: Sequence[int], axis: int, make_group: MakeGroup) -> None:
        super().__init__(bits, axis)
        if FLOAT_BITS in bits:
            raise InvalidSpecification(
                "a channel cannot stay float beside quantized ones", hint="give the whole layer 32 bits, or none of it"
            )
        self.widths = sorted(set(bits))
        self.sizes = [self.bits.count(width) for width in self.widths]
        self.register_buffer("order", torch.tensor(bits).argsort(stable=True), persistent=False)
        self.groups = nn.ModuleList(
            PrunedWeightQuantizer(axis, size) if width == 0 else make_group(width, size)
            for width, size in zip(self.widths, self.sizes, strict=True)
        )

    def _parts(self, weight: Tensor) -> list[tuple[WeightQuantizer, Tensor]]:
        parts = torch.split(weight.index_select(self.axis, self.order), self.sizes, self.axis)
        return list(zip(self.groups, parts, strict=True))  # type: ignore[arg-type]

    def _in_order(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return torch.cat(list(parts), axis).index_select(axis, self.order.argsort())

    def starting_weight(self, weight: Tensor) -> Tensor:
        """Each group's, for its own channels."""
        return self._in_order([group.starting_weight(part) for group, part in self._parts(weight)], self.axis)

    def initialise(self, weight: Tensor) -> None:
        """Each group on its own channels."""
        for group, part in self._parts(weight):
            group.initialise(part)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape with the channels along `axis`."""
        return self._in_order([group(part) for group, part in self._parts(weight)], self.axis)

    def integers(self, weight: Tensor) -> QuantizedTensor:
        """Codes of all groups; scale, offset, bits, limits and step per channel, also where a group shares them."""
        parts = [group.integers(part) for group, part in self._parts(weight)]
        codes = self._in_order([part.codes for part in parts], self.axis)
        per_channel = (
            self._in_order([getattr(part, name).expand(size) for part, size in zip(parts, self.sizes, strict=True)], 0)
            for name in ("scale", "offset", "bits", "low", "high", "step")
        )
        return QuantizedTensor(codes, next(per_channel), next(per_channel), self.axis, *per_channel)

    def project(self) -> None:
        """Each group on its own."""
        for group in self.groups:
            group.project()  # type: ignore[operator]
